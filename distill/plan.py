"""The order in which rows are read: what a step holds, where an epoch ends, what is kept apart.

The plan is made before training and follows from the rows and the settings alone. A run that was killed makes it
again and finds its place by the number of the step; several processes make it alike and each reads its part.
"""

import hashlib
import random
from collections.abc import Iterator, Sequence

from .augment import MARK
from .options import DistillOptions
from .rows import Row


def planned(rows: Sequence[Row], options: DistillOptions) -> list[Row]:
    """The rows of all epochs in the order of training: each run of `batch` rows is one step.

    Epochs follow one another as seeded shuffles. Within stretches of sixteen steps rows are sorted by length, so that
    little is padded while every stretch keeps the mixture of lengths; then the steps of a stretch are shuffled."""
    rng = random.Random(options.seed)
    steps = max(1, round(options.epochs * len(rows) / options.batch))
    stream: list[Row] = []
    while len(stream) < steps * options.batch:
        stream += rng.sample(list(rows), len(rows))
    stream = stream[: steps * options.batch]
    plan: list[Row] = []
    stretch = 16 * options.batch
    for start in range(0, len(stream), stretch):
        near = sorted(stream[start : start + stretch], key=lambda row: len(row.input_ids))
        batches = [near[place : place + options.batch] for place in range(0, len(near), options.batch)]
        rng.shuffle(batches)
        plan += [row for batch in batches for row in batch]
    return plan


def steps_of(plan: Sequence[Row], batch: int) -> Iterator[Sequence[Row]]:
    """The plan cut into steps."""
    return (plan[place : place + batch] for place in range(0, len(plan), batch))


def padding(plan: Sequence[Row], batch: int) -> int:
    """Padding tokens that are read where the rows of a step are padded to the longest of them."""
    widest = (max(len(row.input_ids) for row in step) for step in steps_of(plan, batch))
    return sum(widest) * batch - sum(len(row.input_ids) for row in plan)


def epoch_ends(rows: int, steps: int, batch: int) -> list[int]:
    """Number of steps done at the end of each epoch over so many rows; the last entry is `steps`."""
    ends = {round(epoch * rows / batch) for epoch in range(1, steps * batch // max(1, rows) + 1)}
    return [*sorted(end for end in ends if 0 < end < steps), steps]


def kept_apart(rows: Sequence[Row], options: DistillOptions) -> tuple[list[Row], list[Row]]:
    """(rows to train on, rows to watch): all parts and variants of a session on one side, the same one in every run.

    Nothing is watched without `patience`; otherwise at least one session, and never all of them."""

    def session(row: Row) -> str:
        return row.trajectory_id.partition(MARK)[0]

    sessions = sorted({session(row) for row in rows}, key=lambda name: hashlib.sha256(name.encode()).digest())
    wanted = max(1, round(options.watched * len(sessions))) if options.patience else 0
    count = min(wanted, len(sessions) - 1)
    watched = set(sessions[:count])
    return (
        [row for row in rows if session(row) not in watched],
        [row for row in rows if session(row) in watched],
    )
