"""The teacher's noise: how far a student is worse than the teacher's own second answer.

A teacher asked twice does not always say the same, and what it says the second time would be a loss by the same rules.
Where it disagrees with itself on more than ε/2 of its sessions, a student that is as good as the teacher may never be
promoted. There the question is another: is the student more often at odds with the first answer than the teacher's
second answer is? With D = loss(student, T1) − loss(T2, T1) in [−1, 1] per session, H0 is E[D | past] ≥ δ. That is the
gate's own test for X = (D + 1)/2 in [0, 1] at the limit (1 + δ)/2, and as valid.

Which of the two tests decides is fixed before a trial begins, by what was seen until then. Each trial asks the gate
first; when that has given the version up and the teacher provably disagrees with itself, the version gets one more
trial, a *relative* one, with an α_k of its own, on sessions of its own, in which only this test decides. So each trial
has one way to be won, chosen by its past alone: given that past, a trial k whose null hypothesis holds is won with
probability at most α_k (Ville), whichever test it uses; and Σ α_k = α bounds all of them together, both ways included.

Pure: sessions in, state out. See docs/guarantees.md, "Teacher noise".
"""

import msgspec

from .gate import Gate, check_loss, confidence_sequence

HIGHEST_CEILING = 0.5
"""The guard allows no more."""


class SelfOdds(msgspec.Struct, frozen=True, kw_only=True):
    """How far a teacher agrees with itself, and what a relative trial that begins for it would be."""

    repeats: int
    """Sessions of the pattern in which the teacher was asked twice."""
    disagreements: float
    """Sum of their losses."""
    margin: float
    """δ of the trial, in (0, 1)."""
    k: int
    """Number of the trial on the pattern."""

    def proven(self, epsilon: float, alpha: float) -> bool:
        """Whether the self-agreement is proven to be under 1 − ε/2: the lower end of the disagreement's interval of
        level 1 − alpha, valid however often one looks, is above ε/2."""
        agreements = self.repeats - self.disagreements
        return confidence_sequence(self.disagreements, agreements, alpha).low > epsilon / 2


class NoiseTest(msgspec.Struct, frozen=True, kw_only=True):
    """State of the test of H0 "E[D] ≥ δ". `update` returns the next state."""

    gate: Gate
    """The test of X."""
    odds: float = 0.0
    """Sum of the losses of the teacher's second answers."""

    @classmethod
    def begin(cls, margin: float, alpha: float, futility_alpha: float = 0.05) -> "NoiseTest":
        """Before the first session. margin: δ, and alpha: probability of a false proof, both in (0, 1)."""
        if not 0 < margin < 1:
            raise ValueError(f"margin must lie in (0, 1), not be {margin}")
        return cls(gate=Gate(epsilon=(1 + margin) / 2, alpha=alpha, futility_alpha=futility_alpha))

    def update(self, ours: float, again: float) -> "NoiseTest":
        """The state after one more session: the student's loss and that of the teacher's second answer, both against
        the first answer. Raises ValueError outside [0, 1]."""
        for loss in (ours, again):
            check_loss(loss)
        return NoiseTest(gate=self.gate.update((ours - again + 1) / 2), odds=self.odds + again)

    @property
    def n(self) -> int:
        """Sessions so far."""
        return self.gate.n

    @property
    def margin(self) -> float:
        """δ."""
        return 2 * self.gate.epsilon - 1

    @property
    def crossed(self) -> bool:
        """Whether E[D] < δ is proven."""
        return self.gate.crossed

    @property
    def futile(self) -> bool:
        """Whether E[D] > δ is proven."""
        return self.gate.futile

    @property
    def mean(self) -> float | None:
        """Mean D; None without data."""
        return None if self.gate.risk is None else 2 * self.gate.risk - 1

    def even_needed(self, limit: int = 10_000) -> int:
        """How many more sessions, all with D = 0, would bring the proof; at most `limit`."""
        gate, more = self.gate, 0
        while not gate.crossed and more < limit:
            gate, more = gate.update(0.5), more + 1
        return more

    def ceiling(self, alpha: float) -> float:
        """Highest risk that a student within δ of the teacher can have: the teacher's disagreement with itself, at the
        upper end of its interval of level 1 − alpha, and δ more. In (0, .5]."""
        return min(confidence_sequence(self.odds, self.n - self.odds, alpha).high + self.margin, HIGHEST_CEILING)


def noisy(repeats: float, disagreements: float, epsilon: float) -> bool:
    """Whether the teacher's self-agreement is under 1 − ε/2, so that the noise test is the one to look at.

    repeats: sessions in which it was asked twice; disagreements: sum of their losses. False without data.
    """
    return repeats > 0 and disagreements / repeats > epsilon / 2
