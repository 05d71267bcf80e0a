"""What could be served at a risk, judged on sessions that have not chosen the threshold."""

import random

import pytest

from tutelage.distill.confidence import calibration_of, judged_of, served, threshold
from tutelage.distill.curate import CallRef, Trajectory
from tutelage.distill.measures import Answered, Question
from tutelage.traffic.calibration import Judged


def answered(score: float | None, loss: float, session: str) -> Answered:
    call = CallRef(f"c{session}{score}", 0, "p", "teacher", "m", 1.0)
    item = Trajectory(session, session, "a", True, "", [], [{"role": "assistant", "content": "x"}], (call,))
    return Answered(Question(item, call), None if score is None else {"content": "x"}, loss, "", score)


def seeded(n: int, seed: int = 5) -> list[Answered]:
    """Scores in [-1, 0]; an answer is wrong with probability −score."""
    rng = random.Random(seed)
    scores = [-rng.random() for _ in range(n)]
    return [answered(score, float(rng.random() < -score), f"s{number}") for number, score in enumerate(scores)]


def test_the_share_and_risk_of_a_threshold_hold_on_new_calls() -> None:
    fresh = seeded(4_000, seed=6)
    for found in served(seeded(2_000)):
        assert found.threshold is not None
        taken = [one for one in fresh if one.score is not None and one.score >= found.threshold]
        risk = sum(one.loss for one in taken) / len(taken)
        # The risk above a threshold t is −t/2 here, so the share is about twice the limit.
        assert len(taken) / 4_000 == pytest.approx(2 * found.limit, abs=0.06)
        assert risk == pytest.approx(found.limit, abs=0.025)
        assert found.share.share == pytest.approx(2 * found.limit, abs=0.06)
        assert found.share.calls == 2_000
        assert found.risk.low <= found.limit <= found.risk.high


def test_a_few_clean_answers_are_no_proof() -> None:
    clean = [Judged(-0.1, 1.0, f"s{number}") for number in range(18)]
    assert threshold(clean, 0.05) is None
    assert threshold([*clean, Judged(-0.1, 1.0, "a")], 0.05) == -0.1


def test_equal_scores_are_taken_together_or_not_at_all() -> None:
    judged = [Judged(-0.1, 1.0, f"s{n}") for n in range(40)] + [Judged(-0.2, n % 2, f"t{n}") for n in range(40)]
    assert threshold(judged, 0.05) == -0.1
    assert threshold(judged, 0.3) == -0.2


def test_calls_without_an_answer_are_not_served() -> None:
    good = [answered(-0.1, 0.0, f"s{number}") for number in range(60)]
    lost = [answered(None, 1.0, f"t{number}") for number in range(20)]
    assert len(judged_of([*good, *lost])) == 60
    low, _ = served([*good, *lost])
    assert low.share.share == pytest.approx(60 / 80)
    assert low.risk.share == 0.0
    assert served(good[:10]) == []
    assert calibration_of(good[:10]) is None
