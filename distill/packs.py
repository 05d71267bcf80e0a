"""Rows that begin alike, packed: their common beginning is computed once.

A pack holds the ids of the beginning and then, one behind another, the rest of each row. A token sees the beginning
and what stands before it in its own rest, at the place it has in its row, so what is computed for it is what the row
alone would give, up to floating-point noise. Prompts of one pattern often begin alike (the same list of devices; in
`full` mode the whole system prompt and the tools), and then most tokens of a step are saved.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from random import Random
from typing import TYPE_CHECKING, Any

from ..traffic.errors import BadInput
from .loss import answer_loss, has_plain_head
from .rows import MASKED, Row

if TYPE_CHECKING:
    from torch import Tensor

SHORTEST = 16
"""Fewest common tokens that are worth a pack."""
TOLERANCE = {"float32": 1e-3}
"""Relative difference between the loss of a pack and of its rows that rounding may make, by the type of the weights;
.02 for others."""


@dataclass(frozen=True)
class Pack(Row):
    """Rows in one: ids[:shared] is their beginning, followed by the rests, of `branches` tokens each."""

    shared: int = 0
    branches: tuple[int, ...] = ()

    @property
    def positions(self) -> list[int]:
        """Place of each token in its own row."""
        rests = [place for length in self.branches for place in range(self.shared, self.shared + length)]
        return [*range(self.shared), *rests]

    @property
    def rows(self) -> list[Row]:
        """The rows again, with their ids and labels alone."""
        found, start = [], self.shared
        for length in self.branches:
            ids, labels = (part[: self.shared] + part[start : start + length] for part in (self.input_ids, self.labels))
            found.append(Row(self.row_id, self.trajectory_id, (), ids, labels))
            start += length
        return found

    @property
    def owners(self) -> list[int]:
        """Whose each token is: 0 for the beginning, then 1, 2, … for the rests."""
        rests = [owner for owner, length in enumerate(self.branches, 1) for _ in range(length)]
        return [0] * self.shared + rests


def packed(rows: Sequence[Row], most: int, limit: int, seed: int) -> list[Pack]:
    """The rows in packs of at most `most` rows and `limit` tokens, by chance among those that begin alike.

    Rows with nothing to share stand alone. Every row is in exactly one pack."""
    rng = Random(seed)
    shuffled = rng.sample(list(rows), len(rows))
    alike: dict[tuple[int, ...], list[Row]] = {}
    for row in shuffled:
        alike.setdefault(_opening(row), []).append(row)
    packs: list[Pack] = []
    for opening, group in alike.items():
        if len(opening) < SHORTEST or most < 2:
            packs += [_pack([row]) for row in group]
            continue
        while group:
            packs.append(_pack(_first(group, len(opening), most, limit)))
    return packs


def _opening(row: Row) -> tuple[int, ...]:
    """The first turn: up to where the second begins."""
    first = row.input_ids[:1]
    length = next((place for place, token in enumerate(row.input_ids) if place and [token] == first), 0)
    untrained = all(label == MASKED for label in row.labels[:length])
    return tuple(row.input_ids[:length]) if untrained else ()


def _first(group: list[Row], opening: int, most: int, limit: int) -> list[Row]:
    """Take the next rows of a pack away from the group."""
    taken = [group.pop(0)]
    size = len(taken[0].input_ids)
    while group and len(taken) < most and size + len(group[0].input_ids) - opening <= limit:
        size += len(group[0].input_ids) - opening
        taken.append(group.pop(0))
    return taken


def _pack(rows: Sequence[Row]) -> Pack:
    first = rows[0]
    shared = _common([row.input_ids for row in rows]) if len(rows) > 1 else 0
    # The token before a trained one says it: both stay in their own row.
    shared = max(0, min([shared, *(_untrained(row) - 1 for row in rows)]))
    ids, labels = first.input_ids[:shared], first.labels[:shared]
    for row in rows:
        ids, labels = ids + row.input_ids[shared:], labels + row.labels[shared:]
    return Pack(
        "+".join(row.row_id for row in rows),
        first.trajectory_id,
        tuple(call for row in rows for call in row.call_ids),
        ids,
        labels,
        first.opening,
        shared,
        tuple(len(row.input_ids) - shared for row in rows),
    )


def _common(many: Sequence[list[int]]) -> int:
    return sum(1 for _ in takewhile(lambda tokens: len(set(tokens)) == 1, zip(*many, strict=False)))


def _untrained(row: Row) -> int:
    return next((place for place, label in enumerate(row.labels) if label != MASKED), len(row.labels))


def require_agreement(model: Any, packs: Sequence[Pack]) -> None:
    """Try a pack on the model itself: its loss must be that of its rows. Raises BadInput where it is not.

    Models that look at a part of the text only, or that read it step by step, do not follow the mask of a pack."""
    import torch

    if not has_plain_head(model):
        raise BadInput("distill.pack is more than 1, but this base scales or caps its logits: set pack = 1.")
    sample = max(packs, key=lambda pack: (len(pack.branches), -len(pack.input_ids)))
    if len(sample.branches) < 2:
        return
    training = model.training
    model.eval()
    with torch.no_grad():
        together = answer_loss(model, _batch(model, sample)).item() * sample.trained
        apart = sum(answer_loss(model, _batch(model, _pack([row]))).item() * row.trained for row in sample.rows)
    model.train(training)
    if abs(together - apart) > TOLERANCE.get(str(model.dtype).removeprefix("torch."), 0.02) * max(1.0, abs(apart)):
        raise BadInput(
            f"distill.pack is more than 1, but this base computes packed rows otherwise than rows alone (loss "
            f"{together:.3f}, alone {apart:.3f}): set pack = 1."
        )


def _batch(model: Any, pack: Pack) -> dict[str, "Tensor"]:
    one = {name: getattr(pack, name) for name in ("input_ids", "labels", "positions", "owners")}
    return {name: tensor.to(model.device) for name, tensor in collated([one], 0).items()}


def collated(packs: Iterable[dict[str, Any]], pad: int) -> dict[str, "Tensor"]:
    """A batch: ids, labels and positions of shape (packs, length), and the mask (packs, 1, length, length), True where
    a token of the row sees the one of the column. Padding sees itself, for a row of nothing gives no number."""
    import torch

    packs = list(packs)
    length = max(len(one["input_ids"]) for one in packs)

    def filled(name: str, filling: int) -> "Tensor":
        return torch.tensor([one[name] + [filling] * (length - len(one[name])) for one in packs])

    owners = filled("owners", -1)
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    same = (owners[:, :, None] == owners[:, None, :]) | ((owners[:, None, :] == 0) & (owners[:, :, None] >= 0))
    mask = same & causal
    mask |= torch.eye(length, dtype=torch.bool) & (owners[:, :, None] < 0)
    return {
        "input_ids": filled("input_ids", pad),
        "labels": filled("labels", MASKED),
        "position_ids": filled("positions", 0),
        "attention_mask": mask[:, None],
    }
