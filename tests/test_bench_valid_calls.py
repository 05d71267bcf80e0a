"""The benchmark of valid calls: its judgement on made-up answers, and its bars for a random model."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from data_sets import FOLDER

from tutelage.benchmarks.valid_calls import Question, judged, measure

ROOT = Path(__file__).parent.parent
TOOL = {
    "type": "function",
    "function": {"name": "f", "parameters": {"type": "object", "properties": {"n": {"type": "integer", "maximum": 9}}}},
}


def answer(name: str, arguments: Any) -> dict[str, Any]:
    return {"tool_calls": [{"function": {"name": name, "arguments": json.dumps(arguments)}}]}


@pytest.mark.parametrize(
    ("message", "verdict"),
    [
        (answer("f", {"n": 3}), "valid"),
        (answer("f", {"n": 30}), "invalid: arguments of f"),
        (answer("f", [3]), "invalid: arguments of f"),
        (answer("g", {}), "invalid: unknown tool"),
        ({"content": "no"}, "invalid: no call"),
    ],
)
def test_the_judgement(message: dict[str, Any], verdict: str) -> None:
    assert judged(message, [TOOL]) == verdict


def test_what_cannot_be_is_refused_and_counted_apart(tiny_gguf: Path) -> None:
    nothing = {
        "type": "function",
        "function": {"name": "g", "parameters": {"properties": {"x": False}, "required": ["x"]}},
    }
    raw = measure(str(tiny_gguf), [Question("made up", [TOOL], "Hello"), Question("made up", [nothing], "Hello")])
    assert (raw["sets"], raw["valid"], raw["refused"], raw["rate"]) == (2, 1, 1, 1.0)
    assert "refused: g.x: nothing fits it" in raw["outcomes"]


def test_a_random_model_makes_valid_calls_of_recorded_tools(tiny_gguf: Path, tmp_path: Path) -> None:
    if not (FOLDER / "bfcl.jsonl.gz").is_file():
        pytest.skip("needs the recorded traffic bfcl.jsonl.gz (docs/recorded-traffic.md), which is not here")
    file = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks.valid_calls", "--quick", "--base", str(tiny_gguf), "--json", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500)
    raw = json.loads(file.read_text())["raw"]
    assert raw["sets"] == 20
    invalid = {outcome for outcome in raw["outcomes"] if outcome.startswith("invalid")}
    assert invalid <= {"invalid: length"}, raw["outcomes"]  # a random model may never close its lists
    assert raw["valid"] > 0
    assert done.returncode == (1 if raw["rate"] < 1 or raw["refused"] else 0), done.stderr
