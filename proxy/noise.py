"""The teacher's noise: how far a student is worse than the teacher's own second answer.

A teacher asked twice does not always say the same, and what it says the second time would be a loss by the same rules.
Where it disagrees with itself on more than ε/2 of its calls, a student that is as good as the teacher could never be
promoted. There the question is another: is the student more often at odds with the first answer than the teacher's
second answer is? With D = loss(student, T1) − loss(T2, T1) in [−1, 1] per session, H0 is E[D | past] ≥ δ. That is the
gate's own test for X = (D + 1)/2 in [0, 1] at the limit (1 + δ)/2, and as valid.

Pure: sessions in, state out. See docs/guarantees.md, "Teacher noise".
"""

import msgspec

from .gate import Gate


class NoiseTest(msgspec.Struct, frozen=True, kw_only=True):
    """State of the test of H0 "E[D] ≥ δ". `update` returns the next state."""

    gate: Gate
    """The test of X."""

    @classmethod
    def begin(cls, margin: float, alpha: float, futility_alpha: float = 0.05) -> "NoiseTest":
        """Before the first session. margin: δ, and alpha: probability of a false proof, both in (0, 1)."""
        if not 0 < margin < 1:
            raise ValueError(f"margin must lie in (0, 1), not be {margin}")
        return cls(gate=Gate(epsilon=(1 + margin) / 2, alpha=alpha, futility_alpha=futility_alpha))

    def update(self, difference: float) -> "NoiseTest":
        """The state after one more session with that D. Raises ValueError outside [−1, 1]."""
        if not -1 <= difference <= 1:
            raise ValueError(f"D lies in [-1, 1]; this one is {difference}")
        return NoiseTest(gate=self.gate.update((difference + 1) / 2))

    @property
    def n(self) -> int:
        """Sessions so far."""
        return self.gate.n

    @property
    def crossed(self) -> bool:
        """Whether E[D] < δ is proven."""
        return self.gate.crossed

    @property
    def mean(self) -> float | None:
        """Mean D; None without data."""
        return None if self.gate.risk is None else 2 * self.gate.risk - 1


def noisy(repeats: float, disagreements: float, epsilon: float) -> bool:
    """Whether the teacher's self-agreement is under 1 − ε/2, so that the noise test is the one to use.

    repeats: sessions in which it was asked twice; disagreements: sum of their losses. False without data.
    """
    return repeats > 0 and disagreements / repeats > epsilon / 2
