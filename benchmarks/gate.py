"""How often the gate is wrong, how long it takes, and how quickly the guard notices: beside what people use instead.

    python -m benchmarks.gate [--quick] [--json FILE] [--seed N]

Simulated sessions with known risk, looked at after every label, because that is what a dashboard does. The fast
vectorised forms used here are checked against the product's own `Gate` and `Guard` on some of the streams, before
anything is reported. One or two minutes of a core; `--quick` some seconds. Seeded: the same figures every time.
"""

import math
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

from tutelage.proxy.gate import Gate, alpha_for
from tutelage.proxy.guard import Guard

from .gate_rules import (
    ALPHA,
    DEMOTERS,
    EPSILON,
    NEVER,
    PROMOTERS,
    Labels,
    Losses,
    adaptive,
    guard,
    mixture,
    wilson_ends,
)
from .report import Bar, at_most, finish, start

GATES = {"gate, mixture of bets": mixture, "gate, adaptive bet": adaptive}


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


def streams(rng: np.random.Generator, n: int, labels: int, risk: float) -> Losses:
    """Independent sessions of loss 0 or 1."""
    return (rng.random((n, labels)) < risk).astype(np.float64)


def correlated(rng: np.random.Generator, n: int, labels: int, risk: float, turns: int = 8) -> tuple[Losses, Losses]:
    """Sessions of `turns` calls whose failures go together (a share of sessions is hard): per session, per turn."""
    hard = rng.random((n, labels)) < risk / 0.5
    failed = (rng.random((n, labels, turns)) < 0.5) & hard[:, :, None]
    return failed.mean(axis=2), failed.reshape(n, labels * turns).astype(np.float64)


