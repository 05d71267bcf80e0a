"""Rules that promote or demote a student, many streams at once: the product's, and what people use instead.

A rule takes losses of shape (streams, labels) and returns for each stream the label, from 1, at which it decides; NEVER
where it does not. Rules for shares (Clopper–Pearson) want losses of 0 or 1.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river.drift import ADWIN, PageHinkley

from tutelage.proxy.gate import STAKE
from tutelage.proxy.guard import MULTIPLES

Losses = NDArray[np.float64]
Labels = NDArray[np.int64]
Rule = Callable[[Losses], Labels]
EPSILON, ALPHA, DEMOTE = 0.05, 0.05, 1e4
NEVER = 10**9
MIXTURE = ((0.05, 0.30), (0.25, 0.20), (0.45, 0.20), (0.65, 0.15), (0.85, 0.15))
"""Risk, as a share of the limit, against which each constant bet is best; and its part of the first fortune."""


def first(hits: NDArray[np.bool_]) -> Labels:
    """Label of the first hit of each stream, from 1."""
    return np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, NEVER)


def adaptive(losses: Losses, alpha: float = ALPHA) -> Labels:
    """One stake that follows the mean so far."""
    n = np.arange(1, losses.shape[1] + 1)
    guess = (np.cumsum(losses, axis=1) - losses + EPSILON / 2) / n
    stake = np.clip((EPSILON - guess) / (EPSILON * (1 - EPSILON)), 0, STAKE / (1 - EPSILON))
    return first(np.cumsum(np.log1p(stake * (EPSILON - losses)), axis=1) >= -math.log(alpha))


def mixture(losses: Losses, alpha: float = ALPHA) -> Labels:
    """Five constant stakes side by side."""
    fortune = np.zeros_like(losses)
    for risk, weight in MIXTURE:
        fortune += weight * np.exp(np.cumsum(np.log1p((1 - risk) / (1 - EPSILON) * (EPSILON - losses)), axis=1))
    return first(fortune >= 1 / alpha)


def sprt(losses: Losses) -> Labels:
    """Wald's test of risk ε against ε/2, both errors 5 %: it also gives up for good."""
    log = np.log1p(0.5 / (1 - EPSILON) * (EPSILON - losses)).cumsum(axis=1)
    up, down = first(log >= math.log(0.95 / ALPHA)), first(log <= math.log(0.05 / (1 - ALPHA)))
    return np.where(up < down, up, NEVER)


def _mean(losses: Losses) -> tuple[Losses, Labels]:
    n = np.arange(1, losses.shape[1] + 1)
    return np.cumsum(losses, axis=1) / n, n


def point_estimate(losses: Losses) -> Labels:
    """The mean of at least 30 labels is below the limit."""
    mean, n = _mean(losses)
    return first((mean < EPSILON) & (n >= 30))


def z_test(losses: Losses) -> Labels:
    """One-sided z-test at 5 % with the observed variance after every label, from 30 on."""
    mean, n = _mean(losses)
    return first((mean + 1.6449 * np.sqrt(mean * (1 - mean) / n) < EPSILON) & (n >= 30))


def wilson(losses: Losses) -> Labels:
    """Upper end of the one-sided 95 % Wilson interval below the limit, after every label."""
    mean, n = _mean(losses)
    return first(wilson_ends(mean * n, n, 1.6449)[1] < EPSILON)


def wilson_ends(hits: Any, n: Any, z: float = 1.96) -> tuple[Any, Any]:
    """Wilson's interval for a share."""
    share, square = hits / n, z * z / n
    half = z * np.sqrt(share * (1 - share) / n + square / (4 * n))
    return (share + square / 2 - half) / (1 + square), (share + square / 2 + half) / (1 + square)


def clopper_pearson(looks: range) -> Rule:
    """Upper end of the one-sided 95 % Clopper–Pearson interval below the limit, asked after the labels of `looks`."""

    def rule(losses: Losses) -> Labels:
        counts = losses.cumsum(axis=1)
        passed = np.zeros(losses.shape, dtype=bool)
        for n in looks:
            if n <= losses.shape[1]:
                passed[:, n - 1] = counts[:, n - 1] <= _most_losses(n)
        return first(passed)

    return rule


def _most_losses(n: int) -> int:
    """Largest count of losses that n labels at risk ε would stay at or below with a probability under ALPHA; −1: none.
    The interval's upper end is below ε exactly then."""
    below, term = 0.0, (1 - EPSILON) ** n
    for losses in range(n + 1):
        below += term
        if below >= ALPHA:
            return losses - 1
        term *= (n - losses) / (losses + 1) * EPSILON / (1 - EPSILON)
    return n


def guard(losses: Losses) -> Labels:
    """The product's guard: Shiryaev–Roberts e-detector."""
    bets = np.array([(m * EPSILON - EPSILON) / (EPSILON * (1 - EPSILON)) for m in MULTIPLES])
    parts = np.zeros((losses.shape[0], len(bets)))
    alarm = np.full(losses.shape[0], NEVER)
    for i in range(losses.shape[1]):
        # Capped far above the threshold: what happens after the alarm is of no interest and would overflow.
        parts = np.minimum((parts + 1) * (1 + bets * (losses[:, i, None] - EPSILON)), 1e9)
        alarm = np.where((parts.mean(axis=1) >= DEMOTE) & (alarm == NEVER), i + 1, alarm)
    return alarm


def rolling_z(losses: Losses) -> Labels:
    """Mean of the last 50 labels above the limit by 3 standard errors, after every label."""
    sums = np.cumsum(losses, axis=1)
    window = sums.copy()
    window[:, 50:] -= sums[:, :-50]
    line = 50 * EPSILON + 3 * math.sqrt(50 * EPSILON * (1 - EPSILON))
    return first((window > line) & (np.arange(losses.shape[1]) >= 49))


def page_hinkley(losses: Losses) -> Labels:
    """Page–Hinkley on increases (river). Its threshold of 50 would wait for 50 losses; 5 makes it comparable."""
    return _watched(losses, lambda: PageHinkley(mode="up", threshold=5.0), lambda detector: 0.0)


def adwin(losses: Losses) -> Labels:
    """ADWIN as river ships it; a change counts when it has raised the mean of its window."""
    return _watched(losses, ADWIN, lambda detector: -detector.estimation)


def _watched(losses: Losses, make: Callable[[], Any], calm: Callable[[Any], float]) -> Labels:
    """First change that a detector of river reports without having become calmer by it."""
    decided = np.full(losses.shape[0], NEVER)
    for stream, values in enumerate(losses.tolist()):
        detector = make()
        for label, loss in enumerate(values, start=1):
            before = calm(detector)
            detector.update(loss)
            if detector.drift_detected and calm(detector) <= before:
                decided[stream] = label
                break
    return decided


def no_audit(losses: Losses) -> Labels:
    """Nobody looks."""
    return np.full(losses.shape[0], NEVER)


PROMOTERS: dict[str, Rule] = {
    "gate, mixture of bets": mixture,
    "gate, adaptive bet": adaptive,
    "SPRT for ε/2": sprt,
    "point estimate": point_estimate,
    "z-test": z_test,
    "Wilson": wilson,
    "Clopper–Pearson every 50": clopper_pearson(range(50, 10**6, 50)),
    "Clopper–Pearson once, at 500": clopper_pearson(range(500, 501)),
}
DEMOTERS: dict[str, Rule] = {
    "guard": guard,
    "none": no_audit,
    "rolling z": rolling_z,
    "Page–Hinkley": page_hinkley,
    "ADWIN": adwin,
}
