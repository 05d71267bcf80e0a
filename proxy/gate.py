"""The gate: a sequential test that a student's risk is below the limit, valid however often one looks at it.

Five bettors who believe in the student stake parts of a fortune of 1 on every session, at odds that are fair when the
risk is exactly the limit. If the risk is at or above the limit the whole fortune is a supermartingale, so it ever
reaches 1/α with probability at most α (Ville): reaching it is the proof. Each bettor has one belief, how far below the
limit the risk is, and never changes its stake; together they do nearly as well as the one who is right, and the order
of the sessions does not matter. Nothing is said about a fortune that does not get there: inconclusive is not failed. A
bettor with the opposite belief proves futility in the same way.

Formulas and sources: docs/guarantees.md. Plain floats, no clock, no randomness: the same losses in the same order
give the same bits.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import msgspec

BELIEFS = (0.05, 0.25, 0.45, 0.65, 0.85)
"""ρ: what each bettor takes the risk to be, as a share of the limit; and the part of its fortune that a loss leaves."""
WEIGHTS = (0.30, 0.20, 0.20, 0.15, 0.15)
"""Part of the fortune that each begins with."""
KEPT = 0.25
"""Part of the fortune that is shared out as in WEIGHTS where the bettors' success so far decides about the rest."""
STAKE = 0.75
"""Largest part of the fortune that one session can cost the opposite bettor."""


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """State of the test of H0 "risk ≥ epsilon" after `n` sessions. `update` returns the next state."""

    epsilon: float
    """Risk limit, in (0, 1)."""
    alpha: float
    """Probability of a false promotion by this test, in (0, 1); see `alpha_for`."""
    futility_alpha: float = 0.05
    """Probability of giving up a student whose risk is within the limit, in (0, 1)."""
    n: int = 0
    total: float = 0.0
    """Sum of the losses."""
    logs: tuple[float, ...] = (0.0,) * len(BELIEFS)
    """Log-growth of each bettor's part."""
    weights: tuple[float, ...] = WEIGHTS
    log_futility: float = 0.0
    """Log-fortune of the opposite bettor, who tests H0 "risk ≤ epsilon"."""
    crossed_at: int = 0
    """Session at which the fortune first reached 1/alpha; 0: not yet."""
    futile_at: int = 0
    """Session at which the opposite fortune first reached 1/futility_alpha; 0: not yet."""

    def __post_init__(self) -> None:
        for name in ("epsilon", "alpha", "futility_alpha"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in (0, 1), not be {getattr(self, name)}")

    @property
    def crossed(self) -> bool:
        """Whether risk < epsilon is proven. Stays true: the guarantee is about ever reaching the line."""
        return self.crossed_at > 0

    @property
    def futile(self) -> bool:
        """Whether risk > epsilon is proven."""
        return self.futile_at > 0

    @property
    def needed(self) -> float:
        """Log-fortune that is proof: ln(1/alpha)."""
        return -math.log(self.alpha)

    @property
    def risk(self) -> float | None:
        """Mean loss so far; None without data."""
        return self.total / self.n if self.n else None

    @property
    def log_wealth(self) -> float:
        """Log of the whole fortune."""
        return _log_sum(self._parts())

    def _parts(self) -> list[float]:
        return [math.log(weight) + log for weight, log in zip(self.weights, self.logs, strict=True)]

    def learned(self) -> tuple[float, ...]:
        """Weights for another gate on the same student: most of the fortune goes to those who have done well here.

        Fixed before the other gate's first session, so its fortune is fair; KEPT bounds what a change can cost.
        """
        whole = self.log_wealth
        after = [math.exp(part - whole) for part in self._parts()]
        return tuple((1 - KEPT) * share + KEPT * weight for share, weight in zip(after, WEIGHTS, strict=True))

    @property
    def futility_stake(self) -> float:
        """The opposite bettor's λ."""
        epsilon, guess = self.epsilon, self._guess()
        return min(max((guess - epsilon) / (epsilon * (1 - epsilon)), 0.0), STAKE / epsilon)

    def _guess(self) -> float:
        """q: mean loss of the past and of one imaginary session of loss ε/2; it never sees the session it bets on."""
        return (self.total + self.epsilon / 2) / (self.n + 1)

    def update(self, loss: float) -> "Gate":
        """The state after one more session of that loss. Raises ValueError outside [0, 1]."""
        check_loss(loss)
        n, epsilon = self.n + 1, self.epsilon
        logs = tuple(
            log + math.log1p((1 - belief) / (1 - epsilon) * (epsilon - loss))
            for log, belief in zip(self.logs, BELIEFS, strict=True)
        )
        crossed = (
            bool(self.crossed_at)
            or _log_sum([math.log(w) + x for w, x in zip(self.weights, logs, strict=True)]) >= self.needed
        )
        log_futility = self.log_futility + math.log1p(self.futility_stake * (loss - self.epsilon))
        return Gate(
            epsilon=self.epsilon,
            alpha=self.alpha,
            futility_alpha=self.futility_alpha,
            n=n,
            total=self.total + loss,
            logs=logs,
            weights=self.weights,
            log_futility=log_futility,
            crossed_at=self.crossed_at or (n if crossed else 0),
            futile_at=self.futile_at or (n if log_futility >= -math.log(self.futility_alpha) else 0),
        )

    def fold(self, losses: Iterable[float]) -> "Gate":
        """The state after all of `losses`, in their order."""
        gate = self
        for loss in losses:
            gate = gate.update(loss)
        return gate

    def interval(self, alpha: float = 0.05) -> "Interval":
        """Confidence sequence for the risk, for people and for the exposure cap."""
        return confidence_sequence(self.total, self.n - self.total, alpha)

    def clean_needed(self, limit: int = 10_000) -> int:
        """How many more sessions, all without loss, would bring the proof; at most `limit`."""
        gate, more = self, 0
        while not gate.crossed and more < limit:
            gate, more = gate.update(0.0), more + 1
        return more

    def expected_more(self, limit: int = 1_000_000) -> int | None:
        """How many more sessions the proof is expected to take if the risk is what has been seen so far; None: at that
        risk it would never come, or not within `limit`.

        Each bettor's part grows by its mean growth at that risk; the answer is when their sum reaches 1/alpha. The mean
        risk so far is taken with half a loss more in 1/ε sessions: early on it says little.
        """
        risk, epsilon = (self.total + 0.5) / (self.n + 1 / self.epsilon), self.epsilon
        growth = [
            risk * math.log(belief) + (1 - risk) * math.log1p(epsilon * (1 - belief) / (1 - epsilon))
            for belief in BELIEFS
        ]

        def reached(more: int) -> bool:
            return (
                _log_sum([part + more * rate for part, rate in zip(self._parts(), growth, strict=True)]) >= self.needed
            )

        if self.crossed or reached(0):
            return 0
        if max(growth) <= 0 or not reached(limit):
            return None
        low, high = 0, limit
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if reached(middle) else (middle, high)
        return high


class Interval(NamedTuple):
    """Bounds of a probability."""

    low: float
    high: float


def alpha_for(k: int, alpha: float) -> float:
    """Error budget of the k-th trial on a pattern (k = 1, 2, …): 6α/(π²k²), which sums to α over all k."""
    if k < 1:
        raise ValueError(f"trials are counted from 1, not from {k}")
    return 6 * alpha / (math.pi * k) ** 2


def check_loss(loss: float) -> None:
    """Raises ValueError unless `loss` is a number in [0, 1]."""
    if not 0 <= loss <= 1:
        raise ValueError(f"a loss lies in [0, 1]; this one is {loss}")


def session_loss(losses: Sequence[float], how: str = "mean") -> float:
    """One loss for a session: the `mean` or the `max` of its compared calls. Raises ValueError without calls."""
    if not losses:
        raise ValueError("a session without a compared call has no loss")
    for loss in losses:
        check_loss(loss)
    if how == "max":
        return max(losses)
    if how == "mean":
        return min(math.fsum(losses) / len(losses), 1.0)
    raise ValueError(f"the loss of a session is its 'mean' or its 'max', not {how!r}")


def confidence_sequence(losses: float, successes: float, alpha: float = 0.05) -> Interval:
    """Bounds that hold for all n at once with probability 1 − alpha (beta-binomial mixture, a = b = ½).

    `losses` is S, the sum of the losses, and `successes` F = n − S; both may be fractions: for losses in [0, 1] that
    are not all 0 or 1 the bounds are valid too, only wider than need be (convexity). Found by bisection to 1e-12.
    """
    n = losses + successes
    if n <= 0:
        return Interval(0.0, 1.0)
    peak = losses / n
    level = -math.log(alpha)
    mixture = _log_beta(0.5 + losses, 0.5 + successes) - _log_beta(0.5, 0.5)

    def excluded(p: float) -> bool:
        return mixture - _times_log(losses, p) - _times_log(successes, 1 - p) >= level

    low = _border(excluded, 0.0, peak) if losses > 0 else 0.0
    high = _border(excluded, 1.0, peak) if successes > 0 else 1.0
    return Interval(low, high)


def upper_bound(losses: float, successes: float, alpha: float = 0.05) -> float:
    """Largest risk that the gate's mixture does not disprove at 1 − alpha, valid for all n at once.

    U = sup{p : ln Σ w ρ^S ((1 − ρp)/(1 − p))^F < ln(1/α)}, S and F as in `confidence_sequence`. For losses of 0 and 1
    it is the gate itself with ε = p; for losses between them the gate's fortune is larger (concavity), U only wider.
    """
    if successes <= 0:
        return 1.0
    level, sure = -math.log(alpha), [math.log(w) + losses * math.log(r) for w, r in zip(WEIGHTS, BELIEFS, strict=True)]

    def excluded(p: float) -> bool:
        growth = (math.log1p(p * (1 - belief) / (1 - p)) for belief in BELIEFS)
        return _log_sum([part + successes * rate for part, rate in zip(sure, growth, strict=True)]) >= level

    return _border(excluded, 1 - 1e-12, 0.0)


def _log_sum(logs: Sequence[float]) -> float:
    """ln Σ exp(x), safe for large and small x."""
    top = max(logs)
    return top + math.log(math.fsum(math.exp(log - top) for log in logs))


def _border(excluded: Callable[[float], bool], outside: float, inside: float) -> float:
    """Where `excluded` changes between a point outside and one inside; the returned end is the outer one."""
    while abs(outside - inside) > 1e-12:
        middle = (outside + inside) / 2
        if excluded(middle):
            outside = middle
        else:
            inside = middle
    return outside


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _times_log(count: float, p: float) -> float:
    if count == 0:
        return 0.0
    return count * math.log(p) if p > 0 else -math.inf
