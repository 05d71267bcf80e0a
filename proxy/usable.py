"""Why a call that was meant for a student went to the teacher, and whether that says anything about the student.

Three kinds of reasons. *Shed*: the student was not asked, or its server was away, full, or without the version; or it
was asked and was not sure enough. No fault, and no label. *Late*: it was asked and did not answer in time while other
calls kept its server busy. No fault either, for an overload must send work back to the teacher, not demote; but such
calls are counted, since a student that never answers anything must go (`RoutingOptions.silent_calls`). Everything else
is a fault: a loss of 1, and bad for the detector of unusable answers.
"""

from collections.abc import Mapping
from typing import NamedTuple

from ..traffic.store import Store

SHED = (
    "student_unreachable",
    "student_queue_full",
    "student_model_not_found",
    "student_breaker_open",
    "low_confidence",
)
LATE = ("student_queue_timeout", "student_timeout_busy")
NO_LABEL = (*SHED, *LATE)
"""Fallback reasons that say nothing about the student's answers."""
_EXCUSED = """
SELECT pattern_id, student, count(*) FILTER (list_contains($shed, fallback)),
       count(*) FILTER (list_contains($late, fallback))
FROM calls WHERE list_contains($any, fallback) AND coalesce(student, '') <> '' AND pattern_id IS NOT NULL GROUP BY ALL
"""


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


def usable(store: Store, chosen: Mapping[tuple[str, str], tuple[int, int]]) -> dict[tuple[str, str], Usable]:
    """By pattern and student. `chosen`: calls that the student was chosen for, and those that fell back to the teacher
    for whatever reason (`sessions.served_badly`)."""
    excused: dict[tuple[str, str], tuple[int, int]] = {}
    if any(fell for _, fell in chosen.values()):
        rows = store.rows(_EXCUSED, {"shed": list(SHED), "late": list(LATE), "any": list(NO_LABEL)})
        excused = {(pattern, student): (shed, late) for pattern, student, shed, late in rows}
    found = {}
    for key, (n, fell) in chosen.items():
        shed, late = excused.get(key, (0, 0))
        found[key] = Usable(n - shed, fell - shed - late, late)
    return found
