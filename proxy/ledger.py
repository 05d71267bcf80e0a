"""The ledger: calls, tokens and money by day, pattern and route, and what the student has saved.

Two rules keep it honest. A model without a price makes a sum *unknown*, never zero. And what the student avoided is
counted in the teacher's tokens, net of the audits that the teacher was paid for: the student counts its own, often
much shorter, prompt. So the tokens avoided are an estimate: student-served calls times the mean tokens of the
teacher-served calls of the same pattern (sessions are assigned by hash, so both kinds are alike); a pattern that the
teacher never answered has only the student's own counts.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, cached_property, partial
from typing import Any

from ..traffic.prices import known_price, undated
from ..traffic.rollup import days_since
from ..traffic.store import Store
from .options import Price


@dataclass(frozen=True)
class Line:
    """Calls of one day, pattern, route and model."""

    day: str
    """UTC date, `2026-01-31`; empty for all days together."""
    pattern_id: str
    """Empty for calls of no pattern."""
    route: str
    """teacher, student or none."""
    model: str
    """The model that answered."""
    calls: int
    prompt_tokens: int
    completion_tokens: int
    unmetered: int
    """Answered calls without a token count, such as streams that were cut off."""
    dollars: float | None
    """None: the price is unknown. Student-served calls cost the teacher nothing."""


@dataclass(frozen=True)
class Savings:
    """What one pattern's student-served calls saved, net of audits."""

    pattern_id: str
    calls: int
    """Student-served calls."""
    avoided_prompt: float
    avoided_completion: float
    """Teacher tokens avoided (estimate, see the module's text)."""
    audits: int
    """Student-served calls that the teacher answered again."""
    audit_prompt: int
    audit_completion: int
    dollars: float | None
    """Net; None when the price of the pattern's teacher model is unknown."""

    @property
    def tokens(self) -> float:
        """Net teacher tokens saved; negative while audits cost more than the student serves."""
        return self.avoided_prompt + self.avoided_completion - self.audit_prompt - self.audit_completion


@dataclass(frozen=True)
class Ledger:
    """Lines and savings over a span of time."""

    since: float
    lines: tuple[Line, ...]
    savings: tuple[Savings, ...]
    unpriced: tuple[str, ...]
    """Models that were used and have no price."""

    @cached_property
    def by_pattern(self) -> dict[str, list[Line]]:
        """The lines of each pattern."""
        return by_pattern(self.lines)

    def spent(self, pattern_id: str | None = None) -> float | None:
        """Dollars paid for teacher-served calls, audits not included; None when a price is unknown."""
        lines = self.lines if pattern_id is None else self.by_pattern.get(pattern_id, ())
        return total(line.dollars for line in lines)

    def saved(self) -> float | None:
        """Dollars saved, net of audits; None when a price is unknown."""
        return total(saving.dollars for saving in self.savings)


Means = Mapping[str, Mapping[str, Any]]
"""By pattern, see `teacher_means`."""
_LINES = """
SELECT {day} AS day, pattern_id, route, model, sum(calls)::BIGINT AS calls, sum(prompt_tokens)::BIGINT AS prompt_tokens,
       sum(completion_tokens)::BIGINT AS completion_tokens,
       coalesce(sum(attempts - metered) FILTER (status = 200 AND route <> 'none'), 0)::BIGINT AS unmetered
FROM {days} WHERE meant GROUP BY ALL ORDER BY ALL
"""
_MEANS = """
SELECT pattern_id, sum(prompt) / sum(metered) AS prompt, sum(completion) / sum(metered) AS completion,
       arg_max(model, (metered, model)) AS model
FROM (
    SELECT pattern_id, model, sum(prompt_tokens) AS prompt, sum(completion_tokens) AS completion,
           sum(metered) AS metered
    FROM traffic_days WHERE route = 'teacher' AND metered > 0 AND pattern_id <> '' GROUP BY ALL
) GROUP BY pattern_id
"""
_AUDITS = """
SELECT pattern_id, count(*) AS audits, coalesce(sum(teacher_prompt_tokens), 0)::BIGINT AS prompt,
       coalesce(sum(teacher_completion_tokens), 0)::BIGINT AS completion
FROM comparisons WHERE kind = 'audit' AND teacher_prompt_tokens IS NOT NULL AND comparisons.at >= ? GROUP BY pattern_id
"""


