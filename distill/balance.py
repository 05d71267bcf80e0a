"""Rare actions, shown more often.

A tool that the teacher needs once in a hundred calls is seen a handful of times in an epoch, and the student takes it
for its commoner sister. So rows are repeated by what they do: a row whose actions stand in n rows, the commonest in N,
is shown (N / n) ** power times, rounded, at most MOST times: with a power of .4, a tool
that is a hundred times as rare comes six times.
"""

from collections import Counter
from collections.abc import Sequence

from ..traffic.actions import action_of
from .curate import Trajectory
from .rows import Row

MOST = 8


def balanced_rows(rows: Sequence[Row], trajectories: Sequence[Trajectory], power: float) -> list[Row]:
    """All rows, those of rare actions several times. A row counts as its rarest action; `power` 0 repeats nothing."""
    did = _actions(trajectories)
    # Rows of other origin (rehearsal) do nothing that could be rare.
    kinds = [{did[call] for call in row.call_ids if call in did} for row in rows]
    tally = Counter(kind for row in kinds for kind in row)
    commonest = max(tally.values(), default=1)
    repeated: list[Row] = []
    for row, kind in zip(rows, kinds, strict=True):
        rarest = min((tally[one] for one in kind), default=commonest)
        repeated += [row] * min(MOST, round((commonest / rarest) ** power))
    return repeated


def _actions(trajectories: Sequence[Trajectory]) -> dict[str, str]:
    """What each call does: its tools' names, or that it says something."""
    found: dict[str, str] = {}
    for item in trajectories:
        for call in item.trainable:
            action = action_of(item.messages[call.index])
            found[call.call_id] = "+".join(sorted(one.name for one in action.calls)) or action.kind
    return found
