"""Attention over places in a cache: the same for a sequence whoever is computed beside it."""

from typing import Any

import pytest

from tutelage.serving.attention import Attention, Segment, empty_cache
from tutelage.serving.shape import Shape
from tutelage.serving.threads import quiet_threads

quiet_threads()
torch: Any = pytest.importorskip("torch")
SHAPE, CONTEXT, SLOTS = Shape(1, 32, 4, 2, 8, 1e-6, 1e4), 40, 4


def by_hand(query: Any, cache: Any, slot: int, seen: int) -> Any:
    """One row: heads × head, over the first `seen` positions of a place."""
    kept = cache[slot * CONTEXT : slot * CONTEXT + seen]
    told = []
    for head in range(SHAPE.heads):
        keys, values = kept[:, head // 2], kept[:, SHAPE.kv_heads + head // 2]
        told.append((keys @ query[head] / SHAPE.head**0.5).softmax(0) @ values)
    return torch.cat(told)


@pytest.mark.parametrize(
    "sequences",
    [
        # (slot, tokens in the cache before, tokens of this step)
        [(0, 0, 7)],
        [(2, 9, 1)],
        [(2, 9, 1), (0, 12, 1), (3, 10, 1)],
        [(0, 1, 1), (3, 30, 1)],
        [(1, 5, 1), (0, 3, 6), (2, 7, 1), (3, 0, 4)],
        [(0, 39, 1), (1, 38, 1), (2, 37, 1), (3, 36, 1)],
    ],
)
def test_each_row_sees_its_own_past(sequences: list[tuple[int, int, int]]) -> None:
    torch.manual_seed(len(sequences))
    cache = empty_cache(torch, (SLOTS * CONTEXT, 2 * SHAPE.kv_heads, SHAPE.head))
    cache += torch.randn(cache.shape)
    segments, rows = list[Segment](), 0
    for slot, past, count in sequences:
        segments.append(Segment(rows, rows + count, slot, past))
        rows += count
    queries = torch.randn(rows, SHAPE.heads, SHAPE.head)
    told = Attention(torch, SHAPE, segments, CONTEXT)(queries, cache)
    for one in segments:
        for row in range(one.start, one.end):
            expected = by_hand(queries[row], cache, one.slot, one.past + row - one.start + 1)
            assert torch.allclose(told[row], expected, atol=1e-5)


def test_a_cache_that_was_never_written_holds_numbers() -> None:
    assert float(empty_cache(torch, (2, 3)).abs().sum()) == 0.0
