"""From a student's score to the probability that its action is right: an isotonic curve over held-out answers.

A score (the mean log-probability of an action's tokens) orders a student's answers; it is no probability. The curve is
fitted by pool-adjacent-violators (Ayer et al., 1955): the closest curve to the outcomes that never falls where the
score rises. It is plain Python, so whoever serves can read a version's curve without any library, and it is kept in the
version's manifest, for it holds for that version alone.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import msgspec

ENOUGH = 20
"""Answers below which no curve is fitted."""
FOLDS = 5
BINS = 10


class Judged(NamedTuple):
    """One answer with what became of it."""

    score: float
    right: float
    """1 minus the loss, in [0, 1]."""
    session: str


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """The curve of one version."""

    knots: list[tuple[float, float]]
    """(score, probability in (0, 1)), both rising; straight lines between them, level beyond the ends."""
    calls: int
    """Held-out answers that it was fitted on."""
    error: float
    """Expected calibration error in [0, 1], over answers of sessions that the curve being judged was not fitted on."""

    def calibrated(self, score: float) -> float:
        """Probability that an answer with this score is right."""
        return calibrated(self.knots, score)


def calibrated(knots: Sequence[tuple[float, float]], score: float) -> float:
    """The probability on the curve through `knots` (at least one) at `score`."""
    for (left, low), (right, high) in pairwise(knots):
        if left <= score < right:
            return low + (high - low) * (score - left) / (right - left)
    return knots[0][1] if score < knots[0][0] else knots[-1][1]


def fit(answers: Sequence[Judged]) -> Calibration | None:
    """The curve of these answers; None where there are too few of them to say anything."""
    if len(answers) < ENOUGH:
        return None
    return Calibration(knots=_knots(answers), calls=len(answers), error=calibration_error(out_of_fold(answers)))


def out_of_fold(answers: Sequence[Judged]) -> list[tuple[float, float]]:
    """(probability, right) of each answer, by the curve of the other sessions' answers."""
    found = []
    for fold, others in folds(answers):
        knots = _knots(others)
        found += [(calibrated(knots, one.score), one.right) for one in fold]
    return found


def folds(answers: Sequence[Judged]) -> list[tuple[list[Judged], list[Judged]]]:
    """The answers in parts, each beside all the others; a session is in one part as a whole."""
    place = {session: number % FOLDS for number, session in enumerate(sorted({one.session for one in answers}))}
    parts = [
        ([a for a in answers if place[a.session] == part], [a for a in answers if place[a.session] != part])
        for part in range(FOLDS)
    ]
    return [(fold, others) for fold, others in parts if fold and others]


def calibration_error(judged: Sequence[tuple[float, float]], bins: int = BINS) -> float:
    """Expected calibration error of (probability, right) pairs in bins of equal size (Naeini et al., 2015)."""
    ordered, total = sorted(judged), 0.0
    for number in range(bins):
        part = ordered[number * len(ordered) // bins : (number + 1) * len(ordered) // bins]
        total += abs(sum(p for p, _ in part) - sum(right for _, right in part))
    return total / len(ordered) if ordered else 0.0


class _Block(NamedTuple):
    scores: float
    right: float
    n: int

    @property
    def mean(self) -> float:
        # Half an answer of each kind more (Jeffreys): a few answers prove no certainty.
        return (self.right + 0.5) / (self.n + 1)

    def joined(self, other: "_Block") -> "_Block":
        return _Block(self.scores + other.scores, self.right + other.right, self.n + other.n)


def _knots(answers: Sequence[Judged]) -> list[tuple[float, float]]:
    blocks: list[_Block] = []
    for block in _tied(answers):
        blocks.append(block)
        while len(blocks) > 1 and blocks[-2].mean >= blocks[-1].mean:
            last = blocks.pop()
            blocks[-1] = blocks[-1].joined(last)
    return [(block.scores / block.n, block.mean) for block in blocks]


def _tied(answers: Sequence[Judged]) -> list[_Block]:
    """One block per score, rising: equal scores must not be torn apart."""
    by_score: dict[float, _Block] = {}
    for one in answers:
        block = _Block(one.score, one.right, 1)
        by_score[one.score] = by_score[one.score].joined(block) if one.score in by_score else block
    return [by_score[score] for score in sorted(by_score)]
