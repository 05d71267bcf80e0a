"""`tutelage pairs …` and `tutelage judge …` on a data folder without a running server."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tutelage.cli import app
from tutelage.proxy.shadow import Label
from tutelage.traffic.errors import BadInput, UnknownName


@pytest.fixture
def run(control_world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs one command; the folder holds two pairs, one of them unsure."""
    world = control_world
    world.play(40)
    world.add_student()
    world.play(2)
    for task, reason in zip(world.plane.keeper.tasks("shadow", 9), ("unsure", "same"), strict=True):
        said = {"role": "assistant", "content": "Nothing to do."}
        world.plane.keeper.deliver(Label(task, float(reason != "same"), reason, 2, said, world.now, 5.0))
    world.plane.catch_up()
    world.plane.close()
    monkeypatch.chdir(tmp_path)

    def command(*words: str) -> Result:
        return CliRunner().invoke(app, [*words, "--data", str(world.data.root)], env={"COLUMNS": "300"})

    yield command
    world.plane = world.open()


def read(done: Result) -> Any:
    assert done.exit_code == 0, done.exception
    return json.loads(done.stdout)


def test_a_pair_is_found_looked_at_and_decided(run: Any) -> None:
    assert len(read(run("pairs", "list", "--only", "all", "--json"))) == 2
    [row] = read(run("pairs", "list", "--json"))
    shown = run("pairs", "show", row["pair_id"])
    assert shown.exit_code == 0, shown.exception
    for words in ("user: Parcel P000", "decided by rules", "set_status", "Nothing to do."):
        assert words in shown.stdout
    after = read(run("pairs", "judge", row["pair_id"], "accept", "--note", "fine", "--who", "ann", "--json"))
    assert (after["loss"], after["decided_by"]) == (0.0, "human")
    assert read(run("pairs", "list", "--json")) == []
    verdicts = read(run("pairs", "show", row["pair_id"], "--json"))["verdicts"]
    assert [(one["source"], one["who"]) for one in verdicts] == [("rules", "comparator 2"), ("human", "ann")]
    assert read(run("pairs", "reviews", "--json")) == []


def test_the_judge_is_shown_with_its_settings(run: Any) -> None:
    assert read(run("judge", "show", "--json"))["url"] == ""
    Path("tutelage.toml").write_text('[judge]\nurl = "http://127.0.0.1:9/v1"\nmodel = "judge-1"\n')
    found = read(run("judge", "show", "--json"))
    assert (found["model"], found["queue"]) == ("judge-1", 1)
    assert "judge-1" in run("judge", "show").stdout
    assert read(run("judge", "noise", "--json")) == []


@pytest.mark.parametrize(
    ("words", "kind", "text"),
    [
        (("pairs", "list", "--only", "odd"), BadInput, "disagree"),
        (("pairs", "show", "x"), UnknownName, "no pair"),
        (("pairs", "judge", "x", "accept"), UnknownName, "no pair"),
        (("judge", "show", "none"), UnknownName, "no pattern"),
    ],
)
def test_mistakes_are_explained(run: Any, words: tuple[str, ...], kind: type[Exception], text: str) -> None:
    done = run(*words)
    assert isinstance(done.exception, kind)
    assert text in str(done.exception)
