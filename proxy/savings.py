"""What students have brought after everything they cost: money by day and pattern, and when it has paid off.

    avoided    what the teacher would have been paid for the calls that a student served (an estimate, see `ledger`)
    serving    the student's own tokens for these calls
    shadow     the student's tokens for answers that were only compared
    audit      the teacher's tokens for calls that a student had served, and for calls it was asked twice (noise)
    judge      what the judge of free texts was paid
    training   machine time of the versions of the pattern's agent, shared out evenly among its patterns
    net        avoided minus all others

Invariant: an amount is None (unknown) when it needs a price that nobody has given, and so is every sum it belongs to;
what was not used costs nothing whatever its price. A student is priced by its version, its name, or `student`; an hour
of training by `training_usd_hour`. Both may be set to 0.

Even is reached on the first day at whose end all nets since the first cost add up to 0 or more. Before, it is projected
from the mean of the last seven days.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from ..traffic.rollup import days_since
from ..traffic.store import Store
from ..traffic.students import Manifest
from .ledger import Means, cost, day_name, price_of, teacher_means, total
from .options import Price

PARTS = ("avoided", "serving", "shadow", "audit", "judge", "training")
RECENT_DAYS = 7
STUDENT = "student"
"""Name in the prices for all students that have none of their own."""


@dataclass
class Amounts:
    """Dollars; None: unknown."""

    avoided: float | None = 0.0
    serving: float | None = 0.0
    shadow: float | None = 0.0
    audit: float | None = 0.0
    judge: float | None = 0.0
    training: float | None = 0.0

    def add(self, part: str, dollars: float | None) -> None:
        """Add to one part; what is unknown stays so."""
        setattr(self, part, total((getattr(self, part), dollars)))

    @property
    def net(self) -> float | None:
        """Avoided minus everything else."""
        spent = total((self.serving, self.shadow, self.audit, self.judge, self.training))
        return None if self.avoided is None or spent is None else self.avoided - spent


@dataclass(frozen=True)
class DayLine:
    """One pattern on one day (UTC)."""

    day: str
    pattern_id: str
    calls: int
    """That a student served."""
    tokens_avoided: float
    """Of the teacher, prompt and completion, audits not taken off."""
    amounts: Amounts
    net: float | None


@dataclass(frozen=True)
class PatternLine:
    """One pattern over the whole time."""

    pattern_id: str
    calls: int
    tokens_avoided: float
    amounts: Amounts
    net: float | None
    even_on: str | None
    """Day on which it has paid off or, when `projected`, will have; None: unknown, nothing spent, or not in sight."""
    projected: bool


@dataclass(frozen=True)
class Balance:
    """Everything since a moment."""

    since: float
    patterns: tuple[PatternLine, ...]
    """The largest number of served calls first."""
    days: tuple[DayLine, ...]
    net: float | None
    unpriced: tuple[str, ...]
    """What was used and has no price: models, `student`, `training`, `judge`."""


_SERVED = """
SELECT day, pattern_id, student, sum(calls)::BIGINT AS calls, sum(prompt_tokens)::BIGINT AS prompt,
    sum(completion_tokens)::BIGINT AS completion
FROM {days} WHERE route = 'student' AND pattern_id <> '' GROUP BY ALL
"""
_COMPARED = """
SELECT CAST(floor("at" / 86400) AS INTEGER) AS day, pattern_id, kind, student,
    coalesce(sum(student_prompt_tokens), 0)::BIGINT AS prompt,
    coalesce(sum(student_completion_tokens), 0)::BIGINT AS completion,
    coalesce(sum(teacher_prompt_tokens), 0)::BIGINT AS teacher_prompt,
    coalesce(sum(teacher_completion_tokens), 0)::BIGINT AS teacher_completion
FROM comparisons WHERE comparisons."at" >= ? AND pattern_id IS NOT NULL GROUP BY ALL
"""
_REPEATED = """
SELECT CAST(floor("at" / 86400) AS INTEGER) AS day, pattern_id, coalesce(sum(prompt_tokens), 0)::BIGINT AS prompt,
    coalesce(sum(completion_tokens), 0)::BIGINT AS completion
FROM teacher_repeats WHERE teacher_repeats."at" >= ? GROUP BY ALL
"""
_JUDGED = """
SELECT CAST(floor("at" / 86400) AS INTEGER) AS day, pattern_id, coalesce(sum(usd), 0.0) AS usd,
    count(*) FILTER (asked > 0 AND usd IS NULL) AS unknown
FROM verdicts WHERE verdicts."at" >= ? GROUP BY ALL
"""


@dataclass
class _Book:
    """Amounts by day and pattern while they are gathered."""

    prices: Mapping[str, Price]
    models: Means
    """The teacher's mean call by pattern."""
    amounts: dict[tuple[int, str], Amounts] = field(default_factory=dict)
    calls: dict[tuple[int, str], int] = field(default_factory=dict)
    tokens: dict[tuple[int, str], float] = field(default_factory=dict)
    unpriced: set[str] = field(default_factory=set)

    def add(self, day: int, pattern: str, part: str, dollars: float | None) -> None:
        self.amounts.setdefault((day, pattern), Amounts()).add(part, dollars)

    def paid(self, model: str, price: Price | None, prompt: float, completion: float) -> float | None:
        """Dollars of so many tokens; a price that is missing is noted, but only when something was used."""
        if not prompt and not completion:
            return 0.0
        if price is None:
            self.unpriced.add(model)
        return cost(price, prompt, completion)

    def teacher(self, pattern: str, prompt: float, completion: float) -> float | None:
        model = str(self.models.get(pattern, {}).get("model") or "")
        return self.paid(model or "teacher", price_of(model, self.prices), prompt, completion)

    def student(self, version: str, prompt: float, completion: float) -> float | None:
        return self.paid(STUDENT, student_price(version, self.prices), prompt, completion)


