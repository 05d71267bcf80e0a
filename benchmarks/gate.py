"""How often the gate is wrong, how long it takes, and how quickly the guard notices: beside what people use instead.

    python -m benchmarks.gate [--quick] [--json FILE] [--seed N]

Simulated sessions with known risk, looked at after every label, because that is what a dashboard does. The fast
vectorised forms used here are checked against the product's own `Gate` and `Guard` on some of the streams, before
anything is reported. About half a minute; `--quick` a second. Seeded: the same figures every time.
"""

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.proxy.gate import STAKE, Gate, alpha_for
from tutelage.proxy.guard import MULTIPLES, Guard

from .report import Bar, at_most, finish, start

Losses = NDArray[np.float64]
EPSILON, ALPHA = 0.05, 0.05
NEVER = 10**9
Rule = Callable[[Losses], NDArray[np.int64]]
"""Losses of shape (streams, labels) → label (from 1) at which each stream is decided, NEVER where it is not."""


@dataclass(frozen=True)
class Row:
    """One measured figure."""

    part: str
    rule: str
    case: str
    value: float
    low: float
    """95 % Monte-Carlo interval (Wilson for shares, order statistics for medians)."""
    high: float
    streams: int
    unit: str


def first(hits: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Label of the first hit of each stream, from 1."""
    return np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, NEVER)


def gate(losses: Losses, alpha: float = ALPHA) -> NDArray[np.int64]:
    """The product's gate: betting e-process."""
    return first(log_wealth(losses) >= -math.log(alpha))


def log_wealth(losses: Losses) -> Losses:
    """The gate's log-fortune after every label."""
    n = np.arange(1, losses.shape[1] + 1)
    past = np.cumsum(losses, axis=1) - losses
    guess = (past + EPSILON / 2) / n
    stake = np.clip((EPSILON - guess) / (EPSILON * (1 - EPSILON)), 0, STAKE / (1 - EPSILON))
    return np.cumsum(np.log1p(stake * (EPSILON - losses)), axis=1)


def point_estimate(losses: Losses) -> NDArray[np.int64]:
    """Promote once the mean of at least 30 labels is below the limit."""
    n = np.arange(1, losses.shape[1] + 1)
    return first((np.cumsum(losses, axis=1) / n < EPSILON) & (n >= 30))


def z_test(losses: Losses) -> NDArray[np.int64]:
    """One-sided z-test at 5 % with the observed variance after every label, from 30 on."""
    n = np.arange(1, losses.shape[1] + 1)
    mean = np.cumsum(losses, axis=1) / n
    return first((mean + 1.6449 * np.sqrt(mean * (1 - mean) / n) < EPSILON) & (n >= 30))


def wilson(losses: Losses) -> NDArray[np.int64]:
    """Upper end of the one-sided 95 % Wilson interval below the limit, after every label."""
    n = np.arange(1, losses.shape[1] + 1)
    return first(wilson_ends(np.cumsum(losses, axis=1), n, 1.6449)[1] < EPSILON)


def wilson_ends(hits: Any, n: Any, z: float = 1.96) -> tuple[Any, Any]:
    """Wilson's interval for a share."""
    share, square = hits / n, z * z / n
    half = z * np.sqrt(share * (1 - share) / n + square / (4 * n))
    return (share + square / 2 - half) / (1 + square), (share + square / 2 + half) / (1 + square)


def guard(losses: Losses) -> NDArray[np.int64]:
    """The product's guard: Shiryaev–Roberts e-detector."""
    bets = np.array([(m * EPSILON - EPSILON) / (EPSILON * (1 - EPSILON)) for m in MULTIPLES])
    parts = np.zeros((losses.shape[0], len(bets)))
    alarm = np.full(losses.shape[0], NEVER)
    for i in range(losses.shape[1]):
        # Capped far above the threshold: what happens after the alarm is of no interest and would overflow.
        parts = np.minimum((parts + 1) * (1 + bets * (losses[:, i, None] - EPSILON)), 1e9)
        alarm = np.where((parts.mean(axis=1) >= 1e4) & (alarm == NEVER), i + 1, alarm)
    return alarm


def rolling_z(losses: Losses) -> NDArray[np.int64]:
    """Mean of the last 50 labels above the limit by 3 standard errors, after every label."""
    sums = np.cumsum(losses, axis=1)
    window = sums.copy()
    window[:, 50:] -= sums[:, :-50]
    line = 50 * EPSILON + 3 * math.sqrt(50 * EPSILON * (1 - EPSILON))
    return first((window > line) & (np.arange(losses.shape[1]) >= 49))


PROMOTERS: dict[str, Rule] = {"gate": gate, "point estimate": point_estimate, "z-test": z_test, "Wilson": wilson}
DEMOTERS: dict[str, Rule] = {"guard": guard, "rolling z": rolling_z}


def streams(rng: np.random.Generator, n: int, labels: int, risk: float) -> Losses:
    """Independent sessions of loss 0 or 1."""
    return (rng.random((n, labels)) < risk).astype(np.float64)


def correlated(rng: np.random.Generator, n: int, labels: int, risk: float, turns: int = 8) -> tuple[Losses, Losses]:
    """Sessions of `turns` calls whose failures go together (a share of sessions is hard): per session, per turn."""
    hard = rng.random((n, labels)) < risk / 0.5
    failed = (rng.random((n, labels, turns)) < 0.5) & hard[:, :, None]
    return failed.mean(axis=2), failed.reshape(n, labels * turns).astype(np.float64)


def share(part: str, rule: str, case: str, decided: NDArray[np.int64]) -> Row:
    """Share of streams that were decided."""
    n, hits = len(decided), int((decided < NEVER).sum())
    low, high = wilson_ends(hits, n)
    return Row(part, rule, case, hits / n, float(max(low, 0.0)), float(high), n, "share")


def median(part: str, rule: str, case: str, decided: NDArray[np.int64]) -> Row:
    """Median label of decision, with the order statistics around it; infinite when most were never decided."""
    n, ordered = len(decided), np.sort(decided).astype(float)
    ordered[ordered >= NEVER] = math.inf
    half = 0.98 * math.sqrt(n)
    low, high = ordered[max(0, int(n / 2 - half))], ordered[min(n - 1, math.ceil(n / 2 + half))]
    return Row(part, rule, case, float(ordered[n // 2]), float(low), float(high), n, "labels")


def false_promotions(rng: np.random.Generator, n: int, labels: int) -> Iterator[Row]:
    """Students whose risk is not below the limit."""
    for factor in (1.0, 1.1, 1.2):
        losses = streams(rng, n, labels, factor * EPSILON)
        for name, rule in PROMOTERS.items():
            yield share("false promotions", name, f"risk {factor:g} ε", rule(losses))
    per_session, per_turn = correlated(rng, n, labels // 4, EPSILON)
    yield share("false promotions", "gate", "risk ε, 8 correlated turns, sessions counted", gate(per_session))
    yield share("false promotions", "gate", "risk ε, 8 correlated turns, turns counted", gate(per_turn))
    for name, spent in (("gate", True), ("gate without spending α", False)):
        trials = [
            gate(streams(rng, n, labels // 2, EPSILON), alpha_for(k, ALPHA) if spent else ALPHA) for k in range(1, 11)
        ]
        yield share("false promotions", name, "risk ε, 10 retrained versions", np.min(trials, axis=0))


def labels_to_promote(rng: np.random.Generator, n: int, labels: int) -> Iterator[Row]:
    """Students that deserve it."""
    for factor in (0.0, 0.2, 0.5, 0.7):
        losses = streams(rng, n, labels, factor * EPSILON)
        for name, rule in PROMOTERS.items():
            yield median("labels to promote", name, f"risk {factor:g} ε", rule(losses))


def labels_to_demote(rng: np.random.Generator, n: int, labels: int) -> Iterator[Row]:
    """A live student of risk ε/2 that gets worse after 200 labels, and one that does not."""
    for risk in (0.10, 0.15, 0.30, 0.60):
        losses = np.concatenate([streams(rng, n, 200, EPSILON / 2), streams(rng, n, labels // 2, risk)], axis=1)
        for name, rule in DEMOTERS.items():
            decided = rule(losses)
            fair = decided[decided > 200]
            yield median("labels to demote", name, f"jump to {risk:.2f}", np.where(fair < NEVER, fair - 200, NEVER))
    for case, risk in (("ε/2", EPSILON / 2), ("ε", EPSILON)):
        healthy = streams(rng, n, 5 * labels // 2, risk)
        for name, rule in DEMOTERS.items():
            yield share("false demotions", name, f"risk {case}, {healthy.shape[1]} labels", rule(healthy))


def check_against_product(rng: np.random.Generator) -> None:
    """The vectorised forms decide at the same label as the product's folds. Raises AssertionError."""
    losses = np.concatenate([streams(rng, 20, 400, risk) for risk in (0.0, 0.02, 0.3)])
    for stream, promoted, demoted in zip(losses, gate(losses), guard(losses), strict=True):
        proof, watch = Gate(epsilon=EPSILON, alpha=ALPHA), Guard(epsilon=EPSILON)
        for loss in stream:
            proof, watch = proof.update(float(loss)), watch.update(float(loss))
        if (proof.crossed_at or NEVER, watch.alarmed_at or NEVER) != (promoted, demoted):
            raise AssertionError("the benchmark's gate or guard differs from the product's")


def measure(seed: int, quick: bool) -> list[Row]:
    """All figures."""
    rng = np.random.default_rng(seed)
    check_against_product(rng)
    n, labels = (400, 1_000) if quick else (4_000, 2_000)
    return [
        row
        for part in (false_promotions, labels_to_promote, labels_to_demote)
        for row in part(np.random.default_rng([seed, *part.__name__.encode()]), n, labels)
    ]


def show(rows: list[Row]) -> None:
    """The table on stdout."""
    part = ""
    for row in rows:
        if row.part != part:
            part = row.part
            print(f"\n{part} (ε = {EPSILON}, α = {ALPHA}, {row.streams} streams, a look after every label)")
        form = (lambda x: f"{x:.2%}") if row.unit == "share" else (lambda x: f"{x:.0f}")
        print(f"  {row.rule:24} {row.case:46} {form(row.value):>8}  [{form(row.low)}, {form(row.high)}]")


def bars_of(rows: list[Row]) -> list[Bar]:
    """What the gate and the guard promise."""
    value = {(row.part, row.rule, row.case): row.value for row in rows}
    spent = value["false promotions", "gate", "risk ε, 10 retrained versions"]
    healthy = next(row for row in rows if row.part == "false demotions" and row.rule == "guard" and "ε/2" in row.case)
    return [
        at_most("false promotions at risk ε", value["false promotions", "gate", "risk 1 ε"], "share", ALPHA),
        at_most("false promotions, 10 retrained versions", spent, "share", ALPHA),
        at_most("labels to promote at risk 0", value["labels to promote", "gate", "risk 0 ε"], "labels", 80),
        at_most("labels to promote at risk .5 ε", value["labels to promote", "gate", "risk 0.5 ε"], "labels", 450),
        at_most(
            "labels to demote after a jump to .30", value["labels to demote", "guard", "jump to 0.30"], "labels", 25
        ),
        at_most("false demotions at risk ε/2", healthy.value, "share", 0.01),
    ]


def main() -> int:
    """Run, print every figure, then the bars."""
    run = start("gate", __doc__)
    rows = measure(run.seed, run.quick)
    show(rows)
    finite = [{key: None if value == math.inf else value for key, value in asdict(row).items()} for row in rows]
    return finish(run, bars_of(rows), {"rows": finite}, ["numpy"])


if __name__ == "__main__":
    sys.exit(main())
