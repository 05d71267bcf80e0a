"""The confidence threshold inside a pattern: which part of it a student may serve that cannot be promoted whole.

A student may serve only the answers that it is sure enough of: those with a score of at least λ. Ten thresholds are
tried, the strictest first, each by a gate of its own on the sessions' accepted answers alone; the loosest one all of
whose stricter ones have proven themselves holds. That fixed order is what lets every gate use the full α: a false
proof needs the first false null hypothesis of the row to cross, and there is only one first. The tenth threshold, "no
threshold", is the pattern's own gate.

Which scores stand for which share of the answers is taken from the first sessions, which then count for no gate: the
grid is fixed before the first loss that is tested on it. Learn-then-Test in its anytime form (arXiv 2409.15844).
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from .gate import Gate, session_loss

SHARES = (0.30, 0.37, 0.44, 0.51, 0.58, 0.65, 0.72, 0.80, 0.90)
"""Share of the answers that each threshold accepts, strictest first. A part smaller than the first is not worth its
labels: the gate sees only the sessions that have an accepted answer."""
CALIBRATION = 20
"""Sessions whose scores make the grid."""

Scored = tuple[float, float]
"""Score and loss of one compared call."""


class Ladder(msgspec.Struct, frozen=True, kw_only=True):
    """State of the row of gates. `update` returns the next state."""

    epsilon: float
    """Risk limit, as that of the pattern."""
    alpha: float
    """Probability that any threshold is accepted whose answers have a risk of epsilon or more."""
    futility_alpha: float = 0.05
    how: str = "mean"
    """Loss of a session: `mean` or `max` of its accepted calls'."""
    n: int = 0
    """Sessions heard, those of the calibration included."""
    scored: int = 0
    """Sessions among them with a score."""
    scores: tuple[float, ...] = ()
    """Scores of the calibration; empty afterwards."""
    grid: tuple[float, ...] = ()
    """Thresholds, strictest first; empty before the calibration is done, and for scores that are all alike."""
    gates: tuple[Gate, ...] = ()
    passed: int = 0
    """How many thresholds hold, from the strictest on."""
    passed_at: int = 0
    """n when the last of them crossed."""

    @property
    def threshold(self) -> float | None:
        """The loosest threshold that holds; None: none does."""
        return self.grid[self.passed - 1] if self.passed else None

    @property
    def rests(self) -> bool:
        """Whether it is time to serve what holds: all have crossed, or the last one long ago.

        Only a policy, the proof holds at any time. Waiting as long again as the last one took costs at most half of
        the labels, and a looser threshold that is near gets its chance.
        """
        return bool(self.passed) and (self.passed == len(self.grid) or self.n >= 2 * self.passed_at)

    def hopeful(self, limit: int) -> bool:
        """Whether a part may still prove itself, within `limit` sessions. False for a student without scores."""
        if self.passed:
            return True
        if not self.scored or self.n >= limit:
            return False
        return not (self.gates and self.gates[0].futile) and (not self._calibrated or bool(self.gates))

    @property
    def _calibrated(self) -> bool:
        return self.scored >= CALIBRATION

    def update(self, items: Sequence[Scored]) -> "Ladder":
        """The state after one more session, given as score and loss of its compared calls that have a score."""
        if not items:
            return replace(self, n=self.n + 1)
        if not self._calibrated:
            return self._calibrate([score for score, _ in items])
        gates = tuple(self._heard(*pair, items) for pair in zip(self.gates, self.grid, strict=True))
        passed = self.passed
        while passed < len(gates) and gates[passed].crossed:
            passed += 1
        at = self.n + 1 if passed > self.passed else self.passed_at
        return replace(self, n=self.n + 1, scored=self.scored + 1, gates=gates, passed=passed, passed_at=at)

    def _calibrate(self, scores: list[float]) -> "Ladder":
        every, scored = (*self.scores, *scores), self.scored + 1
        if scored < CALIBRATION:
            return replace(self, n=self.n + 1, scored=scored, scores=every)
        grid = grid_of(every)
        gate = Gate(epsilon=self.epsilon, alpha=self.alpha, futility_alpha=self.futility_alpha)
        return replace(self, n=self.n + 1, scored=scored, scores=(), grid=grid, gates=(gate,) * len(grid))

    def _heard(self, gate: Gate, threshold: float, items: Sequence[Scored]) -> Gate:
        accepted = [loss for score, loss in items if score >= threshold]
        return gate.update(session_loss(accepted, self.how)) if accepted and not gate.crossed else gate

    def facts(self) -> dict[str, Any]:
        """The numbers for the log and the dashboard: plain JSON values."""
        return {
            "n": self.n,
            "threshold": self.threshold,
            "passed": self.passed,
            "rungs": [
                {"threshold": threshold, "n": gate.n, "risk": gate.risk, "interval": list(gate.interval())}
                | {"log_wealth": gate.log_wealth, "log_needed": gate.needed, "crossed": gate.crossed}
                for threshold, gate in zip(self.grid, self.gates, strict=True)
            ],
        }


def grid_of(scores: Sequence[float]) -> tuple[float, ...]:
    """Thresholds that accept SHARES of these scores, strictest first, without repeats and without "accept all"."""
    ordered = sorted(scores, reverse=True)
    found = [ordered[min(len(ordered) - 1, round(share * len(ordered)))] for share in SHARES]
    return tuple(score for score in dict.fromkeys(found) if score > ordered[-1])


def accepts(threshold: float | None, score: float | None) -> bool:
    """Whether an answer of that score may be served. Without a threshold any may; without a score none under one."""
    return threshold is None or (score is not None and score >= threshold)
