"""The serving benchmark on a tiny model: figures of the engine that it names, bars that are ratios."""

from pathlib import Path
from typing import Any

import pytest

from tutelage.benchmarks.serving import bars_of, copies_of, main, measure, measured, prompts_of, write_adapter
from tutelage.benchmarks.serving_engine import Task
from tutelage.serving import bases

SYSTEM = "You are the voice of a house.\nAnswer in plain words.\nCurrent time is {}.\nIts devices:\n{}"
TOOL = {"type": "function", "function": {"name": "turn_on", "parameters": {"type": "object", "properties": {}}}}


def run_of(number: int) -> dict[str, Any]:
    devices = "\n".join(f"- lamp {number + at}" for at in range(3))
    call = {"id": "c", "type": "function", "function": {"name": "turn_on", "arguments": "{}"}}
    messages = [
        {"role": "system", "content": SYSTEM.format(f"12:{number % 60:02}:00", devices)},
        {"role": "user", "content": f"lamp {number}"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
    ]
    meta = {"home": f"home {number % 4}"}
    calls = [{"i": 2}]
    run = {"trajectory_id": str(number), "task_id": "t", "domain": "house", "meta": meta, "calls": calls}
    return {**run, "tools": [TOOL], "messages": messages}


def test_prompts_of_all_homes_full_and_internalised() -> None:
    full, internalised, body = prompts_of([run_of(number) for number in range(60)], 6)
    assert len(full) == len(internalised) == 6
    assert body["tools"] == [TOOL]
    assert len({"".join(one) for one in full}) == 6
    assert "turn_on" in "".join(full[0])
    assert "voice of a house" in "".join(full[0])
    assert "voice of a house" not in "".join(internalised[0])
    assert "lamp 0" in "".join(internalised[0])


@pytest.mark.parametrize("kind", ["llama", "torch"])
def test_an_engine_is_measured_in_a_process_of_its_own(
    kind: str, tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUTELAGE_MODELS", str(tmp_path / "models"))
    weights = str(tiny_gguf if kind == "llama" else bases.hf_folder(bases.resolve(str(tiny_gguf))))
    folder = write_adapter(tmp_path / "student", tiny_gguf, 1)
    prompts = [[1, *range(40, 80)], [1, *range(50, 90)]]
    files = copies_of(folder, 2)
    found = measured(Task(kind, weights, files, prompts, [p[:20] for p in prompts], prompts, "", 4, [1, 2], 1))
    assert found["first"]["full"]["prompt_tokens"] == 41
    assert found["first"]["internalised"]["prompt_tokens"] == 20
    assert 0 < found["decode"]["2"]["written"] <= 8
    assert found["decode"]["1"]["per_cpu_s"] > 0
    assert found["calls"]["2"]["per_s"] > 0
    assert {"free_cpu_s", "held_cpu_s", "slower"} == set(found["constraint"])
    assert found["memory_mb"] > 10
    loads: dict[str, Any] = {"parts": ["turns"], "loads": [(4, 1)]}
    [told] = measured(Task(kind, weights, files, [], [], prompts, "", 4, [2], 1, slots=2, **loads))["turns"].values()
    assert min(told["one_cpu_s"], told["turns_cpu_s"], told["mixed_cpu_s"]) > 0


def test_the_bars_are_ratios_of_the_figures() -> None:
    def decode(*speeds: float) -> list[dict[str, Any]]:
        return [{"per_cpu_s": speed} for speed in speeds]

    first = {"full": {"first_token_cpu_s": 6.0}, "internalised": {"first_token_cpu_s": 1.0}}
    raw = {
        "llama": {"first": first, "constraint": {"slower": 0.2}},
        "llama at 8": decode(40.0, 20.0, 80.0),
        "llama 16": {"turns": {"128 x 1": {"slower": 0.05}, "32 x 4": {"slower": 0.2}}},
        "llama 16 loaded at 8": decode(38.0, 19.0, 80.0),
        "generate at 8": decode(10.0, 5.0, 40.0),
    }
    found = [(round(bar.value, 6), bar.ok) for bar in bars_of(raw)]
    assert found == [(4.0, True), (0.2, False), (0.05, True), (0.05, True), (0.2, False), (6.0, True)]
    other = {
        "torch": {"first": first, "constraint": {"slower": 0.01}},
        "torch at 8": decode(20.0, 10.0, 80.0),
        "torch 16": {"turns": {"128 x 1": {"slower": 0.5, "mixed_slower": 0.1}}},
        "torch 16 loaded at 8": decode(20.0, 10.0, 80.0),
    }
    found = [(bar.name.split(":")[0], round(bar.value, 6), bar.ok) for bar in bars_of({**raw, **other})]
    assert found[:5] == [
        ("torch", 2.0, False),
        ("torch", 0.01, True),
        ("torch", 0.0, True),
        ("torch", 0.1, True),
        ("torch", 6.0, True),
    ]
    assert {engine for engine, _, _ in found[5:]} == {"llama"}


def test_what_is_compared_between_processes_is_measured_in_turns() -> None:
    asked: list[str] = []

    def ask(task: Any) -> dict[str, Any]:
        asked.append(task)
        return {"decode": {"8": {"per_cpu_s": float(len(asked))}}, "memory_mb": 5.0}

    tasks: Any = {"torch": "torch", "torch at 8": "t", "generate 1": "one", "generate at 8": "g"}
    raw = measure(tasks, 2, ask)
    assert asked == ["torch", "one", "t", "g", "t", "g"]
    assert [one["per_cpu_s"] for one in raw["generate at 8"]] == [4.0, 6.0]
    assert raw["generate 1"]["memory_mb"] == 5.0


def test_it_says_where_it_looked_for_traffic(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(tmp_path)]) == 2
    assert str(tmp_path) in capsys.readouterr().out
