"""Fortunes and bounds of many lanes at once: the vectorised twin of proxy/gate.py, with other bets to compare.

Each lane's fortune is a nonnegative supermartingale as long as its risk is at the limit or above, whatever the bets:
one adaptive stake that looks only at the past, or a mixture of constant stakes (a mean of martingales is one).
"""

import math
from collections.abc import Callable

import numpy as np

from tutelage.proxy.gate import STAKE

from .fleet_world import EPSILON, Flags, Floats

ALPHA = 0.05
MIXTURE = ((0.05, 0.30), (0.25, 0.20), (0.45, 0.20), (0.65, 0.15), (0.85, 0.15))
"""Risk, as a share of the limit, against which each constant bet is best; and its part of the first fortune."""


class Bets:
    """Fortunes of the gate and of its opponent in every lane."""

    def __init__(self, lanes: int, mixture: bool) -> None:
        risks, weights = np.array(MIXTURE).T
        self.mixture, self.risks = mixture, risks
        self.start = np.tile(np.log(weights), (lanes, 1))
        """Log-weights with which each lane began."""
        self.logs = self.start.copy()
        self.n, self.total, self.wealth, self.futility = np.zeros((4, lanes))

    def begin(self, lanes: Flags, weights: Floats | None = None) -> None:
        """New fortunes of 1; `weights` of shape (lanes that begin, bets), or those of the beginning."""
        self.start[lanes] = np.log(weights if weights is not None else np.array(MIXTURE)[:, 1])
        self.logs[lanes] = self.start[lanes]
        for sums in (self.n, self.total, self.wealth, self.futility):
            sums[lanes] = 0

    def hear(self, heard: Flags, losses: Floats) -> None:
        """One session more where `heard`."""
        i = np.flatnonzero(heard)
        if not i.size:
            return
        x, n = losses[i], self.n[i] + 1
        guess = (self.total[i] + EPSILON / 2) / n
        kelly = (EPSILON - guess) / (EPSILON * (1 - EPSILON))
        self.futility[i] += np.log1p(np.minimum(np.maximum(-kelly, 0), STAKE / EPSILON) * (x - EPSILON))
        if self.mixture:
            stakes = (1 - self.risks) / (1 - EPSILON)
            self.logs[i] += np.log1p(stakes * (EPSILON - x[:, None]))
            self.wealth[i] = log_sum(self.logs[i])
        else:
            self.wealth[i] += np.log1p(np.minimum(np.maximum(kelly, 0), STAKE / (1 - EPSILON)) * (EPSILON - x))
        self.n[i], self.total[i] = n, self.total[i] + x

    def shares(self, lanes: Flags) -> Floats:
        """How the fortune is spread over the bets now, of shape (lanes chosen, bets)."""
        return np.exp(self.logs[lanes] - log_sum(self.logs[lanes])[:, None])


def log_sum(logs: Floats) -> Floats:
    """Logarithm of the sum of exponentials along the last axis."""
    most = logs.max(axis=-1)
    return most + np.log(np.exp(logs - most[..., None]).sum(axis=-1))


def beta_bound(losses: Floats, n: Floats) -> Floats:
    """Upper end of the beta-binomial confidence sequence, as proxy/gate.py has it."""
    clean = n - losses
    logs = [
        math.lgamma(0.5 + s) + math.lgamma(0.5 + f) - math.lgamma(1 + s + f) for s, f in zip(losses, clean, strict=True)
    ]
    level = -math.log(ALPHA) - np.array(logs) + math.log(math.pi)

    def excluded(p: Floats) -> Flags:
        return -losses * np.log(p) - clean * np.log1p(-p) >= level

    return bisect(excluded, np.where(n > 0, losses / np.maximum(n, 1), 0))


def disproved(losses: Floats, n: Floats, limits: Floats) -> Flags:
    """Which of `limits` (each in (0, 1)) the gate's bets disprove at ALPHA, of shape (lanes, limits): those above the
    bound that proxy/gate.py finds by bisection. Asked for each limit itself, it has no error of a search."""
    risks, weights = np.array(MIXTURE).T
    start = np.log(weights) + losses[:, None] * np.log(risks)
    growth = np.log1p((1 - risks) * (limits / (1 - limits))[:, None])
    logs = start[:, None, :] + (n - losses)[:, None, None] * growth
    return log_sum(logs) >= -math.log(ALPHA)


def bisect(excluded: Callable[[Floats], Flags], low: Floats) -> Floats:
    """The border above `low` beyond which limits are disproved, to 1e-5 and from above."""
    high = np.full_like(low, 1 - 1e-12)
    for _ in range(18):
        middle = (low + high) / 2
        out = excluded(middle)
        high, low = np.where(out, middle, high), np.where(out, low, middle)
    return high
