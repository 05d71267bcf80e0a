"""How the benchmark of device actions counts."""

from benchmarks.ha_actions import is_test
from tutelage.distill.curate import Trajectory
from tutelage.distill.curve import nested


def test_smaller_sets_are_part_of_larger_ones() -> None:
    items = [Trajectory(f"t{n}", f"t{n}", "a", True, "", [], [], ()) for n in range(40)]
    small, large = ([one.trajectory_id for one in nested(items, size)] for size in (10, 30))
    assert small == large[:10]
    assert nested(items[::-1], 10) == nested(items, 10)


def test_about_a_fifth_of_the_sentences_is_the_test() -> None:
    items = [{"messages": [{}, {"content": f"Sentence {n}"}]} for n in range(500)]
    assert 70 < sum(map(is_test, items)) < 130
