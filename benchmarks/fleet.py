"""What routing by proof saves on a whole fleet, what it risks, and where the rest of the saving is lost.

    python -m benchmarks.fleet [--quick] [--json FILE] [--seed N] [--only POLICY]

Fleets of 60 simulated patterns with known true risks (benchmarks/fleet_world.py), 20,000 sessions each: 25 patterns
with students that never reach the limit, 18 that jump late to a risk of .4 or more, retrained versions. The product's
rules beside the teacher alone, the student alone, two naive tests, the formulas as they were first given, and an oracle
that knows every risk at every moment. Below it, the way from the given formulas to the product's, one step at a time.

The vectorised machine is compared with the product's own, session by session, before anything is reported. Ten fleets
take about six minutes; `--quick` runs two fleets without the steps, `--only Tutelage` one policy beside the oracle.
"""

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace

import numpy as np

from tutelage.proxy.options import RoutingOptions

from .fleet_machine import GIVEN, Machine, Rules, rules_of
from .fleet_naive import Naive
from .fleet_product import check
from .fleet_run import Oracle, Outcome, Policy, Student, Teacher, run
from .fleet_world import BAD, PRICE, Floats, World, make
from .report import Bar, at_least, at_most, finish, start

SESSIONS = 20_000
Make = Callable[[World], Policy]


@dataclass(frozen=True)
class Figure:
    """A mean over fleets and its 95 % interval (Student's t)."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.1%} [{self.low:.1%}, {self.high:.1%}]"


@dataclass(frozen=True)
class Row:
    """One policy."""

    policy: str
    saved: Figure
    """Share of the teacher's cost."""
    of_oracle: Figure
    """Saving as a share of the oracle's on the same fleet."""
    bad_promoted: int
    """Patterns on which a version went live with a risk at the limit or above, over all fleets."""
    bad_time: Figure
    """Share of all sessions in which a pattern was live with a risk at the limit or above."""
    harm: Figure
    """Lost sessions per session."""
    to_demote: float | None
    """Median sessions from a jump to the end of live."""
    lost: dict[str, float]
    """Where the saving went, against the oracle: shares of the teacher's cost."""


def figure(values: Floats) -> Figure:
    """Mean and interval of one value per fleet."""
    n, mean = len(values), float(values.mean())
    half = _T[min(n, len(_T)) - 1] * float(values.std(ddof=1)) / math.sqrt(n) if n > 1 else math.inf
    return Figure(mean, mean - half, mean + half)


_T = (math.inf, 12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26)
"""97.5 % quantiles of Student's t by the number of values, from one on; beyond ten the last is wide enough."""


def row(name: str, outcome: Outcome, oracle: Outcome) -> Row:
    """A policy's figures."""
    demoted = outcome.to_demote
    return Row(
        policy=name,
        saved=figure(outcome.saved),
        of_oracle=figure(outcome.saved / oracle.saved),
        bad_promoted=int(outcome.bad_promoted.sum()),
        bad_time=figure(outcome.bad_time),
        harm=figure(outcome.harm),
        to_demote=float(np.median(demoted)) if len(demoted) else None,
        lost=outcome.losses,
    )


def policies() -> dict[str, Make]:
    """The main table, by name."""
    return {
        "always the teacher": lambda world: Teacher(world.lanes),
        "always the student": lambda world: Student(world.lanes),
        "point estimate": lambda world: Naive(world.lanes, 0.0),
        "z-test": lambda world: Naive(world.lanes, 1.6449),
        "formulas as given": lambda world: Machine(world, replace(GIVEN, carry_over=False)),
        "formulas as given, carry-over": lambda world: Machine(world, GIVEN),
        "Tutelage": lambda world: Machine(world, rules_of(RoutingOptions())),
    }


def steps() -> dict[str, Rules]:
    """From the formulas as given, with carry-over, to the product's rules."""
    product = rules_of(RoutingOptions())
    found = {"futility": (rules := replace(GIVEN, futility=product.futility))}
    found["exposure cap"] = rules = replace(rules, bound="beta")
    found["mixture of bets"] = rules = replace(rules, mixture=True)
    found["ramp as fast as its bound"] = rules = replace(
        rules, bound=product.bound, steps=product.steps, step_sessions=product.step_sessions
    )
    found["canary bets as shadow has shown"] = rules = replace(rules, inherit=product.inherit)
    found["fewer audits, all after a loss"] = rules = replace(
        rules, audit=product.audit, factor=product.factor, warn=product.warn
    )
    found["a part of α for thresholds"] = replace(rules, whole=product.whole)
    return found


def measure(seed: int, quick: bool, only: str = "") -> Iterator[Row]:
    """The rows, each as soon as it is there."""
    world = make(2 if quick else 10, SESSIONS, seed)
    oracle = run(world, Oracle(world), seed)
    yield row("oracle", oracle, oracle)
    for name, policy in policies().items():
        if only in ("", name):
            yield row(name, run(world, policy(world), seed), oracle)
    for name, rules in () if quick or only else steps().items():
        yield row(f"+ {name}", run(world, Machine(world, rules), seed), oracle)


def show(found: Row) -> None:
    """A line of the table, and one that says where the saving went."""
    demote = "–" if found.to_demote is None else f"{found.to_demote:.0f}"
    print(
        f"{found.policy:34} {found.saved!s:24} {found.of_oracle.mean:7.1%} {found.bad_promoted:5}"
        f" {found.bad_time.mean:8.3%} [{found.bad_time.low:.3%}, {found.bad_time.high:.3%}]"
        f" {found.harm.mean:8.4f} {demote:>6}"
    )
    print("    lost: " + ", ".join(f"{name} {lost:.2%}" for name, lost in found.lost.items()), flush=True)


def bars_of(rows: list[Row], quick: bool) -> list[Bar]:
    """What the product is held to. Two fleets say little about the saving: --quick asks for less of it."""
    mine = next(found for found in rows if found.policy == "Tutelage")
    fleets = 2 if quick else 10
    return [
        at_least("saving, of the oracle's", mine.of_oracle.mean, "share", 0.75 if quick else 0.85),
        at_most("bad patterns ever promoted", mine.bad_promoted / (BAD * fleets), "share", 0.05),
        at_most("live while bad", mine.bad_time.mean, "share", 0.002),
    ]


def main() -> int:
    """Run, print each row as it comes, then the bars."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--only", default="", choices=["", *policies()], help="one policy beside the oracle")
    own, rest = parser.parse_known_args()
    options = start("fleet", __doc__, rest)
    check(options.seed)
    print(f"{'policy':34} {'saved':24} {'oracle':>7} {'bad':>5} {'live while bad':>27} {'harm':>8} {'demote':>6}")
    rows = []
    for found in measure(options.seed, options.quick, own.only):
        rows.append(found)
        show(found)
    raw = {"price": PRICE, "rows": [asdict(found) for found in rows]}
    bars = bars_of(rows, options.quick) if own.only in ("", "Tutelage") else []
    return finish(options, bars, raw, ["numpy"])


if __name__ == "__main__":
    sys.exit(main())
