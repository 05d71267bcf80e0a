"""Two tests for the losses of a judge."""

import random

import pytest

from tutelage.proxy.judged import JudgedGate, missed_loss


def run(rng: random.Random, flag: float, miss: float, sessions: int, share: float = 0.2) -> bool:
    """Whether a student whose answers the judge flags, and wrongly passes, at these rates is ever promoted."""
    gate = JudgedGate.begin(0.10, 0.05)
    for _ in range(sessions):
        point = rng.random()
        gate = gate.judge(float(point < flag))
        if rng.random() < share:
            gate = gate.review(float(flag <= point < flag + miss))
        if gate.crossed:
            return True
    return False


def test_both_must_pass() -> None:
    gate = JudgedGate.begin(0.10, 0.05)
    assert gate.lacking == "sessions and reviews"
    for _ in range(200):
        gate = gate.judge(0.0)
    assert (gate.flagged.crossed, gate.crossed, gate.lacking) == (True, False, "reviews")
    for _ in range(200):
        gate = gate.review(0.0)
    assert gate.crossed
    assert gate.lacking == ""


def test_the_limits_are_split_and_alpha_is_not() -> None:
    gate = JudgedGate.begin(0.10, 0.03)
    assert (gate.flagged.epsilon, gate.missed.epsilon) == pytest.approx((0.06, 0.04))
    assert gate.flagged.alpha == gate.missed.alpha == 0.03


@pytest.mark.parametrize("flag", [0.0, 0.02, 0.06, 0.10])
def test_a_student_at_the_limit_is_rarely_promoted_however_the_judge_errs(flag: float) -> None:
    """Of 150 at most 14: more would come with probability .03 if the rate were α = .05."""
    rng = random.Random(7)
    assert sum(run(rng, flag, 0.10 - flag, 800) for _ in range(150)) <= 14


def test_a_good_student_with_a_fair_judge_is_promoted() -> None:
    rng = random.Random(8)
    assert sum(run(rng, 0.005, 0.002, 2000) for _ in range(20)) >= 18


def test_the_loss_of_a_reviewed_session() -> None:
    assert missed_loss([(True, False), (True, True), (False, True), (False, False)]) == 0.25
    with pytest.raises(ValueError, match="without a compared call"):
        missed_loss([])