def spells(rng: np.random.Generator, n: int, labels: int, risk: float, length: int) -> Losses:
    """Sessions whose risk is 0 or twice `risk`, `length` sessions on end: right on average, not given the past."""
    hard = rng.random((n, -(-labels // length))) < 0.5
    return ((rng.random((n, labels)) < 2 * risk) & np.repeat(hard, length, axis=1)[:, :labels]).astype(np.float64)


def share(part: str, rule: str, case: str, decided: Labels) -> Row:
    """Share of streams that were decided."""
    n, hits = len(decided), int((decided < NEVER).sum())
    low, high = wilson_ends(hits, n)
    return Row(part, rule, case, hits / n, float(max(low, 0.0)), float(high), n, "share")


def median(part: str, rule: str, case: str, decided: Labels) -> Row:
    """Median label of decision, with the order statistics around it; infinite when most were never decided."""
    n, ordered = len(decided), np.sort(decided).astype(float)
    ordered[ordered >= NEVER] = math.inf
    half = 0.98 * math.sqrt(n)
    low, high = ordered[max(0, int(n / 2 - half))], ordered[min(n - 1, math.ceil(n / 2 + half))]
    return Row(part, rule, case, float(ordered[n // 2]), float(low), float(high), n, "labels")


def false_promotions(rng: np.random.Generator, n: int, labels: int) -> Iterator[Row]:
    """Students whose risk is not below the limit."""
    part = "false promotions"
    for factor in (1.0, 1.1, 1.2):
        losses = streams(rng, n, labels, factor * EPSILON)
        for name, rule in PROMOTERS.items():
            yield share(part, name, f"risk {factor:g} ε", rule(losses))
    per_session, per_turn = correlated(rng, n, labels // 4, EPSILON)
    for name, rule in GATES.items():
        yield share(part, name, "risk ε, 8 correlated turns, sessions counted", rule(per_session))
        yield share(part, name, "risk ε, 8 correlated turns, turns counted", rule(per_turn))
    for length in (10, 100):
        losses = spells(rng, n, labels, EPSILON, length)
        for name, rule in GATES.items():
            yield share(part, name, f"risk ε on average, in spells of {length}", rule(losses))
    for name, rule in GATES.items():
        for suffix, spent in ("", True), (", α not spent", False):
            trials = [
                rule(streams(rng, n, labels // 2, EPSILON), alpha_for(k, ALPHA) if spent else ALPHA)
                for k in range(1, 11)
            ]
            yield share(part, name + suffix, "risk ε, 10 retrained versions", np.min(trials, axis=0))


def labels_to_promote(rng: np.random.Generator, n: int, labels: int) -> Iterator[Row]:
    """Students that deserve it."""
    for factor in (0.0, 0.2, 0.5, 0.7):
        losses = streams(rng, n, 2 * labels, factor * EPSILON)
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


def product_gate(rng: np.random.Generator) -> str:
    """Name of the gate that decides at the same label as the product's on every stream; the guard must do so as well.

    Raises AssertionError when there is none: the figures would not be the product's.
    """
    losses = np.concatenate([streams(rng, 20, 400, risk) for risk in (0.0, 0.02, 0.3)])
    proofs = [Gate(epsilon=EPSILON, alpha=ALPHA).fold(stream).crossed_at or NEVER for stream in losses.tolist()]
    for stream, alarm in zip(losses.tolist(), guard(losses), strict=True):
        watch = Guard(epsilon=EPSILON)
        for loss in stream:
            watch = watch.update(loss)
        if (watch.alarmed_at or NEVER) != alarm:
            raise AssertionError("the benchmark's guard differs from the product's")
    for name, rule in GATES.items():
        if proofs == rule(losses).tolist():
            return name
    raise AssertionError("the benchmark's gates differ from the product's")


def measure(seed: int, quick: bool) -> list[Row]:
    """All figures."""
    n, labels = (400, 1_000) if quick else (4_000, 2_000)
    sizes = {labels_to_demote: n // 2}  # two of the detectors are not vectorised
    return [
        row
        for part in (false_promotions, labels_to_promote, labels_to_demote)
        for row in part(np.random.default_rng([seed, *part.__name__.encode()]), sizes.get(part, n), labels)
    ]


def show(rows: list[Row]) -> None:
    """The table on stdout."""
    part = ""
    for row in rows:
        if row.part != part:
            part = row.part
            print(f"\n{part} (ε = {EPSILON}, α = {ALPHA}, {row.streams} streams, a look after every label)")
        form = (lambda x: f"{x:.2%}") if row.unit == "share" else (lambda x: f"{x:.0f}")
        print(f"  {row.rule:36} {row.case:46} {form(row.value):>8}  [{form(row.low)}, {form(row.high)}]")


def bars_of(rows: list[Row], product: str) -> list[Bar]:
    """What the gate and the guard promise."""
    value = {(row.part, row.rule, row.case): row.value for row in rows}
    healthy = next(row for row in rows if row.part == "false demotions" and row.rule == "guard" and "ε/2" in row.case)
    spent = value["false promotions", product, "risk ε, 10 retrained versions"]
    turns = value["false promotions", product, "risk ε, 8 correlated turns, sessions counted"]
    return [
        at_most("false promotions at risk ε", value["false promotions", product, "risk 1 ε"], "share", ALPHA),
        at_most("false promotions, correlated turns", turns, "share", ALPHA),
        at_most("false promotions, 10 retrained versions", spent, "share", ALPHA),
        at_most("labels to promote at risk 0", value["labels to promote", product, "risk 0 ε"], "labels", 80),
        at_most("labels to promote at risk .5 ε", value["labels to promote", product, "risk 0.5 ε"], "labels", 450),
        at_most(
            "labels to demote after a jump to .30", value["labels to demote", "guard", "jump to 0.30"], "labels", 25
        ),
        at_most("false demotions at risk ε/2", healthy.value, "share", 0.01),
    ]


def main() -> int:
    """Run, print every figure, then the bars."""
    run = start("gate", __doc__)
    product = product_gate(np.random.default_rng(run.seed))
    print(f"The product's gate: {product}.")
    rows = measure(run.seed, run.quick)
    show(rows)
    finite = [{key: None if value == math.inf else value for key, value in asdict(row).items()} for row in rows]
    return finish(run, bars_of(rows, product), {"product": product, "rows": finite}, ["numpy", "river"])


if __name__ == "__main__":
    sys.exit(main())
