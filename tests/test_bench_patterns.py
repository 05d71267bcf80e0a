"""The patterns' benchmark on a little made-up traffic: it runs, and its figures are what was put in."""

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
HOME = (
    "Current time is 0{}:15:00.\nYou run a home.\nThe devices in this smart home:\n- names: Lamp {}\n  domain: light\n"
)
SHOP = "You serve a shop.\nFollow the policy of the shop.\nNever promise a refund to anyone.\nAsk before you order."


def run_of(number: int, prompt: str, tool: str) -> dict[str, Any]:
    messages = [
        {"role": "system", "content": prompt},
        {"role": "user", "content": f"question {number}"},
        {"role": "assistant", "content": "answer"},
    ]
    tools = [{"type": "function", "function": {"name": tool, "parameters": {"type": "object"}}}]
    meta = {"home": f"home {number % 2}"}
    return {"domain": tool, "meta": meta, "tools": tools, "messages": messages, "calls": [{"i": 2}]}


def test_it_measures_what_it_says(tmp_path: Path) -> None:
    for name in ("ha_device_actions", "ha_assist", "tau", "agentdojo"):
        prompts = [HOME.format(number % 10, number) if name.startswith("ha_") else SHOP for number in range(40)]
        lines = [json.dumps(run_of(number, prompt, name)) for number, prompt in enumerate(prompts)]
        (tmp_path / f"{name}.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    file = tmp_path / "patterns.json"
    command = [sys.executable, "-m", "benchmarks.patterns", "--quick", "--data", str(tmp_path), "--json", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    result = json.loads(file.read_text()) if file.exists() else {}
    assert result, done.stdout + done.stderr
    homes = result["raw"]["ha_device_actions"]
    assert (homes["calls"], homes["labels"], homes["patterns"]) == (40, 1, 1)
    assert (homes["purity"], homes["completeness"], homes["purity_by_home"]) == (1, 1, 0.5)
    assert all(bar["ok"] for bar in result["bars"] if bar["unit"] != "µs"), result["bars"]


def test_it_says_where_it_looked_for_traffic(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.patterns", "--data", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert str(tmp_path) in done.stdout
