"""Attention of many sequences, each to its own place in one cache of keys and values.

A sequence that is being written has one row; all such rows are computed together, over the stretch of the cache that
their places span, as long as that wastes less than it saves. Rows of a prompt are computed sequence by sequence.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from .shape import Shape

_WASTE = 2.0
"""How many times what the sequences hold a common stretch of the cache may hold."""


class Segment(NamedTuple):
    """Rows of one sequence in a step."""

    start: int
    end: int
    slot: int
    """Its place in the cache."""
    past: int
    """Its tokens that the cache holds already."""


def empty_cache(torch: Any, sizes: tuple[int, ...]) -> Any:
    """Zeros, whose memory is taken when it is written to: what is masked must be a number, but need not be there."""
    import numpy as np

    return torch.from_numpy(np.zeros(sizes, "float32"))


class Attention:
    """What the rows of one step attend to, worked out once for all layers."""

    def __init__(self, torch: Any, shape: Shape, segments: Sequence[Segment], context: int) -> None:
        self._torch, self._shape, self._context = torch, shape, context
        single = sorted((one for one in segments if one.end - one.start == 1), key=lambda one: one.start)
        if not _worth_it(single):
            single = []
        self._alone = [(one, self._mask(one)) for one in segments if one not in single]
        self._together = _Together(torch, single) if single else None

    def __call__(self, queries: Any, cache: Any) -> Any:
        """Rows × (heads · head) for queries of rows × heads × head and one layer's cache."""
        torch, shape = self._torch, self._shape
        together = None
        if self._together:
            places = cache.view(-1, self._context, 2 * shape.kv_heads, shape.head)
            together = self._together.attend(queries, places)
            if not self._alone:
                return together.view(len(queries), -1)
        made = torch.empty(len(queries), shape.heads, shape.head)
        if self._together:
            made[self._together.rows] = together
        for segment, mask in self._alone:
            begin, count = segment.slot * self._context, segment.past + segment.end - segment.start
            kv = cache[begin : begin + count].transpose(0, 1)[None]
            keys, values = kv[:, : shape.kv_heads], kv[:, shape.kv_heads :]
            asked = queries[segment.start : segment.end].transpose(0, 1)[None]
            told = torch.nn.functional.scaled_dot_product_attention(
                asked, keys, values, mask, is_causal=mask is None and asked.shape[2] > 1, enable_gqa=True
            )
            made[segment.start : segment.end] = told[0].transpose(0, 1)
        return made.view(len(queries), -1)

    def _mask(self, segment: Segment) -> Any:
        """What is added to the score of a position (column) for a row; None where a triangle or nothing says it."""
        count = segment.end - segment.start
        if count == 1 or not segment.past:
            return None
        hidden = self._torch.ones(count, segment.past + count, dtype=self._torch.bool).triu(segment.past + 1)
        return self._torch.zeros(hidden.shape).masked_fill_(hidden, float("-inf"))


class _Together:
    """One row of each of several sequences."""

    def __init__(self, torch: Any, segments: Sequence[Segment]) -> None:
        self._attention = torch.nn.functional.scaled_dot_product_attention
        first, last = min(one.slot for one in segments), max(one.slot for one in segments)
        self._slots, self._longest = slice(first, last + 1), max(one.past for one in segments) + 1
        self.rows = torch.tensor([one.start for one in segments])
        self._at = torch.tensor([one.slot - first for one in segments])
        self._mask = torch.full((last + 1 - first, 1, 1, self._longest), float("-inf"))
        # Places between them that have no row here: any one position will do.
        self._mask[..., 0] = 0
        for one in segments:
            self._mask[one.slot - first, ..., : one.past + 1] = 0

    def attend(self, queries: Any, cache: Any) -> Any:
        """What the rows in `rows` have heard, in their order: rows × heads × head."""
        kv = cache[self._slots, : self._longest].transpose(1, 2)
        keys, values = kv.chunk(2, 1)
        asked = queries.new_zeros(len(kv), *queries.shape[1:])
        asked[self._at] = queries[self.rows]
        # Heads that share keys are taken for rows of one.
        told = self._attention(asked.view(len(kv), keys.shape[1], -1, asked.shape[-1]), keys, values, self._mask)
        return told.reshape(asked.shape)[self._at]


def _worth_it(single: Sequence[Segment]) -> bool:
    """Whether rows of sequences are computed together."""
    if len(single) < 2:
        return False
    spanned = max(one.slot for one in single) + 1 - min(one.slot for one in single)
    held = sum(one.past + 1 for one in single)
    return spanned * (max(one.past for one in single) + 1) <= _WASTE * held