def ledger(
    store: Store,
    prices: Mapping[str, Price],
    since: float = 0.0,
    *,
    by_day: bool = True,
    means: Means | None = None,
) -> Ledger:
    """Everything since a moment (Unix seconds); not `by_day`: one line for all days, the sums are the same.

    means: `teacher_means`, where they have been read already.
    """
    price, day = cache(partial(price_of, prices=prices)), cache(day_name)
    rows = store.rows(_LINES.format(days=days_since(since), day="day" if by_day else "NULL"))
    lines = tuple(_line(day(number) if by_day else "", row, price) for number, *row in rows)
    means = teacher_means(store) if means is None else means
    audits = {row["pattern_id"]: row for row in store.query(_AUDITS, (since,))}
    served = sorted({line.pattern_id for line in lines if line.route == "student"} | set(audits))
    own = by_pattern(line for line in lines if line.route == "student")
    savings = tuple(
        _saving(pattern, own.get(pattern, ()), means.get(pattern), audits.get(pattern), prices) for pattern in served
    )
    unpriced = {line.model for line in lines if line.dollars is None and price(line.model) is None}
    return Ledger(since, lines, savings, tuple(sorted(unpriced)))


def by_pattern(lines: Iterable[Line]) -> dict[str, list[Line]]:
    """Lines by pattern, in their order."""
    found: dict[str, list[Line]] = {}
    for line in lines:
        found.setdefault(line.pattern_id, []).append(line)
    return found


def teacher_means(store: Store) -> Means:
    """Mean prompt and completion tokens of the calls that the teacher answered, and its usual model, by pattern."""
    return {row["pattern_id"]: row for row in store.query(_MEANS)}


def price_of(model: str, prices: Mapping[str, Price]) -> Price | None:
    """The price of a model as its answers name it: by that name, or by the name without the date at its end.

    Where the settings have none, that of the table that comes with the package; see `traffic.prices`.
    """
    if price := prices.get(model) or prices.get(undated(model)):
        return price
    known = known_price(model)
    return None if known is None else Price(known.input, known.output)


def cost(price: Price | None, prompt: float, completion: float) -> float | None:
    """Dollars of so many tokens; None without a price."""
    return None if price is None else (prompt * price.input + completion * price.output) / 1e6


def total(amounts: Iterable[float | None]) -> float | None:
    """Sum; None when any part is unknown."""
    known = 0.0
    for amount in amounts:
        if amount is None:
            return None
        known += amount
    return known


def day_name(number: int) -> str:
    """The UTC date of a day, given as Unix time divided by its length."""
    return datetime.fromtimestamp(number * 86_400, UTC).date().isoformat()


def _line(day: str, row: Sequence[Any], price: Callable[[str], Price | None]) -> Line:
    pattern, route, model, calls, prompt, completion, unmetered = row
    dollars = _paid(price(model), prompt, completion, unmetered) if route == "teacher" else 0.0
    return Line(day, pattern, route, model, calls, prompt, completion, unmetered, dollars)


def _paid(price: Price | None, prompt: int, completion: int, unmetered: int) -> float | None:
    if unmetered:
        return None
    # Calls that failed have no tokens and often no model either: they cost nothing.
    return cost(price, prompt, completion) if prompt or completion else 0.0


def _saving(
    pattern: str,
    own: Sequence[Line],
    mean: Mapping[str, Any] | None,
    audit: Mapping[str, Any] | None,
    prices: Mapping[str, Price],
) -> Savings:
    calls = sum(line.calls for line in own)
    if mean:
        model, prompt, completion = mean["model"], calls * mean["prompt"], calls * mean["completion"]
    else:
        model = max(own, key=lambda line: line.calls).model if own else ""
        prompt, completion = sum(line.prompt_tokens for line in own), sum(line.completion_tokens for line in own)
    spent = (audit["prompt"], audit["completion"]) if audit else (0, 0)
    return Savings(
        pattern_id=pattern,
        calls=calls,
        avoided_prompt=prompt,
        avoided_completion=completion,
        audits=audit["audits"] if audit else 0,
        audit_prompt=spent[0],
        audit_completion=spent[1],
        dollars=cost(price_of(model, prices), prompt - spent[0], completion - spent[1]),
    )
