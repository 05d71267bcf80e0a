"""Why a call that was meant for a student went to the teacher, and whether that says anything about the student.

Three kinds of reasons. *Shed*: the student was not asked, or its server was away or full; or it was asked and was not
sure enough. No fault, and no label. *Late*: it was asked and did not answer in time while other calls kept its server
busy, or its server was up and could not load it. No fault either, for an overload must send work back to the teacher,
not demote; but such calls are counted, since a student that never answers anything must go: one whose adapter is torn
would be live, and answer nothing, for ever (`RoutingOptions.silent_calls`). Everything else is a fault: a loss of 1,
and bad for the detector of unusable answers.
"""

from collections.abc import Mapping
from typing import NamedTuple

from ..traffic.rollup import hour_spans
from ..traffic.store import Store

SHED = (
    "student_unreachable",
    "student_queue_full",
    "student_breaker_open",
    "low_confidence",
    "student_low_confidence",
)
LATE = ("student_queue_timeout", "student_timeout_busy", "student_model_not_found")
NO_LABEL = (*SHED, *LATE)
"""Fallback reasons that say nothing about the student's answers."""
_HOURS = """
SELECT hour, bit_xor(hash(pattern_id, student, n, bad)) FROM (
    SELECT hour, pattern_id, student, sum(attempts)::BIGINT AS n, sum(fell_back)::BIGINT AS bad FROM traffic_hours
    WHERE student <> '' AND pattern_id <> '' GROUP BY ALL HAVING bad > 0)
GROUP BY hour
"""
_EXCUSED = """
SELECT CAST(floor(started_at / 3600) AS INTEGER), pattern_id, student,
    count(*) FILTER (list_contains($shed, fallback)), count(*) FILTER (list_contains($late, fallback))
FROM calls WHERE list_contains($any, fallback) AND coalesce(student, '') <> '' AND pattern_id IS NOT NULL AND ({spans})
GROUP BY ALL
"""

Key = tuple[str, str]
"""Pattern and student."""


class Usable(NamedTuple):
    """Calls that a student was asked."""

    n: int = 0
    bad: int = 0
    """Those that it could not answer properly."""
    late: int = 0
    """Those that it had no time to answer."""

    def since(self, before: "Usable") -> "Usable":
        """What has come since `before`; never negative, also when calls have been removed from the store."""
        return Usable(*(max(0, now - then) for now, then in zip(self, before, strict=True)))

    def plus(self, n: int, bad: int, late: int) -> "Usable":
        """With so many more."""
        return Usable(self.n + n, self.bad + bad, self.late + late)


class Excused:
    """Shed and late calls by pattern and student, kept by the hour.

    Invariant: `counts` gives what counting all calls would. An hour is counted again when the sums kept beside the
    calls (`traffic.rollup`) say that its calls are others than before: the one that is going on, one into which calls
    came late, and one of which calls were moved or removed.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._sums: dict[int, int] = {}
        self._hours: dict[int, dict[Key, tuple[int, int]]] = {}

    def counts(self) -> dict[Key, tuple[int, int]]:
        """(shed, late) of every pattern and student that has any."""
        sums: dict[int, int] = dict(self._store.rows(_HOURS))
        changed = {hour for hour, seen in sums.items() if self._sums.get(hour) != seen}
        self._hours = {hour: kept for hour, kept in self._hours.items() if hour in sums and hour not in changed}
        if changed:
            spans = " OR ".join(f"(started_at >= {low} AND started_at < {high})" for low, high in hour_spans(changed))
            lists = {"shed": list(SHED), "late": list(LATE), "any": list(NO_LABEL)}
            for hour, *key, shed, late in self._store.rows(_EXCUSED.format(spans=spans), lists):
                self._hours.setdefault(hour, {})[key[0], key[1]] = shed, late
        self._sums = sums
        found: dict[Key, tuple[int, int]] = {}
        for kept in self._hours.values():
            for key, (shed, late) in kept.items():
                before = found.get(key, (0, 0))
                found[key] = before[0] + shed, before[1] + late
        return found


def usable(kept: Excused, chosen: Mapping[Key, tuple[int, int]]) -> dict[Key, Usable]:
    """By pattern and student. `chosen`: calls that the student was chosen for, and those that fell back to the teacher
    for whatever reason (`sessions.served_badly`)."""
    excused = kept.counts() if any(fell for _, fell in chosen.values()) else {}
    found = {}
    for key, (n, fell) in chosen.items():
        shed, late = excused.get(key, (0, 0))
        found[key] = Usable(n - shed, fell - shed - late, late)
    return found
