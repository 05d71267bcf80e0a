"""`tutelage patterns …` on a data folder without a running server."""

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner, Result

from tutelage.cli import app
from tutelage.traffic.errors import BadInput, TutelageError, UnknownName


class Shell:
    """Runs commands on one data folder."""

    def __init__(self, data: Path, pattern: str) -> None:
        self.data, self.pattern = data, pattern

    def run(self, *words: str) -> Result:
        # As wide as a table may be, for a wrapped word is not found.
        return CliRunner().invoke(app, ["patterns", *words, "--data", str(self.data)], env={"COLUMNS": "300"})

    def text(self, *words: str) -> str:
        done = self.run(*words)
        assert done.exit_code == 0, done.exception
        return done.stdout

    def json(self, *words: str) -> Any:
        return json.loads(self.text(*words, "--json"))

    def refused(self, kind: type[TutelageError], *words: str) -> str:
        done = self.run(*words)
        assert isinstance(done.exception, kind)
        return str(done.exception)


@pytest.fixture
def shell(control_world: Any, make_call: Any) -> Shell:
    from tutelage.traffic.records import encode

    world = control_world
    world.play(12)
    pattern = world.pattern
    for number in range(12):
        world.now += 1.0
        model = b"small" if number % 4 else b"big"
        rule = "Be quick." if number % 3 else "Be kind."
        said = [
            {"role": "system", "content": f"You wait tables.\n{rule}"},
            {"role": "user", "content": f"Table {number}"},
        ]
        answer = {"role": "assistant", "content": "At once."}
        record = make_call(said, answer, started_at=world.now, hint="waiter", route="teacher")
        asked = record.request.replace(b"teacher-1", model)
        assert world.writer.append(encode(msgspec.structs.replace(record, request=asked)))
    world.plane.catch_up()
    world.plane.store.checkpoint()
    data = world.data.root.parent / "copy"
    shutil.copytree(world.data.root, data, ignore=shutil.ignore_patterns("control.lock"))
    return Shell(data, pattern)


def test_show_tells_what_a_pattern_is(shell: Shell) -> None:
    text = shell.text("show", shell.pattern)
    assert f"user turns  ({shell.pattern}, agent a_" in text
    assert "You work at a parcel desk." in text
    assert "set_status(parcel, status)" in text
    assert "> Parcel P00012 has left." in text
    assert "spent unknown (no price)" in text
    row = shell.json("show", shell.pattern)
    assert {"calls", "route", "entry", "skeleton", "tools", "examples", "days", "made_of", "replaced_by"} <= set(row)
    assert row["calls"] == 12


def test_edits_and_their_undo(shell: Shell) -> None:
    before = shell.json("list")
    assert shell.json("rename", shell.pattern, "desk")["kind"] == "rename"
    assert {row["name"] for row in shell.json("list")} == {"desk", "waiter"}
    merged = shell.json("merge", "desk", "waiter")["made"]
    assert len(merged) == 1
    assert "Made of" in shell.text("show", merged[0])
    assert f"its calls go to {merged[0]}" in shell.text("show", shell.pattern)
    text = shell.text("split", merged[0])
    assert "You wait tables." in text
    made = shell.json("split", merged[0], "--by", "line", "--value", "You wait tables.", "--name", "waiters")["made"]
    assert len(made) == 2
    assert [row["kind"] for row in shell.json("history")] == ["split", "merge", "rename"]
    for _ in range(3):
        assert shell.json("undo")["kind"] == "undo"
    known = {row["pattern_id"] for row in before}
    assert [row for row in shell.json("list") if row["pattern_id"] in known] == before
    assert "no edit to undo" in shell.refused(BadInput, "undo")
    assert shell.text("history").count("undo") == 3


def test_a_split_by_model_can_be_undone(shell: Shell) -> None:
    assert ("model", "big", 3, 12) in {tuple(row.values()) for row in shell.json("split", "waiter")}
    before = shell.json("list")
    done = shell.json("split", "waiter", "--by", "model", "--value", "big")
    assert (done["kind"], done["detail"]["by"], len(done["made"])) == ("split", "model", 2)
    assert {row["name"] for row in shell.json("list") if row["pattern_id"] in done["made"]} == {"waiter"}
    shell.json("undo")
    assert [row for row in shell.json("list") if row["pattern_id"] not in done["made"]] == before
    assert "'big' (3 of 12 calls)" in shell.refused(BadInput, "split", "waiter", "--by", "model", "--value", "huge")


def test_the_graph_in_three_forms(shell: Shell) -> None:
    text = shell.text("graph", shell.pattern)
    assert "12 steps in 12 runs" in text
    assert "100% of 12 (76–100): set_status" in text
    graph = shell.json("graph", shell.pattern, "--limit", "5")
    assert (graph["runs"], graph["nodes"][0]["action"]) == (5, "set_status")
    dot = shell.text("graph", shell.pattern, "--dot")
    assert dot.startswith("digraph steps {")
    assert '"set_status" -> "(end)"' in dot


def test_opportunities_have_their_n(shell: Shell) -> None:
    found = shell.json("opportunities", "--days", "3650")
    assert found["ranked_by"] == "tokens"
    rows = {row["name"]: row for row in found["opportunities"]}
    assert [row["repetitive"]["n"] for row in rows.values()] == [6, 6]
    waiter = rows["waiter"]
    assert (waiter["repetitive"]["count"], waiter["dollars_saved"]) == (6, None)
    assert "100% of 6 (61–100)" in shell.text("opportunities", "--days", "3650")


def test_mistakes_are_named(shell: Shell) -> None:
    assert "no pattern 'p_none'" in shell.refused(UnknownName, "show", "p_none")
    assert "Expected a pattern's id" in shell.refused(BadInput, "show", " ")
    assert "both --by and --value" in shell.refused(BadInput, "split", "waiter", "--by", "line")
    assert "do not differ in line" in shell.refused(BadInput, "split", "waiter", "--by", "line", "--value", "x")
    assert "two agents" in shell.refused(BadInput, "merge", "waiter", "waiter")
