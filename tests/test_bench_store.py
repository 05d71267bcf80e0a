"""The store's benchmark on a little made-up traffic: it runs, and its figures are what was put in."""

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tutelage.traffic.store import Store

ROOT = Path(__file__).parent.parent
SETS = ("tau", "agentdojo", "ha_assist")


def run_of(number: int) -> dict[str, Any]:
    messages: list[dict[str, Any]] = [{"role": "system", "content": "You serve a shop. " * 40}]
    for turn in range(4):
        messages += [
            {"role": "user", "content": f"question {number} {turn}"},
            {"role": "assistant", "content": f"answer {number} {turn}"},
        ]
    calls = [{"i": at, "usage": [100, 5]} for at in (2, 4, 6, 8)]
    return {"trajectory_id": f"t{number}", "messages": messages, "tools": [], "calls": calls}


def test_it_measures_what_it_says(tmp_path: Path) -> None:
    for name in SETS:
        with gzip.open(tmp_path / f"{name}.jsonl.gz", "wt") as file:
            file.writelines(json.dumps(run_of(number)) + "\n" for number in range(80))
    results = tmp_path / "results.json"
    command = [sys.executable, "-m", "benchmarks.store", "--quick", "--data", str(tmp_path), "--json", str(results)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    raw = json.loads(results.read_text())["raw"]
    for name in SETS:
        found = raw[name]
        assert (found["calls"], found["wrong"]) == (60 * 4, 0)
        assert found["json_bytes"] > found["gzip_bytes"] > 0
        rates = ("calls_per_cpu_s", "streamed_per_cpu_s", "in_turn_per_cpu_s", "in_bursts_per_cpu_s")
        assert min(found[name] for name in (*rates, "store_bytes")) > 0


def test_a_store_that_is_grown_is_measured_in_a_copy(tmp_path: Path) -> None:
    for name in SETS:
        with gzip.open(tmp_path / f"{name}.jsonl.gz", "wt") as file:
            file.writelines(json.dumps(run_of(number)) + "\n" for number in range(5))
    grown, results = tmp_path / "grown" / "store.duckdb", tmp_path / "results.json"
    grown.parent.mkdir()
    Store(grown).close()
    content = grown.read_bytes()
    arguments = ["--quick", "--data", str(tmp_path), "--into", str(grown), "--json", str(results)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.store", *arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode in (0, 1), done.stderr
    found = [json.loads(results.read_text())["raw"][name]["into"] for name in SETS]
    assert [one["calls_before"] for one in found] == [0, 20, 40]
    assert min(one["calls_per_cpu_s"] for one in found) > 0
    assert (grown.read_bytes(), list(grown.parent.iterdir())) == (content, [grown])


def test_without_the_data_it_says_where_it_looked(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.store", "--data", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, str(tmp_path) in done.stdout) == (2, True)
