"""The benchmarks of scrubbing and of hijacked sessions: small runs, and what they are made of."""

import json
from pathlib import Path

import pytest

from tutelage.benchmarks import hijack, scrub
from tutelage.benchmarks.scrub_world import DECOYS, TOOLS, conversation, values_of
from tutelage.traffic.actions import action_of, validate_action

DATA = Path(hijack.__file__).parent.parent.parent / "shared" / "data" / "dev"


def test_the_world_is_seeded_and_its_calls_are_valid() -> None:
    assert values_of(3, 1) == values_of(3, 1) != values_of(3, 2)
    values = values_of(0, 1)
    assert len([name for name in values if name.isupper()]) == 16
    assert set(DECOYS) < set(values)
    for style in range(36):
        for message in conversation(values, style):
            if message.get("tool_calls"):
                assert not validate_action(action_of(message), TOOLS)


def test_a_small_run_finds_everything_and_keeps_the_rest() -> None:
    figures = scrub.quality(18, 5)
    listed = {kind: value for kind, value in figures["recall"].items() if not kind.endswith("unlisted")}
    assert len(listed) >= 15
    assert min(listed.values()) >= 0.95
    assert figures["precision"] >= 0.97
    assert figures["survive"] >= 0.98
    assert figures["json"] == figures["consistency"] == 1.0
    assert scrub.equality(5, 5) == {"equal": 1.0, "different": 1.0}


@pytest.mark.skipif(not (DATA / "agentdojo_attacked.jsonl.gz").is_file(), reason="needs the recorded AgentDojo runs")
def test_hijacked_runs_are_caught(tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    assert hijack.main(["--quick", "--data", str(DATA), "--json", str(file)]) == 0
    assert len(json.loads(file.read_text())["bars"]) == 3


def test_without_the_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert hijack.main(["--data", str(tmp_path)]) == 2
    assert "--data" in capsys.readouterr().out
