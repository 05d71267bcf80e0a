"""The gate's benchmark: what it promises holds, and the rules it is compared with are what they say."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_quick_run_meets_its_bars(tmp_path: Path) -> None:
    file = tmp_path / "gate.json"
    command = [sys.executable, "-m", "benchmarks.gate", "--quick", "--json", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "false promotions" in done.stdout
    rows = {(row["part"], row["rule"], row["case"]): row for row in json.loads(file.read_text())["raw"]["rows"]}
    assert rows["labels to promote", "gate", "risk 0 ε"]["value"] == 78
    at_limit = {rule: rows["false promotions", rule, "risk 1 ε"]["value"] for rule in ("gate", "Wilson", "z-test")}
    assert at_limit["gate"] < at_limit["Wilson"] < at_limit["z-test"]
    assert rows["false promotions", "gate", "risk ε, 8 correlated turns, turns counted"]["value"] > 0.28
    assert 18 <= rows["labels to demote", "guard", "jump to 0.30"]["value"] <= 25
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows.values() if row["value"] is not None)
