"""The test against the teacher's own second answer."""

import math
import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.proxy.gate import Gate, alpha_for, confidence_sequence
from tutelage.proxy.noise import NoiseTest, SelfOdds, noisy

PAIRS = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=60)


def stream(rng: random.Random, teacher: float, student: float) -> tuple[float, float]:
    """One session's two losses: the student and the teacher's second answer differ from the first at these rates."""
    return float(rng.random() < student), float(rng.random() < teacher)


def sessions_until(rng: random.Random, teacher: float, student: float, most: int) -> int:
    """Sessions until the proof; 0 when it does not come."""
    test = NoiseTest.begin(0.05, 0.05)
    for n in range(1, most + 1):
        test = test.update(*stream(rng, teacher, student))
        if test.crossed:
            return n
    return 0


@given(PAIRS)
def test_the_mean_is_that_of_the_differences(pairs: list[tuple[float, float]]) -> None:
    test = NoiseTest.begin(0.05, 0.05)
    for ours, again in pairs:
        test = test.update(ours, again)
    assert (test.n, test.margin) == (len(pairs), pytest.approx(0.05))
    assert test.odds == pytest.approx(math.fsum(again for _, again in pairs), abs=1e-9)
    if pairs:
        assert test.mean == pytest.approx(math.fsum(one - two for one, two in pairs) / len(pairs), abs=1e-9)
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


def test_both_ways_together_keep_the_error_budget() -> None:
    """Two trials in a row, each at its own limit and with sessions of its own: the gate at risk ε against a teacher
    that never contradicts itself, then the noise test δ above a teacher that does so in a tenth of its sessions. The
    second is made whether the noise calls for it or not. Of 400 pairs of trials, at most 116 may be won; more would
    come with probability .02 if the rate were α₁ + α₂ = .243."""
    rng, alpha, won = random.Random(5), 0.32, 0
    for _ in range(400):
        gate = Gate(epsilon=0.05, alpha=alpha_for(1, alpha))
        test = NoiseTest.begin(0.05, alpha_for(2, alpha))
        while not gate.crossed and gate.n < 250:
            gate = gate.update(stream(rng, 0.0, 0.05)[0])
        while not gate.crossed and not test.crossed and test.n < 250:
            test = test.update(*stream(rng, 0.10, 0.15))
        won += gate.crossed or test.crossed
    assert 20 < won <= 116


def test_noise_is_proven_by_the_interval_and_not_by_the_mean() -> None:
    def proven(repeats: int, disagreements: float) -> bool:
        return SelfOdds(repeats=repeats, disagreements=disagreements, margin=0.05, k=2).proven(0.05, 0.05)

    assert not proven(0, 0.0)
    assert noisy(10, 1.0, 0.05)
    assert not proven(10, 1.0)
    assert proven(100, 10.0)
    assert confidence_sequence(10.0, 90.0).low > 0.025


def test_the_ceiling_is_above_what_the_teacher_does_and_never_above_the_guards() -> None:
    test = NoiseTest.begin(0.05, 0.05)
    assert test.ceiling(0.05) == 0.5
    for n in range(400):
        test = test.update(0.0, float(n % 10 == 0))
    assert 0.15 < test.ceiling(0.05) < 0.23


def test_sessions_without_a_difference_that_are_still_needed() -> None:
    test = NoiseTest.begin(0.05, 0.05)
    needed = test.even_needed()
    for n in range(needed):
        assert not test.crossed, n
        test = test.update(1.0, 1.0)
    assert test.crossed
    assert test.even_needed() == 0


@pytest.mark.parametrize("bad", [-0.1, 1.1, math.nan])
def test_no_loss_outside_its_range(bad: float) -> None:
    for pair in ((bad, 0.0), (0.0, bad)):
        with pytest.raises(ValueError, match="a loss lies in"):
            NoiseTest.begin(0.05, 0.05).update(*pair)


@pytest.mark.parametrize("margin", [0.0, 1.0])
def test_no_margin_outside_its_range(margin: float) -> None:
    with pytest.raises(ValueError, match="margin"):
        NoiseTest.begin(margin, 0.05)


@pytest.mark.parametrize(
    ("repeats", "disagreements", "expected"), [(0, 0, False), (100, 2, False), (100, 2.5, False), (100, 2.6, True)]
)
def test_when_a_teacher_is_noisy(repeats: float, disagreements: float, expected: bool) -> None:
    assert noisy(repeats, disagreements, 0.05) is expected
