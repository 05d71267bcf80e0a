"""The learning curve: how many sessions it takes.

With a budget, a student is trained on growing parts of the training side, each holding the one before. The first part
whose student reaches the bar is enough: its version is registered. A small set is quicker to train on, and easier to
look through and to answer for.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from .curate import Curated, Trajectory
from .measures import Measure

SMALLEST = 10
"""Sessions; less tells nothing."""
HALVINGS = 3


@dataclass(frozen=True)
class Point:
    """One part of the training side, and how its student did on the held-out sessions."""

    sessions: int
    agreement: Measure
    seconds: float
    """Of training."""


def sizes(available: int, budget: int) -> list[int]:
    """Sizes of the parts, growing: an eighth, a quarter and half of the budget, and all of it. At least one."""
    most = min(budget, available) if budget else available
    if not budget:
        return [most]
    found = {most} | {most // 2**number for number in range(1, HALVINGS + 1) if most // 2**number >= SMALLEST}
    return sorted(found)


def parts_of(chosen: Curated, counts: Sequence[int]) -> list[Curated]:
    """The split with its training side cut to each size; the examination stays the same."""
    return [replace(chosen, train=nested(chosen.train, count)) for count in counts]


def nested(items: Sequence[Trajectory], count: int) -> list[Trajectory]:
    """So many of the sessions; each smaller part lies inside the larger ones."""
    # By a hash of the session, so that a part is a fair sample, and stays in the next run what it was.
    return sorted(items, key=lambda item: hashlib.sha256(item.trajectory_id.encode()).digest())[:count]


def reached(point: Point, bar: float) -> bool:
    """Whether the agreement is at the bar."""
    return (point.agreement.share or 0.0) >= bar
