"""The journal's benchmark: it runs, loses nothing, and its figures are what it says."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_quick_run_reads_back_what_it_wrote(tmp_path: Path) -> None:
    file = tmp_path / "journal.json"
    command = [sys.executable, "-m", "benchmarks.journal", "--quick", "--seed", "3", "--json", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    result = json.loads(file.read_text()) if file.exists() else {}
    assert result, done.stdout + done.stderr
    # Speed depends on what else the machine does; what was read back does not.
    bars = {bar["name"]: bar for bar in result["bars"]}
    assert bars["records missing or changed"]["value"] == 0
    assert all(
        bar["value"] > 0 for name, bar in bars.items() if name.startswith(("written", "read")) and "miss" not in name
    )
    raw = result["raw"]
    assert [len(raw[sync]) for sync in ("interval", "always", "os")] == [2, 2, 2]
    for name in ("back to back", "back to back, syncing", "at 2,000/s", "at 2,000/s, syncing"):
        timed = raw[name]
        assert (timed["records"], timed["record_bytes"]) == (1000, 5000)
        assert 0 < timed["p50_us"] <= timed["p99_us"] <= timed["max_us"]
        assert bars[f"append {name}, p99"]["value"] == timed["p99_us"]
    assert done.returncode == (0 if all(bar["ok"] for bar in result["bars"]) else 1)