def student_price(version: str, prices: Mapping[str, Price]) -> Price | None:
    """The price of a student: that of its version, its name, or of all students."""
    names = (version, version.partition("@")[0], STUDENT)
    return next((prices[name] for name in names if name in prices), None)


def balance(
    store: Store,
    prices: Mapping[str, Price],
    versions: Iterable[Manifest] = (),
    training_usd_hour: float | None = None,
    since: float = 0.0,
    means: Means | None = None,
) -> Balance:
    """All patterns that a student had anything to do with since a moment (Unix seconds).

    means: `teacher_means`, where they have been read already.
    """
    book = _Book(prices, teacher_means(store) if means is None else means)
    _add_served(store, book, since)
    _add_compared(store, book, since)
    _add_judged(store, book, since)
    _add_training(book, versions, training_usd_hour, since)
    days = [
        DayLine(
            day_name(day),
            pattern,
            book.calls.get((day, pattern), 0),
            book.tokens.get((day, pattern), 0.0),
            one,
            one.net,
        )
        for (day, pattern), one in sorted(book.amounts.items())
    ]
    lines = sorted(_by_pattern(days), key=lambda line: (-line.calls, line.pattern_id))
    return Balance(since, tuple(lines), tuple(days), total(line.net for line in lines), tuple(sorted(book.unpriced)))


def _add_served(store: Store, book: _Book, since: float) -> None:
    for row in store.query(_SERVED.format(days=days_since(since))):
        day, pattern, calls = row["day"], row["pattern_id"], row["calls"]
        mean = book.models.get(pattern)
        # A pattern that the teacher never answered has only the student's own counts.
        prompt = calls * mean["prompt"] if mean else row["prompt"]
        completion = calls * mean["completion"] if mean else row["completion"]
        book.add(day, pattern, "avoided", book.teacher(pattern, prompt, completion))
        book.add(day, pattern, "serving", book.student(row["student"], row["prompt"], row["completion"]))
        book.calls[day, pattern] = book.calls.get((day, pattern), 0) + calls
        book.tokens[day, pattern] = book.tokens.get((day, pattern), 0.0) + prompt + completion


def _add_compared(store: Store, book: _Book, since: float) -> None:
    for row in store.query(_COMPARED, (since,)):
        day, pattern = row["day"], row["pattern_id"]
        if row["kind"] == "audit":
            paid = book.teacher(pattern, row["teacher_prompt"], row["teacher_completion"])
            book.add(day, pattern, "audit", paid)
        else:
            book.add(day, pattern, "shadow", book.student(row["student"], row["prompt"], row["completion"]))
    for row in store.query(_REPEATED, (since,)):
        paid = book.teacher(row["pattern_id"], row["prompt"], row["completion"])
        book.add(row["day"], row["pattern_id"], "audit", paid)


def _add_judged(store: Store, book: _Book, since: float) -> None:
    for row in store.query(_JUDGED, (since,)):
        if row["unknown"]:
            book.unpriced.add("judge")
        book.add(row["day"], row["pattern_id"], "judge", None if row["unknown"] else row["usd"])


def _add_training(book: _Book, versions: Iterable[Manifest], usd_hour: float | None, since: float) -> None:
    for one in versions:
        seconds = sum(one.seconds.values())
        if one.created_at < since or not seconds or not one.pattern_ids:
            continue
        if usd_hour is None:
            book.unpriced.add("training")
        share = None if usd_hour is None else seconds / 3_600 * usd_hour / len(one.pattern_ids)
        for pattern in one.pattern_ids:
            book.add(int(one.created_at // 86_400), pattern, "training", share)


def _by_pattern(days: Sequence[DayLine]) -> Iterable[PatternLine]:
    groups: dict[str, list[DayLine]] = {}
    for line in days:
        groups.setdefault(line.pattern_id, []).append(line)
    for pattern, lines in groups.items():
        amounts = Amounts()
        for line in lines:
            for part in PARTS:
                amounts.add(part, getattr(line.amounts, part))
        even, projected = _even([(date.fromisoformat(line.day), line.net) for line in lines])
        calls, tokens = sum(line.calls for line in lines), sum(line.tokens_avoided for line in lines)
        yield PatternLine(pattern, calls, tokens, amounts, amounts.net, even and even.isoformat(), projected)


def _even(nets: Sequence[tuple[date, float | None]]) -> tuple[date | None, bool]:
    """The day on which the nets add up to 0 or more again, and whether it lies ahead. Days ascend."""
    reached: date | None = None
    spent, owed = False, 0.0
    for day, net in nets:
        if net is None:
            return None, False
        owed += net
        spent = spent or net < 0
        reached = (reached or day) if owed >= 0 else None
    if reached or not spent:
        return (reached if spent else None), False
    last = nets[-1][0]
    recent = [net or 0.0 for day, net in nets if day > last - timedelta(days=RECENT_DAYS)]
    length = min(RECENT_DAYS, (last - nets[0][0]).days + 1)
    pace = sum(recent) / length
    if pace <= 0 or -owed / pace > 36_500:
        return None, False
    return last + timedelta(days=math.ceil(-owed / pace)), True
