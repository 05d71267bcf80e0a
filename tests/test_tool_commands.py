"""`tutelage tools …` on a data folder without a running server."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tutelage.cli import app
from tutelage.traffic.errors import BadInput, UnknownName


@pytest.fixture
def run(control_world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs one command; the folder holds one pattern with the tool `set_status`."""
    world = control_world
    world.play(12)
    pattern = world.pattern
    world.plane.close()
    monkeypatch.chdir(tmp_path)

    def command(*words: str) -> Result:
        words = tuple(pattern if word == "PATTERN" else word for word in words)
        return CliRunner().invoke(app, ["tools", *words, "--data", str(world.data.root)], env={"COLUMNS": "300"})

    yield command
    world.plane = world.open()


def read(done: Result) -> Any:
    assert done.exit_code == 0, done.exception
    return json.loads(done.stdout)


def test_a_rule_is_set_in_parts_shown_with_its_history_and_given_back(run: Any) -> None:
    [row] = read(run("list", "PATTERN", "--json"))
    assert (row["tool"], row["kind"], row["source"]) == ("set_status", "write", "guess")
    run("set", "PATTERN", "set_status", "--free-text", "status, parcel", "--who", "ann")
    [row] = read(run("set", "PATTERN", "set_status", "--kind", "read-only", "--free-text", "status", "--json"))
    assert (row["kind"], row["free_text"], row["source"]) == ("read-only", ["status"], "person")
    [row] = read(run("set", "PATTERN", "set_status", "--ignore", "parcel", "--reason", "a copy", "--json"))
    assert (row["kind"], row["free_text"], row["ignore"]) == ("read-only", ["status"], ["parcel"])
    shown = read(run("show", "PATTERN", "set_status", "--json"))
    assert [one["reason"] for one in shown["history"] if one["source"] == "person"] == ["a copy", "", ""]
    assert "read-only" in run("show", "PATTERN", "set_status").stdout
    [row] = read(run("set", "PATTERN", "set_status", "--reset", "--json"))
    assert (row["kind"], row["source"]) == ("write", "guess")
    assert "set_status" in run("guess", "PATTERN").stdout
    assert read(run("recompare", "PATTERN", "--json")) == {"pairs": 0, "changed": 0}


def test_settings_hold_for_a_tool_of_that_name(run: Any) -> None:
    Path("tutelage.toml").write_text('[tools.set_status]\nkind = "read-only"\nfree_text = ["status"]\n')
    [row] = read(run("list", "PATTERN", "--json"))
    assert (row["kind"], row["source"], row["reason"]) == ("read-only", "settings", "[tools.set_status]")


@pytest.mark.parametrize(
    ("words", "kind", "text"),
    [
        (("set", "PATTERN", "fly", "--kind", "write"), BadInput, "no tool 'fly'"),
        (("set", "PATTERN", "set_status", "--kind", "reads"), BadInput, "kind"),
        (("set", "PATTERN", "set_status", "--ignore", "x"), BadInput, "no parameter 'x'"),
        (("show", "PATTERN", "fly"), UnknownName, "Its tools: set_status"),
        (("list", "nothing"), UnknownName, "no pattern"),
    ],
)
def test_mistakes_are_explained(run: Any, words: tuple[str, ...], kind: type[Exception], text: str) -> None:
    done = run(*words)
    assert isinstance(done.exception, kind)
    assert text in str(done.exception)


def test_a_setting_of_the_wrong_form_is_named(run: Any) -> None:
    Path("tutelage.toml").write_text("[tools.set_status]\nreads = true\n")
    assert "tools.set_status.reads" in str(run("list", "PATTERN").exception)
