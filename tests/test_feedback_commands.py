"""`tutelage feedback` as a process, on a folder that no server holds."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tutelage import config
from tutelage.proxy.options import ControlOptions, from_environment, to_environment
from tutelage.traffic.errors import BadInput
from tutelage.traffic.outcome_rules import OutcomeRules


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tutelage", "feedback", *arguments]
    environment = os.environ | {"NO_COLOR": "1"}
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=environment, timeout=120)


def read(*arguments: str, cwd: Path) -> Any:
    done = run(*arguments, "--json", cwd=cwd)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_what_is_added_is_listed_with_its_type(tmp_path: Path) -> None:
    for text, value in (("true", True), ("0.5", 0.5), ("fine", "fine"), ("null", "null")):
        made = read("add", "success", text, "--trajectory", "run 1", "--comment", "why", cwd=tmp_path)
        assert (made["value"], made["added"]) == (value, True)
    rows = read("list", "--metric", "success", cwd=tmp_path)
    assert [row["value"] for row in rows] == ["null", "fine", 0.5, True]
    assert {(row["source"], row["state"], row["target"]) for row in rows} == {("cli", "waiting", "run 1")}
    table = run("list", cwd=tmp_path)
    assert table.returncode == 0
    assert "metric" in table.stdout
    assert read("verifiers", cwd=tmp_path) == []


def test_mistakes_are_one_clear_line(tmp_path: Path) -> None:
    for arguments, words in (
        (("add", "success", "true"), "exactly one of call_id, trajectory, last_of"),
        (("add", "success", "true", "--call", "c", "--last-of", "r"), "call_id and last_of came"),
        (("add", "success", "true", "--call", "c", "--source", "verifier:x"), "verifiers'"),
    ):
        done = run(*arguments, cwd=tmp_path)
        assert done.returncode == 1
        assert done.stderr.startswith("error:")
        assert words in " ".join(done.stderr.split())
        assert "Traceback" not in done.stderr


SETTINGS = """
verifiers = ["my_checks:good", "my_checks:better"]

[control]
verifier_limit_s = 3.5

[outcomes]
success_metrics = ["success", "stars"]
thresholds = { stars = 4 }
sources = ["verifier", "feedback"]
"""


def test_the_settings_reach_the_control_plane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "tutelage.toml"
    file.write_text(SETTINGS)
    options = config.load(file).control()
    monkeypatch.setenv("TUTELAGE_OPTIONS", to_environment(options)["TUTELAGE_OPTIONS"])
    assert from_environment(ControlOptions) == options
    assert (options.verifiers, options.verifier_limit_s) == (("my_checks:good", "my_checks:better"), 3.5)
    assert options.outcomes == OutcomeRules(("success", "stars"), {"stars": 4.0}, 0.5, ("verifier", "feedback"))
    assert ControlOptions(data="", teacher_url="").outcomes is None  # a command without them: as the last time
    file.write_text("[outcomes]\nmetrics = []")
    with pytest.raises(BadInput, match=r"outcomes\.metrics.*success_metrics"):
        config.load(file).control()
