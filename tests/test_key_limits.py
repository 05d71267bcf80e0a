"""Limits of keys: what makes sense and what is refused with a reason."""

import math
from typing import Any

import pytest

from tutelage.proxy.key_limits import LATEST, Limits, check, default_burst
from tutelage.traffic.errors import BadInput

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"rate": 0.5, "burst": 3, "budget_usd": 0.01, "budget_tokens": 1, "period": "day"},
        {"expires_at": NOW + 1, "models": ("gpt-*", "o?")},
        {"expires_at": LATEST, "rate": 1e6, "burst": 1_000_000},
    ],
)
def test_sensible_limits_pass(given: dict[str, Any]) -> None:
    check(Limits(name="ci", **given), NOW)


@pytest.mark.parametrize(
    "given",
    [
        {"name": ""},
        {"name": " ci"},
        {"name": "a\nb"},
        {"name": "x" * 101},
        {"rate": -1.0},
        {"rate": math.nan},
        {"rate": math.inf},
        {"burst": -1},
        {"budget_usd": -0.01},
        {"budget_usd": math.inf},
        {"budget_tokens": -1},
        {"budget_tokens": 1 << 63},
        {"expires_at": NOW},
        {"expires_at": math.inf},
        {"models": ("",)},
        {"models": ("a",) * 101},
    ],
)
def test_nonsense_is_refused_by_field_and_value(given: dict[str, Any]) -> None:
    (field,) = given
    with pytest.raises(BadInput, match=rf"The key's {field} must be .*; .* came\."):
        check(Limits(**{"name": "ci", **given}), NOW)


def test_a_change_may_end_a_key_at_once_but_not_before_all_time() -> None:
    check(Limits(name="ci", expires_at=NOW), -math.inf)
    with pytest.raises(BadInput, match="expires_at"):
        check(Limits(name="ci", expires_at=-1.0), -math.inf)


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (1, 1), (6, 1), (60, 10), (600, 100)])
def test_the_burst_is_ten_seconds_of_the_rate_unless_named(rate: float, burst: int) -> None:
    assert default_burst(rate) == burst
