"""Shares with their intervals."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.traffic.shares import share_of


def test_the_interval_against_known_values() -> None:
    eight = share_of(8, 10)
    assert (eight.count, eight.n, eight.share) == (8, 10, 0.8)
    assert (eight.low, eight.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert share_of(0, 20).high == pytest.approx(0.1611, abs=1e-4)


def test_without_data_nothing_is_known() -> None:
    nothing = share_of(0, 0)
    assert (nothing.share, nothing.low, nothing.high) == (None, 0.0, 1.0)


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_the_interval_holds_the_share(n: int, part: float) -> None:
    one = share_of(round(part * n), n)
    assert one.share is not None
    assert 0 <= one.low <= one.share + 1e-12
    assert one.share - 1e-12 <= one.high <= 1
