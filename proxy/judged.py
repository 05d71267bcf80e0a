"""The gate for patterns whose losses come from a judge: two tests, and both must pass.

A judge errs, so its verdicts alone prove nothing about the risk. But

    risk ≤ P(the judge flags it) + P(the judge says fine, and a person who looks says wrong)

The first is tested on every session at the limit .6 ε, the second on the sessions that were drawn for review at .4 ε.
If the risk were ε or more, one of the two would have to be at its limit or above; whichever it is, its own test lets it
pass with probability at most α. So both are run at the full α, and nothing is lost to a correction (an
intersection-union test). The draw for review must not depend on what the judge said.

Pure: losses in, state out. See docs/guarantees.md, "Judge labels".
"""

from collections.abc import Sequence

import msgspec

from .gate import Gate

FLAGGED, MISSED = 0.6, 0.4
"""Shares of ε."""


class JudgedGate(msgspec.Struct, frozen=True, kw_only=True):
    """State of the two tests. `judge` and `review` return the next state."""

    flagged: Gate
    """H0 "the judge, or the rules, flag a session with a loss of .6 ε or more"."""
    missed: Gate
    """H0 "what the judge lets pass and people reject is .4 ε or more"."""

    @classmethod
    def begin(cls, epsilon: float, alpha: float, futility_alpha: float = 0.05) -> "JudgedGate":
        """Before the first session. epsilon: risk limit, alpha: probability of a false promotion, both in (0, 1)."""
        gates = (
            Gate(epsilon=share * epsilon, alpha=alpha, futility_alpha=futility_alpha) for share in (FLAGGED, MISSED)
        )
        return cls(**dict(zip(("flagged", "missed"), gates, strict=True)))

    def judge(self, loss: float) -> "JudgedGate":
        """One more session as the rules and the judge see it: loss in [0, 1]. Raises ValueError outside."""
        return JudgedGate(flagged=self.flagged.update(loss), missed=self.missed)

    def review(self, loss: float) -> "JudgedGate":
        """One more reviewed session: the share of its calls that the judge let pass and a person rejected."""
        return JudgedGate(flagged=self.flagged, missed=self.missed.update(loss))

    @property
    def crossed(self) -> bool:
        """Whether risk < ε is proven."""
        return self.flagged.crossed and self.missed.crossed

    @property
    def lacking(self) -> str:
        """What proof still lacks: `sessions`, `reviews`, `sessions and reviews`, or nothing."""
        names = [name for name, gate in (("sessions", self.flagged), ("reviews", self.missed)) if not gate.crossed]
        return " and ".join(names)


def missed_loss(calls: Sequence[tuple[bool, bool]]) -> float:
    """Loss of a reviewed session in the second test: the mean over its calls of "accepted by the judge, rejected by a
    person"; each call is (the judge accepted it, a person rejected it). Raises ValueError without calls."""
    if not calls:
        raise ValueError("a session without a compared call has no loss")
    return sum(accepted and rejected for accepted, rejected in calls) / len(calls)
