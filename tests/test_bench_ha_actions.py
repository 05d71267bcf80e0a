"""How the benchmark of device actions counts."""

import pytest

from benchmarks.ha_actions import Told, is_test, served_share
from tutelage.distill.curate import Trajectory
from tutelage.distill.curve import nested


def told(number: int, right: bool, score: float) -> Told:
    return Told(f"task{number}", right, "", score, 0.1)


def test_a_threshold_serves_what_is_sure_and_is_measured_on_the_other_half() -> None:
    sure = [told(number, True, -0.01 - number / 1e6) for number in range(200)]
    unsure = [told(1000 + number, number % 2 == 0, -1.0 - number / 1e6) for number in range(200)]
    share, wrong = served_share([*sure, *unsure], 0.05)
    assert share == pytest.approx(0.5, abs=0.07)
    assert wrong <= 0.08
    assert served_share(unsure, 0.05)[0] < 0.1
    assert served_share(sure, 0.05) == (pytest.approx(1.0, abs=0.05), 0.0)


def test_smaller_sets_are_part_of_larger_ones() -> None:
    items = [Trajectory(f"t{n}", f"t{n}", "a", True, "", [], [], ()) for n in range(40)]
    small, large = ([one.trajectory_id for one in nested(items, size)] for size in (10, 30))
    assert small == large[:10]
    assert nested(items[::-1], 10) == nested(items, 10)


def test_about_a_fifth_of_the_sentences_is_the_test() -> None:
    items = [{"messages": [{}, {"content": f"Sentence {n}"}]} for n in range(500)]
    assert 70 < sum(map(is_test, items)) < 130
