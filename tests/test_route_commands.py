"""`tutelage routes …` on a data folder without a running server."""

import json
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest
from typer.testing import CliRunner, Result

from tutelage.cli import app
from tutelage.traffic.errors import BadInput


class Shell:
    """Runs commands on one data folder."""

    def __init__(self, data: Path, pattern: str, version: str) -> None:
        self.data, self.pattern, self.version = data, pattern, version

    def run(self, *words: str) -> Result:
        return CliRunner().invoke(app, ["routes", *words, "--data", str(self.data)], env={"COLUMNS": "400"})

    def text(self, *words: str) -> str:
        done = self.run(*words)
        assert done.exit_code == 0, done.exception
        return done.stdout

    def json(self, *words: str) -> Any:
        return json.loads(self.text(*words, "--json"))


@pytest.fixture
def shell(control_world: Any) -> Shell:
    world = control_world
    world.play(40)
    world.add_student()
    world.play(10)
    world.label()
    world.plane.store.checkpoint()
    data = world.data.root.parent / "copy"
    shutil.copytree(world.data.root, data, ignore=shutil.ignore_patterns("control.lock"))
    return Shell(data, world.pattern, world.version)


def test_what_a_user_sees(shell: Shell) -> None:
    (row,) = shell.json("list")
    assert {"state", "sessions", "risk", "low", "high", "expected", "missing"} <= row.keys()
    text = shell.text("list")
    assert shell.pattern in text
    assert "more sessions in shadow if all agree" in text
    text = shell.text("explain", shell.pattern)
    assert "Changes, newest first" in text
    assert "student_registered" in text
    assert shell.json("explain", shell.pattern)["student"] == shell.version


def test_an_operators_words(shell: Shell) -> None:
    refused = shell.run("promote", shell.pattern)
    assert isinstance(refused.exception, BadInput)
    assert "--force" in str(refused.exception)
    assert shell.json("hold", shell.pattern)["states"] == {shell.pattern: "shadow"}
    assert shell.json("resume", shell.pattern)["states"] == {shell.pattern: "shadow"}
    done = shell.json("promote", shell.pattern, "--force", "--reason", "a demo", "--student", shell.version)
    assert done["forced"] == [shell.pattern]
    shell.text("pin", shell.pattern, shell.version)
    assert shell.json("list")[0]["pinned"]
    shell.text("unpin", shell.pattern)
    assert "allows a share of" in str(shell.run("share", shell.pattern, "40").exception)
    assert shell.json("share", shell.pattern, "40", "--force", "--reason", "a try")["forced"] == [shell.pattern]
    assert shell.json("list")[0]["share"] == 0.4
    assert shell.json("off", shell.pattern)["states"] == {shell.pattern: "off"}
    assert shell.json("on", shell.pattern)["states"] == {shell.pattern: "canary"}
    assert shell.json("demote", shell.pattern)["states"] == {shell.pattern: "quarantined"}
    assert shell.json("off", "all")["off"] is True
    assert shell.json("resume", "all")["off"] is False
    assert "cli" in shell.text("explain", shell.pattern)


def test_replay_proves_it_or_fails(shell: Shell) -> None:
    shell.text("promote", shell.pattern, "--force", "--reason", "a demo")
    assert shell.text("replay").startswith("equal: 1 student versions on patterns from ")
    with duckdb.connect(str(shell.data / "store.duckdb")) as store:
        store.execute("UPDATE route_events SET detail = replace(detail, 'a demo', 'a whim') WHERE kind = 'operator'")
    done = shell.run("replay", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["equal"] is False
    assert shell.run("replay").stdout.count("is not what was logged") == 1
