"""The trajectories' benchmark: its counting on made-up runs, and its bars on the recorded ones where they are."""

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tutelage.benchmarks.trajectories import Pairs, compare

ROOT = Path(__file__).parent.parent
RECORDED = ROOT.parent / "shared" / "data" / "dev"


def bench(data: Path, file: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.trajectories", "--data", str(data), "--json", str(file), *more]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500)


def test_pairs_are_counted_for_the_runs_that_count() -> None:
    recorded = {"a1": 0, "a2": 0, "a3": 0, "b1": 1, "b2": 1, "c1": 2}
    right = {call: call[0] for call in recorded}
    assert compare(recorded, right, lambda run: True) == Pairs(4, 4, 4)
    mixed = right | {"a3": "b"}  # a run is cut, and another gets what was cut off
    assert compare(recorded, mixed, lambda run: True) == Pairs(2, 4, 4)
    assert compare(recorded, mixed, lambda run: run == 0) == Pairs(1, 3, 3)
    assert compare(recorded, mixed, lambda run: run == 1) == Pairs(1, 3, 1)
    assert compare(recorded, mixed, lambda run: run == 2) == Pairs(0, 0, 0)
    assert Pairs(1, 2, 4).precision == 0.5
    assert Pairs(1, 2, 4).recall == 0.25


def run_of(number: int) -> dict[str, Any]:
    # Runs 0 to 9 open alike; 0 and 1 are equal to the end.
    same = 0 if number == 1 else number
    messages: list[dict[str, Any]] = [{"role": "user", "content": "hi" if number < 10 else f"hi {number}"}]
    for turn in range(3):
        messages += [{"role": "assistant", "content": f"{same} {turn}"}, {"role": "user", "content": "on"}]
    return {"trajectory_id": f"t{number}", "messages": messages, "calls": [{"i": 1}, {"i": 3}, {"i": 5}]}


def test_it_measures_what_it_says(tmp_path: Path) -> None:
    for name in ("tau", "agentdojo", "ha_assist"):
        with gzip.open(tmp_path / f"{name}.jsonl.gz", "wt") as file:
            file.writelines(json.dumps(run_of(number)) + "\n" for number in range(40))
    done = bench(tmp_path, tmp_path / "results.json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "results.json").read_text())["raw"]["tau"]
    assert (found["runs"], found["calls"], found["trajectories"], found["equal_to_the_end"]) == (40, 120, 40, 2)
    assert found["alone"] == {"runs": 30, "pairs": 90, "precision": 1.0, "recall": 1.0}
    assert found["distinct"] == {"runs": 38, "pairs": 114, "precision": 1.0, "recall": 1.0}
    assert (found["all"]["runs"], found["all"]["pairs"]) == (40, 120)


def test_it_says_where_it_looked_for_traffic(tmp_path: Path) -> None:
    done = bench(tmp_path, tmp_path / "results.json")
    assert (done.returncode, str(tmp_path) in done.stdout) == (2, True)


@pytest.mark.slow
@pytest.mark.skipif(not RECORDED.is_dir(), reason=f"no recorded traffic in {RECORDED}")
def test_recorded_runs_are_found_again(tmp_path: Path) -> None:
    done = bench(RECORDED, tmp_path / "results.json")
    assert done.returncode == 0, done.stdout + done.stderr
