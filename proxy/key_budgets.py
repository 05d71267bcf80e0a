"""What the callers with a budget have used of it, counted from the calls in the store.

The rules are the ledger's: student-served calls cost no dollars (their tokens count), and a model without a price has
an unknown cost, never zero, so such calls are named as `uncounted` instead of passing for free unseen. An answer
without a token count, such as a stream that was cut off, is charged at the mean of the caller's other calls of the
period: leaving early must not be a way round a budget.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple

from ..traffic.rollup import DAY_S
from ..traffic.store import Store
from .ledger import cost, price_of
from .options import Price

Period = Literal["day", "month"]
PERIODS: tuple[Period, ...] = ("day", "month")


class Span(NamedTuple):
    """One period of a budget, Unix seconds: from `begin` to before `end`."""

    begin: float
    end: float


@dataclass(frozen=True)
class Spending:
    """What one caller used in a period."""

    calls: int = 0
    tokens: int = 0
    """Prompt and completion tokens, whoever answered."""
    usd: float = 0.0
    """US dollars for teacher-served calls."""
    uncounted: int = 0
    """Calls missing from `usd` or `tokens`: their model has no price, or no call tells what they may have cost."""


def span_of(period: Period, now: float) -> Span:
    """The day or calendar month (UTC) around a moment."""
    day = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "day":
        return Span(day.timestamp(), (day + timedelta(days=1)).timestamp())
    first = day.replace(day=1)
    following = (first + timedelta(days=32)).replace(day=1)
    return Span(first.timestamp(), following.timestamp())


_SPENT = """
SELECT caller, model, route, sum(attempts)::BIGINT AS calls, sum(prompt_tokens)::BIGINT AS prompt,
       sum(completion_tokens)::BIGINT AS completion, sum(metered)::BIGINT AS metered,
       sum(unmetered)::BIGINT AS unmetered
FROM caller_days WHERE day >= ? AND day < ? AND caller IN (SELECT unnest(?::VARCHAR[])) GROUP BY ALL
"""


def spending(store: Store, callers: Iterable[str], span: Span, prices: Mapping[str, Price]) -> dict[str, Spending]:
    """What each of the callers used in the span; those without a call are left out."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in store.query(_SPENT, (*_days(span), list(callers))):
        rows.setdefault(row["caller"], []).append(row)
    return {caller: _sum(found, prices) for caller, found in rows.items()}


def _days(span: Span) -> tuple[int, int]:
    """Periods begin and end with a day (UTC), as the sums that ingest keeps do."""
    return int(span.begin // DAY_S), int(span.end // DAY_S)


def _sum(rows: list[dict[str, Any]], prices: Mapping[str, Price]) -> Spending:
    paid = [row for row in rows if row["route"] == "teacher"]
    costs = [(row, cost(price_of(row["model"], prices), row["prompt"], row["completion"])) for row in paid]
    priced = sum(row["metered"] for row, dollars in costs if dollars is not None)
    unpriced = sum(row["metered"] for row, dollars in costs if dollars is None)
    tokens = _with_cut_off(sum(row["prompt"] + row["completion"] for row in rows), rows, _count(rows, "metered"))
    usd = _with_cut_off(sum(dollars for _, dollars in costs if dollars is not None), paid, priced)
    lost = 0 if priced else _count(paid, "unmetered")
    return Spending(_count(rows, "calls"), round(tokens), usd, unpriced + lost)


def _with_cut_off(amount: float, rows: list[dict[str, Any]], metered: int) -> float:
    """`amount`, which `metered` calls used, with the unmetered ones of `rows` at their mean."""
    return amount * (metered + _count(rows, "unmetered")) / metered if metered else amount


def _count(rows: list[dict[str, Any]], name: str) -> int:
    return sum(row[name] for row in rows)
