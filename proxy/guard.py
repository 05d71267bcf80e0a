"""The guard: notices when a student that was good has become bad (Shiryaev–Roberts e-detector).

It restarts the gate's opposite bettor at every session and adds the fortunes up: whenever the risk jumps, one of them
has started just before. While the risk is within the limit, the sum M grows by at most 1 a session on average, so it
takes at least `demote` sessions, in expectation, until it reaches `demote` by mistake. That holds without assuming
anything about what the change looks like; three bets (risk 2, 4 and 8 times the limit) are averaged.

Formulas and sources: docs/guarantees.md. The same fold watches invalid output and fallbacks, call by call.
"""

import msgspec

from .gate import check_loss

MULTIPLES = (2.0, 4.0, 8.0)
HIGHEST = 0.99
"""Largest risk that is bet on."""
CALM = 3.0
"""A warning ends when M comes this near to where faultless work keeps it (`rest`)."""


class Guard(msgspec.Struct, frozen=True, kw_only=True):
    """State of the detector after `n` losses. `update` returns the next state."""

    epsilon: float
    """Limit that the risk is allowed to have, in (0, 0.5]."""
    warn: float = 0.0
    """A warning begins at this M, or a little above `rest` where that is higher; 0: at the first loss after calm."""
    demote: float = 1e4
    """Threshold of M; at the same time the least expected number of labels between two false alarms."""
    n: int = 0
    total: float = 0.0
    """Sum of the losses."""
    parts: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """M of each of the three bets."""
    warning: bool = False
    """Look more closely: true from `warn` until M has calmed down."""
    alarmed_at: int = 0
    """Label at which M reached `demote`; 0: not yet."""

    def __post_init__(self) -> None:
        if not 0 < self.epsilon <= 0.5:
            raise ValueError(f"epsilon must lie in (0, 0.5], not be {self.epsilon}")

    @property
    def m(self) -> float:
        """The detector's value: the mean over the bets."""
        return sum(self.parts) / len(self.parts)

    @property
    def rest(self) -> float:
        """Where M settles without any loss: the sum of restarted fortunes never falls to 0."""
        factors = [1 - bet * self.epsilon for bet in self._bets()]
        return sum(factor / (1 - factor) for factor in factors) / len(factors)

    @property
    def warns_at(self) -> float:
        """M at which a warning begins: unless set, nine tenths of what one loss makes of the resting M."""
        if self.warn:
            return max(self.warn, self.rest + 2 * CALM)
        bets = self._bets()
        once = ((1 - bet * self.epsilon) / (bet * self.epsilon) + 1 for bet in bets)
        jumps = [part * (1 + bet * (1 - self.epsilon)) for part, bet in zip(once, bets, strict=True)]
        return 0.9 * sum(jumps) / len(jumps)

    @property
    def alarmed(self) -> bool:
        """Whether the student must go. Stays true."""
        return self.alarmed_at > 0

    def update(self, loss: float) -> "Guard":
        """The state after one more audited label of that loss. Raises ValueError outside [0, 1]."""
        check_loss(loss)
        first, second, third = (
            (part + 1) * (1 + bet * (loss - self.epsilon)) for part, bet in zip(self.parts, self._bets(), strict=True)
        )
        n, m = self.n + 1, (first + second + third) / 3
        return Guard(
            epsilon=self.epsilon,
            warn=self.warn,
            demote=self.demote,
            n=n,
            total=self.total + loss,
            parts=(first, second, third),
            warning=m >= (self.rest + CALM if self.warning else self.warns_at),
            alarmed_at=self.alarmed_at or (n if m >= self.demote else 0),
        )

    def batch(self, n: int, bad: int) -> "Guard":
        """The state after `n` labels of which `bad` are losses, their order unknown.

        The bad ones are put first: of all orders this gives the smallest M, so counting in batches can delay an alarm
        but not cause one.
        """
        if not 0 <= bad <= n:
            raise ValueError(f"of {n} labels, {bad} cannot be bad")
        guard = self
        for position in range(n):
            guard = guard.update(1.0 if position < bad else 0.0)
        # An alarm halfway through a batch rests on the order that was made up here; only the end counts.
        if guard.alarmed and not self.alarmed and guard.m < self.demote:
            guard = msgspec.structs.replace(guard, alarmed_at=0)
        return guard

    def _bets(self) -> tuple[float, ...]:
        # A bet on a risk of 1 or more would turn M negative at the first success; so with ε above .12 the largest
        # bet is drawn back.
        epsilon = self.epsilon
        risks = (min(multiple * epsilon, HIGHEST) for multiple in MULTIPLES)
        return tuple((risk - epsilon) / (epsilon * (1 - epsilon)) for risk in risks)


def invalid_detector(epsilon: float = 0.01, demote: float = 1e4) -> Guard:
    """The detector on served calls that were unusable (invalid output) or fell back to the teacher."""
    return Guard(epsilon=epsilon, demote=demote)
