"""Erasing one run: somebody asks that what an agent did for them be forgotten.

Its calls go with their raw bodies, verdicts, feedback and labels, and so do the messages and tool sets that no call of
another run leads through. What other runs share (a system prompt, say) stays, for it is theirs. Student versions that
learnt from it cannot unlearn; they are named, so that somebody can retire and delete them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .errors import BadInput, UnknownName
from .retention import YOUNGEST_S, Removed, Unit, remove
from .store import Store
from .students import Lesson, StudentRegister


@dataclass(frozen=True)
class Learnt:
    """A student version that learnt from the run."""

    version: str
    status: str
    """`candidate` or `retired`."""
    rows: int
    """Training rows of it."""


@dataclass(frozen=True)
class Erased:
    """What was removed, or would be, and where else it has been."""

    trajectory_id: str
    calls: int
    messages: int
    toolsets: int
    comparisons: int
    bytes: int
    """Of content."""
    learnt_by: tuple[Learnt, ...]
    """Student versions whose weights it is in."""


class _TakenBack(Exception):
    """Ends a dry run."""


def erase(store: Store, students: StudentRegister, trajectory_id: str, now: float, dry_run: bool = False) -> Erased:
    """Remove a run from the store; with `dry_run` only say what would go. now: Unix seconds.

    Raises UnknownName for a run that there is not, and BadInput for one that may still be going on.
    """
    unit = _unit(store, trajectory_id, now)
    learnt = _learnt(students, students.learnt_from(trajectory_id))
    removed = Removed()
    try:
        with store.transaction():
            removed = remove(store, [unit])
            if dry_run:
                raise _TakenBack
    except _TakenBack:
        pass
    counts = (removed.calls, removed.messages, removed.toolsets, removed.comparisons, removed.bytes)
    return Erased(trajectory_id, *counts, learnt)


def _unit(store: Store, trajectory_id: str, now: float) -> Unit:
    last_at = store.value("SELECT max(started_at) FROM calls WHERE trajectory_id = ?", [trajectory_id])
    if last_at is None:
        raise UnknownName(f"There is no trajectory {trajectory_id!r}. `tutelage trajectories list` names them.")
    if last_at > now - YOUNGEST_S:
        minutes = (last_at + YOUNGEST_S - now) / 60
        raise BadInput(
            f"Trajectory {trajectory_id} had a call in the last hour and may still go on: its next call would bring "
            f"its messages back. Try again in {minutes:.0f} minutes."
        )
    return Unit(trajectory_id, None, last_at)


def _learnt(students: StudentRegister, found: Mapping[str, Sequence[Lesson]]) -> tuple[Learnt, ...]:
    return tuple(Learnt(name, students.get(name).status, len(lessons)) for name, lessons in found.items())
