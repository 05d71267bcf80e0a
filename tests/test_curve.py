"""Growing parts of the training side, each holding the one before."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.distill.curate import Curated, Trajectory
from tutelage.distill.curve import SMALLEST, Point, parts_of, reached, sizes
from tutelage.distill.measures import Measure


@pytest.mark.parametrize(
    ("available", "budget", "expected"),
    [(160, 0, [160]), (160, 80, [10, 20, 40, 80]), (60, 80, [15, 30, 60]), (30, 30, [15, 30]), (5, 30, [5])],
)
def test_sizes(available: int, budget: int, expected: list[int]) -> None:
    assert sizes(available, budget) == expected


@given(st.integers(1, 5_000), st.integers(0, 5_000))
def test_sizes_grow_within_what_there_is(available: int, budget: int) -> None:
    found = sizes(available, budget)
    assert found == sorted(set(found))
    assert found[-1] == min(available, budget or available)
    assert all(size >= SMALLEST for size in found[:-1])


def test_parts_hold_one_another_and_share_the_examination() -> None:
    sessions = [Trajectory(f"t{n}", f"s{n}", "a", True, "", [], [], ()) for n in range(40)]
    chosen = Curated(sessions[:30], sessions[30:], {})
    parts = parts_of(chosen, [10, 20, 30])
    assert [len(part.train) for part in parts] == [10, 20, 30]
    for small, large in pairwise(parts):
        assert {item.trajectory_id for item in small.train} < {item.trajectory_id for item in large.train}
    assert all(part.held_out == chosen.held_out for part in parts)
    # A fair sample: no part is the newest sessions alone.
    assert parts[0].train != sessions[:10]
    assert parts_of(Curated(sessions[:30][::-1], [], {}), [10])[0].train == parts[0].train


def test_the_bar() -> None:
    point = Point(10, Measure(0.9, 0.8, 1.0, 20, 10), 1.0)
    assert reached(point, 0.9)
    assert not reached(point, 0.91)
    assert not reached(Point(10, Measure(None, 0.0, 1.0, 0, 0), 1.0), 0.5)
