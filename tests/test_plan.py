from dataclasses import replace

import pytest

from tutelage.distill.options import DistillOptions
from tutelage.distill.plan import epoch_ends, kept_apart, padding, planned, steps_of
from tutelage.distill.rows import Row

OPTIONS = DistillOptions(data="", epochs=3, batch=4)


def rows(count: int, sessions: int = 1000) -> list[Row]:
    return [Row(f"t/{n}", f"t{n % sessions}", (), [0] * (n % 37 + 1), [0] * (n % 37 + 1)) for n in range(count)]


def test_every_row_once_an_epoch_in_batches_of_like_length():
    some = rows(200)
    plan = planned(some, replace(OPTIONS, epochs=1))
    assert sorted(row.row_id for row in plan) == sorted(row.row_id for row in some)
    assert padding(plan, 4) < 0.15 * sum(len(row.input_ids) for row in some)
    assert plan == planned(some, replace(OPTIONS, epochs=1))
    assert plan != planned(some, replace(OPTIONS, epochs=1, seed=8))
    assert len(planned(some, replace(OPTIONS, epochs=0.5))) == 100
    assert len(planned(some[:3], replace(OPTIONS, epochs=2))) == 8


def test_padding_is_what_fills_a_step_up():
    plan = [Row("a", "a", (), [0] * n, [0] * n) for n in (3, 5, 7, 7)]
    assert padding(plan, 2) == 2
    assert [len(step) for step in steps_of(plan, 3)] == [3, 1]


@pytest.mark.parametrize(
    ("rows", "steps", "ends"), [(8, 6, [2, 4, 6]), (8, 5, [2, 4, 5]), (3, 2, [1, 2]), (100, 13, [13]), (1, 1, [1])]
)
def test_where_epochs_end(rows: int, steps: int, ends: list[int]):
    assert epoch_ends(rows, steps, 4) == ends


def test_sessions_kept_apart_are_whole_and_the_same_every_time():
    some = rows(100, sessions=20)
    used, watched = kept_apart(some, replace(OPTIONS, patience=1, watched=0.1))
    assert len({row.trajectory_id for row in watched}) == 2
    assert {row.trajectory_id for row in used}.isdisjoint(row.trajectory_id for row in watched)
    assert len(used) + len(watched) == 100
    assert kept_apart(list(reversed(some)), replace(OPTIONS, patience=1, watched=0.1))[1] == watched[::-1]


def test_nothing_is_kept_apart_unless_asked_or_of_a_single_session():
    assert kept_apart(rows(10), OPTIONS) == (rows(10), [])
    assert kept_apart(rows(10, 1), replace(OPTIONS, patience=1)) == (rows(10, 1), [])
    assert len(kept_apart(rows(10, 2), replace(OPTIONS, patience=1, watched=0.9))[0]) > 0
