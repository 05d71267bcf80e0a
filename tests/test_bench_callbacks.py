"""The benchmark of the callback handler: it runs, times every kind of callback, and its figures are what it says."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_quick_run_times_every_callback(tmp_path: Path) -> None:
    file = tmp_path / "callbacks.json"
    command = [sys.executable, "-m", "benchmarks.callbacks", "--quick", "--json", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    result = json.loads(file.read_text()) if file.exists() else {}
    assert result, done.stdout + done.stderr
    bars = {bar["name"]: bar for bar in result["bars"]}
    raw = result["raw"]
    kinds = ("chain_start", "chain_end", "chat_model_start", "llm_new_token", "llm_end", "tool_start", "tool_end")
    for kind in kinds:
        cost = raw["named"][f"on_{kind}"]
        # Two answers, one tool, and a run of each is a hundred.
        assert cost["events"] == {"tool": 100, "llm": 200, "chat": 200}.get(kind.partition("_")[0], cost["events"])
        assert 0 < cost["p50"] <= cost["p99"]
        assert bars[f"on_{kind}, mean"]["value"] == cost["mean"]
    assert set(raw["recording"]) == set(raw["named"])
    assert all(value > 0 for value in raw["ms of CPU per run"].values())
    assert done.returncode == (0 if all(bar["ok"] for bar in result["bars"]) else 1)
