"""The gate's benchmark: what it promises holds, and the rules it is compared with are what they say."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import beta, binomtest

from benchmarks.gate import product_gate, spells, streams
from benchmarks.gate_rules import (
    ALPHA,
    EPSILON,
    NEVER,
    Losses,
    Rule,
    adwin,
    clopper_pearson,
    mixture,
    page_hinkley,
    sprt,
    wilson_ends,
)

ROOT = Path(__file__).parent.parent


def stream(*losses: float) -> Losses:
    return np.array([losses])


def test_the_quick_run_meets_its_bars(tmp_path: Path) -> None:
    file = tmp_path / "gate.json"
    command = [sys.executable, "-m", "benchmarks.gate", "--quick", "--json", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "false promotions" in done.stdout
    raw = json.loads(file.read_text())["raw"]
    gate = raw["product"]
    rows = {(row["part"], row["rule"], row["case"]): row for row in raw["rows"]}
    assert rows["labels to promote", gate, "risk 0 ε"]["value"] == 78
    at_limit = {rule: rows["false promotions", rule, "risk 1 ε"]["value"] for rule in (gate, "Wilson", "z-test")}
    assert at_limit[gate] < at_limit["Wilson"] < at_limit["z-test"]
    assert rows["false promotions", gate, "risk ε, 8 correlated turns, turns counted"]["value"] > 0.28
    assert 18 <= rows["labels to demote", "guard", "jump to 0.30"]["value"] <= 25
    assert rows["false demotions", "Page–Hinkley", "risk ε/2, 2500 labels"]["value"] > 0.3
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows.values() if row["value"] is not None)


@pytest.mark.parametrize("factor", [1.0, 1.2])
def test_at_the_limit_false_promotions_stay_within_alpha(factor: float) -> None:
    """2,000 streams, a look after each of 1,500 labels. Fails when α is truly exceeded, not for bad luck."""
    promoted = mixture(streams(np.random.default_rng(11), 2_000, 1_500, factor * EPSILON)) < NEVER
    assert binomtest(int(promoted.sum()), 2_000, ALPHA, "greater").pvalue > 0.001
    assert promoted.any()


def test_the_products_gate_is_the_mixture() -> None:
    assert product_gate(np.random.default_rng(5)) == "gate, mixture of bets"


@pytest.mark.parametrize("losses", [0, 1, 5, 14, 15, 16, 40])
def test_clopper_pearson_is_scipys(losses: int) -> None:
    upper = beta.ppf(1 - ALPHA, losses + 1, 500 - losses)
    decided = clopper_pearson(range(500, 501))(stream(*[1.0] * losses, *[0.0] * (500 - losses)))
    assert (decided[0] == 500) == (upper < EPSILON)


@pytest.mark.parametrize("losses", [170, 175, 177, 178, 180])
def test_clopper_pearson_with_many_labels(losses: int) -> None:
    upper = beta.ppf(1 - ALPHA, losses + 1, 4_000 - losses)
    decided = clopper_pearson(range(4_000, 4_001))(stream(*[1.0] * losses, *[0.0] * (4_000 - losses)))
    assert (decided[0] == 4_000) == (upper < EPSILON)


def test_clopper_pearson_looks_only_when_told() -> None:
    clean = stream(*[0.0] * 120)
    assert clopper_pearson(range(50, 121, 50))(clean).tolist() == [100]
    assert clopper_pearson(range(50, 99, 50))(clean).tolist() == [NEVER]


def test_sprt_gives_up_for_good() -> None:
    assert sprt(stream(*[0.0] * 200)).tolist() == [115 if 114 * np.log1p(0.025 / 0.95) < np.log(19) else 114]
    assert sprt(stream(*[1.0] * 5, *[0.0] * 2_000)).tolist() == [NEVER]


@pytest.mark.parametrize("rule", [page_hinkley, adwin])
def test_detectors_notice_a_jump_and_rest_without_one(rule: Rule) -> None:
    calm, jump = stream(*[0.0] * 1_000), stream(*[0.0] * 500, *[1.0] * 500)
    assert rule(calm).tolist() == [NEVER]
    assert 500 < rule(jump)[0] <= 600


def test_spells_have_their_risk_on_average() -> None:
    assert spells(np.random.default_rng(1), 400, 500, 0.05, 10).mean() == pytest.approx(0.05, abs=0.005)


def test_wilson_is_scipys() -> None:
    low, high = wilson_ends(7, 90)
    expected = binomtest(7, 90).proportion_ci(method="wilson")
    assert (low, high) == (pytest.approx(expected.low, abs=1e-4), pytest.approx(expected.high, abs=1e-4))
