"""How far a student's confidence can be trusted: its calibration, and the share of calls that it could serve safely.

Both are estimated on held-out sessions, and across folds: a threshold is chosen on four fifths of the sessions and
tried on the last, in turn. So the share and the risk are those of a threshold that has not seen the calls it is judged
on. This only says what to expect; the threshold that is served is found by the gate, on live traffic.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ..traffic.calibration import ENOUGH, Calibration, Judged, fit, folds
from .measures import Answered, Measure, measure

LIMITS = (0.05, 0.10)
"""Risks that are asked for."""


@dataclass(frozen=True)
class Served:
    """What could be served at a risk."""

    limit: float
    """The risk asked for."""
    threshold: float | None
    """Lowest score to serve, chosen on all held-out sessions; None: none would do."""
    share: Measure
    """Of the calls that would be served."""
    risk: Measure
    """Of the calls that would be served: the mean loss."""


def judged_of(answered: Sequence[Answered]) -> list[Judged]:
    """The answers that have a score. Without one, a call goes to the teacher whatever the threshold."""
    return [Judged(one.score, 1 - one.loss, one.question.session) for one in answered if one.score is not None]


def calibration_of(answered: Sequence[Answered]) -> Calibration | None:
    """The curve from score to probability; None where there are too few answers."""
    return fit(judged_of(answered))


def served(answered: Sequence[Answered]) -> list[Served]:
    """What could be served at each of LIMITS; nothing where there are too few answers to say."""
    judged = judged_of(answered)
    if len(judged) < ENOUGH:
        return []
    unscored = [(one.question.session, 0.0) for one in answered if one.score is None]
    return [_served(judged, unscored, limit) for limit in LIMITS]


def _served(judged: Sequence[Judged], unscored: list[tuple[str, float]], limit: float) -> Served:
    taken: list[Judged] = []
    shares = list(unscored)
    for fold, others in folds(judged):
        lowest = threshold(others, limit)
        accepted = [one for one in fold if lowest is not None and one.score >= lowest]
        taken += accepted
        shares += [(one.session, float(lowest is not None and one.score >= lowest)) for one in fold]
    risk = measure((one.session, 1 - one.right) for one in taken)
    return Served(limit, threshold(judged, limit), measure(shares), risk)


def threshold(judged: Sequence[Judged], limit: float) -> float | None:
    """The lowest score above which at most `limit` is lost, one loss being added to those seen.

    The added loss is what conformal risk control (arXiv 2208.02814) adds: a few clean answers are no proof."""
    found, losses = None, 0.0
    ordered = sorted(judged, key=lambda one: -one.score)
    for number, one in enumerate(ordered, 1):
        losses += 1 - one.right
        last_of_its_score = number == len(ordered) or ordered[number].score < one.score
        if last_of_its_score and (losses + 1) / (number + 1) <= limit:
            found = one.score
    return found
