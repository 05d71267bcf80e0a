"""What a key of this proxy may do, and a key as people see it.

One rule for all of them: an amount of 0 is no limit, a time of 0 is never.
"""

import msgspec

from ..traffic.errors import BadInput
from .key_budgets import Period

LATEST = 253_402_300_799.0
"""The end of the year 9999: later times cannot be written as a date."""
MAX_RATE, MAX_BURST, MAX_NAME, MAX_MODELS = 1e6, 1_000_000, 100, 100


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a key may do. Amounts of 0 mean no limit, a time of 0 means never."""

    name: str = ""
    """Whose key it is, in the operator's words."""
    expires_at: float = 0.0
    """Unix seconds."""
    rate: float = 0.0
    """Calls per minute, over all workers."""
    burst: int = 0
    """Calls that may come at once; 0: what the rate gives in ten seconds, at least 1."""
    budget_usd: float = 0.0
    """US dollars in a period."""
    budget_tokens: int = 0
    """Tokens in a period."""
    period: Period = "month"
    """`day` or `month`, by UTC."""
    models: tuple[str, ...] = ()
    """Models it may ask for: names, or patterns with `*` and `?`; empty: all."""


class KeyRow(Limits, frozen=True, kw_only=True):
    """A key as it is shown: `/api/keys`."""

    key_id: str
    created_at: float
    revoked_at: float = 0.0
    state: str = "active"
    """active, exhausted, expired or revoked."""
    caller: str = ""
    """How its calls are marked in the store."""
    calls: int = 0
    """Calls in the present period; so are the following. Counted for keys with a budget only."""
    spent_usd: float = 0.0
    spent_tokens: int = 0
    uncounted: int = 0
    """Calls missing from the sums, for want of a price or a token count."""
    resets_at: float = 0.0
    """End of the present period."""


class NewKey(KeyRow, frozen=True, kw_only=True):
    """A key that was just made."""

    key: str
    """Its text: shown now and never again."""


def default_burst(rate: float) -> int:
    """The calls that come in ten seconds at `rate` calls per minute, at least one."""
    return max(1, round(rate / 6))


def check(limits: Limits, now: float) -> None:
    """Raises BadInput for a value that makes no sense, and for an expiry that is not after `now` (Unix seconds)."""
    expected = (
        ("name", _is_name(limits.name), f"1 to {MAX_NAME} printable characters"),
        ("rate", 0 <= limits.rate <= MAX_RATE, f"calls per minute from 0 (no limit) to {MAX_RATE:.0f}"),
        ("burst", 0 <= limits.burst <= MAX_BURST, f"a number of calls from 0 (by the rate) to {MAX_BURST}"),
        ("budget_usd", 0 <= limits.budget_usd < 1e12, "dollars, or 0 for no limit"),
        ("budget_tokens", 0 <= limits.budget_tokens < 1 << 60, "a number of tokens, or 0 for no limit"),
        (
            "expires_at",
            limits.expires_at == 0 or max(now, 0) < limits.expires_at <= LATEST,
            "a time to come, or 0 for never",
        ),
        ("models", _are_patterns(limits.models), f"at most {MAX_MODELS} names or patterns, none of them empty"),
    )
    for field, fits, wanted in expected:
        if not fits:
            raise BadInput(f"The key's {field} must be {wanted}; {getattr(limits, field)!r} came.")


def _is_name(text: str) -> bool:
    return 0 < len(text) <= MAX_NAME and text.isprintable() and text == text.strip()


def _are_patterns(models: tuple[str, ...]) -> bool:
    return len(models) <= MAX_MODELS and all(0 < len(model) <= 200 and model.isprintable() for model in models)
