"""`tutelage students …` on a data folder without a running server."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner, Result

from tutelage.cli import app
from tutelage.traffic.errors import BadInput, UnknownName
from tutelage.traffic.layout import DataDir
from tutelage.traffic.students import LINEAGE, Manifest, PromptSpec, StudentRegister

SCORES = {"agreement": 0.9, "low": 0.8, "high": 0.95, "sessions": 40, "calls": 80, "floor": 0.5}


def manifest(version: str, created_at: float, **fields: Any) -> Manifest:
    values: dict[str, Any] = {
        "name": "desk",
        "status": "candidate",
        "agent_id": "a_1",
        "pattern_ids": ["p_1"],
        "base": "smollm2-135m",
        "base_digest": "0" * 12,
        "prompt": PromptSpec(),
        "snapshot_at": 0.5,
        "data_digest": "d",
        "sessions": {"train": 100, "held_out": 40},
        "config": {"rank": 8},
        "scores": SCORES,
    }
    return Manifest(version=version, created_at=created_at, **(values | fields))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = DataDir(tmp_path / "data").prepare()
    register = StudentRegister(root)
    for number in (1, 2):
        draft = tmp_path / f"draft{number}"
        draft.mkdir()
        row = {"row": "t1/0", "trajectory_id": "t1", "call_ids": [f"c{number}"]}
        (draft / LINEAGE).write_bytes(msgspec.json.encode(row) + b"\n")
        scores = SCORES | {"agreement": 0.9 + number / 100}
        register.publish(draft, manifest(f"desk@{number}", number, scores=scores, config={"rank": 8 * number}))
    return root.root


def run(data: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["students", *words, "--data", str(data)], env={"COLUMNS": "400"})


def told(data: Path, *words: str) -> Any:
    done = run(data, *words, "--json")
    assert done.exit_code == 0, done.exception
    return json.loads(done.stdout)


def test_versions_are_listed_with_their_interval(data: Path) -> None:
    text = run(data, "list").stdout
    assert "0.800 to 0.950, n = 40" in text
    assert "100 + 40" in text
    assert [one["version"] for one in told(data, "list")] == ["desk@1", "desk@2"]
    assert told(data, "show", "desk@1")["scores"]["agreement"] == 0.91


def test_two_versions_differ_where_they_differ(data: Path) -> None:
    rows = {row[""]: (row["desk@1"], row["desk@2"]) for row in told(data, "compare", "desk@1", "desk@2")}
    assert rows == {"config.rank": (8, 16), "scores.agreement": (0.91, 0.92)}
    assert told(data, "compare", "desk@1", "desk@1") == []


def test_lineage_deleting_and_retiring(data: Path) -> None:
    assert [one["version"] for one in told(data, "lineage", "t1")["versions"]] == ["desk@1", "desk@2"]
    assert "desk@2" in run(data, "lineage", "c2").stdout
    assert told(data, "retire", "desk@1", "--reason", "old")["status"] == "retired"
    refused = CliRunner().invoke(app, ["students", "delete", "desk@1", "--data", str(data)], input="n\n")
    assert refused.exit_code == 1
    assert told(data, "delete", "desk@1", "--yes") == {"deleted": "desk@1"}
    assert [one["version"] for one in told(data, "list")] == ["desk@2"]


def test_an_export_needs_one_form_and_a_version(data: Path, tmp_path: Path) -> None:
    assert isinstance(run(data, "export", "desk@1", str(tmp_path / "x")).exception, BadInput)
    assert isinstance(run(data, "export", "desk@9", str(tmp_path / "x"), "--gguf").exception, UnknownName)
    assert not (tmp_path / "x").exists()
