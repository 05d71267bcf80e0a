"""The test against the teacher's own second answer."""

import math
import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.proxy.gate import Gate
from tutelage.proxy.noise import NoiseTest, noisy

DIFFERENCES = st.lists(st.floats(-1, 1), max_size=60)


def stream(rng: random.Random, teacher: float, student: float) -> float:
    """One session's D: the teacher's second answer and the student's differ from the first at these rates."""
    return float(rng.random() < student) - float(rng.random() < teacher)


def sessions_until(rng: random.Random, teacher: float, student: float, most: int) -> int:
    """Sessions until the proof; 0 when it does not come."""
    test = NoiseTest.begin(0.05, 0.05)
    for n in range(1, most + 1):
        test = test.update(stream(rng, teacher, student))
        if test.crossed:
            return n
    return 0


@given(DIFFERENCES)
def test_the_mean_is_that_of_the_differences(differences: list[float]) -> None:
    test = NoiseTest.begin(0.05, 0.05)
    for difference in differences:
        test = test.update(difference)
    assert test.n == len(differences)
    if differences:
        assert test.mean == pytest.approx(math.fsum(differences) / len(differences), abs=1e-9)
    assert msgspec.json.decode(msgspec.json.encode(test), type=NoiseTest) == test


def test_a_student_at_the_margin_is_rarely_proven() -> None:
    """Of 200 at most 17: more would come with probability .02 if the rate were α = .05."""
    rng = random.Random(3)
    assert sum(sessions_until(rng, 0.10, 0.15, 1000) > 0 for _ in range(200)) <= 17


def test_a_student_as_good_as_its_noisy_teacher_is_proven_where_the_gate_cannot() -> None:
    rng = random.Random(4)
    needed = [sessions_until(rng, 0.10, 0.10, 4000) for _ in range(15)]
    assert min(needed) > 0
    gate = Gate(epsilon=0.05, alpha=0.05)
    for _ in range(2000):
        gate = gate.update(float(rng.random() < 0.10))
    assert gate.futile


@pytest.mark.parametrize("bad", [-1.1, 1.1, math.nan])
def test_no_difference_outside_its_range(bad: float) -> None:
    with pytest.raises(ValueError, match="D lies in"):
        NoiseTest.begin(0.05, 0.05).update(bad)


@pytest.mark.parametrize("margin", [0.0, 1.0])
def test_no_margin_outside_its_range(margin: float) -> None:
    with pytest.raises(ValueError, match="margin"):
        NoiseTest.begin(margin, 0.05)


@pytest.mark.parametrize(
    ("repeats", "disagreements", "expected"), [(0, 0, False), (100, 2, False), (100, 2.5, False), (100, 2.6, True)]
)
def test_when_a_teacher_is_noisy(repeats: float, disagreements: float, expected: bool) -> None:
    assert noisy(repeats, disagreements, 0.05) is expected
