"""Scores become probabilities: the curve rises, fits what was seen, and is judged on sessions that it has not seen."""

import math
import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.traffic.calibration import ENOUGH, Calibration, Judged, calibrated, calibration_error, fit, folds

answers = st.lists(
    st.builds(
        Judged,
        st.floats(-5, 0).map(lambda score: round(score, 2)),
        st.sampled_from([0.0, 0.5, 1.0]),
        st.sampled_from("abcdefgh"),
    ),
    min_size=ENOUGH,
    max_size=60,
)


def logistic(seed: int, n: int = 4_000) -> list[Judged]:
    """Answers that are right with probability 1 / (1 + exp(-(score + 2) * 2))."""
    rng = random.Random(seed)
    made = []
    for number in range(n):
        score = rng.uniform(-4, 0)
        right = rng.random() < 1 / (1 + math.exp(-(score + 2) * 2))
        made.append(Judged(score, float(right), f"s{number // 2}"))
    return made


@given(answers)
def test_the_curve_rises_and_stays_between_no_and_yes(judged: list[Judged]) -> None:
    found = fit(judged)
    assert found is not None
    scores = [score for score, _ in found.knots]
    assert scores == sorted(set(scores))
    points = [found.calibrated(score / 10) for score in range(-60, 10)]
    assert points == sorted(points)
    assert all(0 < point < 1 for point in points)
    assert 0 <= found.error <= 1


@given(answers, st.floats(-5, 0))
def test_a_threshold_on_the_probability_chooses_nothing_that_one_on_the_score_cannot(
    judged: list[Judged], threshold: float
) -> None:
    """Why the score itself is compared with the threshold that is served."""
    found = fit(judged)
    assert found is not None
    accepted = {one.score for one in judged if found.calibrated(one.score) >= found.calibrated(threshold)}
    assert accepted == {one.score for one in judged if one.score >= min(accepted, default=1.0)}
    assert accepted >= {one.score for one in judged if one.score >= threshold}


@given(answers)
def test_no_constant_is_closer_to_the_outcomes(given_answers: list[Judged]) -> None:
    """Pooling is least squares, up to the half answers that are added. On two scores, so that no line lies between."""
    judged = [one._replace(score=float(one.score > -2)) for one in given_answers]
    found = fit(judged)
    assert found is not None
    mean = sum(one.right for one in judged) / len(judged)
    ours = sum((calibrated(found.knots, one.score) - one.right) ** 2 for one in judged)
    assert ours <= sum((mean - one.right) ** 2 for one in judged) + 0.125 * len(found.knots) + 1e-9


def test_one_answer_does_not_lift_the_many_above_it() -> None:
    found = fit([Judged(-1.0, 0.0, "a"), *[Judged(0.0, 0.0, "b")] * 29])
    assert found is not None
    assert found.calibrated(0.0) < 0.05


def test_it_finds_the_probabilities_that_made_the_answers() -> None:
    found = fit(logistic(1))
    assert found is not None
    assert found.calls == 4_000
    for score in (-3.0, -2.5, -2.0, -1.5, -1.0):
        assert found.calibrated(score) == pytest.approx(1 / (1 + math.exp(-(score + 2) * 2)), abs=0.06)
    assert found.error < 0.03


def test_a_score_that_says_nothing_gives_the_mean_everywhere() -> None:
    rng = random.Random(3)
    judged = [Judged(-1.0, float(rng.random() < 0.7), f"s{number}") for number in range(500)]
    found = fit(judged)
    assert found is not None
    assert len(found.knots) == 1
    assert found.calibrated(-9.0) == found.calibrated(0.0) == pytest.approx(0.7, abs=0.06)


def test_few_answers_prove_no_certainty() -> None:
    found = fit([Judged(-1.0 - number / 100, 1.0, f"s{number}") for number in range(20)])
    assert found is not None
    assert found.calibrated(0.0) == pytest.approx(20.5 / 21)
    assert fit([Judged(-1.0, 1.0, f"s{number}") for number in range(ENOUGH - 1)]) is None


def test_sessions_are_not_torn_apart_by_the_folds() -> None:
    judged = [Judged(-1.0, 1.0, f"s{number % 7}") for number in range(40)]
    parts = folds(judged)
    assert sum(len(fold) for fold, _ in parts) == 40
    assert all({one.session for one in fold}.isdisjoint(one.session for one in others) for fold, others in parts)


def test_the_error_is_the_distance_between_said_and_seen() -> None:
    assert calibration_error([(0.9, 1.0)] * 9 + [(0.9, 0.0)], bins=1) == pytest.approx(0.0)
    assert calibration_error([(0.9, 0.0)] * 10) == pytest.approx(0.9)
    assert calibration_error([]) == 0.0


def test_the_curve_survives_the_manifest() -> None:
    found = fit(logistic(2, 100))
    assert msgspec.json.decode(msgspec.json.encode(found), type=Calibration) == found
