"""Training rows: token ids of a conversation and, beside each, the label or MASKED.

A row holds a whole trajectory, every assistant turn of the teacher trained at once. Ids come segment by segment from
`serving.render`, so they are the ids that the student reads when it serves. A trajectory over the length limit is cut
between turns into several rows; each repeats as many of the turns before it as fit, and those are not trained again.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ..serving.render import Message, segments
from ..traffic.students import PromptSpec
from .curate import Trajectory

MASKED = -100
"""Label of a token that is read but not trained."""

Tokenise = Callable[[str], list[int]]


@dataclass(frozen=True)
class Row:
    """One training row. `input_ids` and `labels` have one length; `labels[i]` is `input_ids[i]` or MASKED."""

    row_id: str
    """`TRAJECTORY_ID/PART`."""
    trajectory_id: str
    call_ids: tuple[str, ...]
    """Calls whose answers are trained here."""
    input_ids: list[int]
    labels: list[int]
    opening: bool = True
    """Whether it begins where the conversation begins; not so for the later parts of a long one."""

    @property
    def trained(self) -> int:
        """Number of trained tokens."""
        return sum(label != MASKED for label in self.labels)


@dataclass(frozen=True)
class Turn:
    """One segment's ids, with what the row builder must know about it."""

    ids: list[int]
    call_id: str
    """The call that wrote it, when it is to be trained; empty otherwise."""
    starts: bool
    """Whether a conversation may be cut before it: it is a system or user turn, or an assistant's header."""


@dataclass(frozen=True)
class RowSet:
    """All rows of a data set."""

    rows: list[Row]
    too_long: int
    """Answers left out because the answer with its nearest turn does not fit in one row."""


def rows_of(trajectories: Iterable[Trajectory], spec: PromptSpec, tokenise: Tokenise, max_length: int) -> RowSet:
    """Tokenise and label. `tokenise` adds no special tokens and parses those in the text."""
    rows: list[Row] = []
    too_long = 0
    for trajectory in trajectories:
        turns = _turns(trajectory, spec, tokenise)
        if sum(len(turn.ids) for turn in turns) <= max_length:
            parts = [(0, 0, len(turns))]
        else:
            parts, lost = cut([len(turn.ids) for turn in turns], _cuttable(turns), max_length)
            too_long += sum(bool(turn.call_id) for start, end in lost for turn in turns[start:end])
        for first, fresh, end in parts:
            row = _row(trajectory, turns, (first, fresh, end), len(rows))
            if row.trained:
                rows.append(row)
    return RowSet(rows, too_long)


def cut(
    lengths: Sequence[int], cuttable: Sequence[bool], limit: int
) -> tuple[list[tuple[int, int, int]], list[tuple[int, int]]]:
    """Cut turns into windows of at most `limit` tokens.

    Returns windows (first, fresh, end): turns first..fresh-1 are repeated context, fresh..end-1 are new; and the spans
    (start, end) that fit in no window. Windows together hold every other turn as new exactly once. Half of a window
    at most is repeated, so that the number of windows stays linear."""
    blocks = _blocks(cuttable)
    windows: list[tuple[int, int, int]] = []
    lost: list[tuple[int, int]] = []
    place = 0
    while place < len(blocks):
        fresh, end = blocks[place]
        size = sum(lengths[fresh:end])
        if size > limit:
            lost.append((fresh, end))
            place += 1
            continue
        first = fresh
        for start, stop in reversed(blocks[:place]):
            block = sum(lengths[start:stop])
            if size + block > limit or sum(lengths[start:fresh]) > limit // 2:
                break
            first, size = start, size + block
        place += 1
        while place < len(blocks) and size + sum(lengths[slice(*blocks[place])]) <= limit:
            end = blocks[place][1]
            size += sum(lengths[slice(*blocks[place])])
            place += 1
        windows.append((first, fresh, end))
    return windows, lost


def _blocks(cuttable: Sequence[bool]) -> list[tuple[int, int]]:
    starts = [place for place, allowed in enumerate(cuttable) if allowed or place == 0]
    return list(zip(starts, [*starts[1:], len(cuttable)], strict=True))


def _cuttable(turns: Sequence[Turn]) -> list[bool]:
    return [turn.starts for turn in turns]


def _turns(trajectory: Trajectory, spec: PromptSpec, tokenise: Tokenise) -> list[Turn]:
    """The conversation's segments; the k-th trained segment is the k-th assistant message."""
    places = [place for place, message in enumerate(trajectory.messages) if message.get("role") == "assistant"]
    wanted = {call.index: call.call_id for call in trajectory.trainable}
    parts = segments(trajectory.messages, trajectory.tools, spec)
    answers = iter(places)
    found: list[Turn] = []
    for part in parts:
        call_id = wanted.get(next(answers), "") if part.trained else ""
        # A cut before a header would part an answer from what it answers.
        found.append(Turn(tokenise(part.text), call_id, _opens_input(part.text) and not part.trained))
    if next(answers, None) is not None:
        raise ValueError(f"The rendering of {trajectory.trajectory_id} lost an assistant turn.")
    return found


def _opens_input(text: str) -> bool:
    return text.startswith("<|im_start|>") and not text.startswith("<|im_start|>assistant")


def _row(trajectory: Trajectory, turns: Sequence[Turn], part: tuple[int, int, int], number: int) -> Row:
    first, fresh, end = part
    ids: list[int] = []
    labels: list[int] = []
    calls: list[str] = []
    for place in range(first, end):
        turn = turns[place]
        trained = bool(turn.call_id) and place >= fresh
        ids += turn.ids
        labels += turn.ids if trained else [MASKED] * len(turn.ids)
        if trained:
            calls.append(turn.call_id)
    row_id = f"{trajectory.trajectory_id}/{number}"
    return Row(row_id, trajectory.trajectory_id, tuple(calls), ids, labels, first == 0)


__all__ = ["MASKED", "Message", "Row", "RowSet", "cut", "rows_of"]
