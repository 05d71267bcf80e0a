"""Verifiers over a store: what they are shown, when again, and what becomes of their verdicts."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tutelage.traffic.feedback_rows import listed
from tutelage.traffic.ingest import Ingest
from tutelage.traffic.outcome_rules import OutcomeRules
from tutelage.traffic.outcomes import label_runs
from tutelage.traffic.records import CallRecord, encode
from tutelage.traffic.store import Store
from tutelage.traffic.verifiers import Verifiers
from tutelage.traffic.verifying import FAILING, VerifierReport, Verifying, run_of

ASKED = [{"role": "user", "content": "hi"}]
SAID = {"role": "assistant", "content": "done"}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
ACTED = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}],
}
NAME = "my_rules:check"
RULES = OutcomeRules()


class World:
    """A store, a clock, and one verifier whose source the tests write."""

    def __init__(self, folder: Path, store: Store, make_call: Callable[..., CallRecord]) -> None:
        self.folder, self.store, self.make_call, self.now = folder, store, make_call, 1_000.0
        self.verifying = Verifying(self.store, Verifiers(()), 60.0)
        self.start("def check(run): return run.messages[-1]['content'] == 'done'")

    def start(self, source: str) -> Verifying:
        """The verifier with this source, in a new process."""
        self.verifying.close()
        (self.folder / "my_rules.py").write_text(source)
        self.verifying = Verifying(self.store, Verifiers((NAME,), 60.0), idle_s=60.0, clock=lambda: self.now)
        return self.verifying

    def play(self, messages: list[Any], answer: Any, run: str = "r", at: float = 10.0) -> None:
        call = self.make_call(messages, answer, started_at=at, trajectory=run, tools=[TOOL])
        Ingest(self.store).apply([encode(call)], {})

    def label(self, run: str = "r") -> tuple[Any, ...]:
        label_runs(self.store, RULES)
        sql = "SELECT success, success_source FROM trajectories WHERE trajectory_id = ?"
        return self.store.rows(sql, [f"x:{run}"])[0]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_call: Callable[..., CallRecord]) -> Iterator[World]:
    monkeypatch.chdir(tmp_path)
    # A module that is written anew within a second must not come from the cache.
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    with Store(tmp_path / "store.duckdb") as store:
        made = World(tmp_path, store, make_call)
        yield made
        made.verifying.close()


def test_a_verdict_labels_the_run(world: World) -> None:
    world.play(ASKED, SAID)
    world.play(ASKED, {"role": "assistant", "content": "cannot"}, "other")
    assert world.verifying.round() == 2
    assert world.label() == (True, f"verifier:{NAME}")
    assert world.label("other") == (False, f"verifier:{NAME}")
    rows = listed(world.store, 10)
    assert {(row["metric"], row["state"], row["source"]) for row in rows} == {("success", "found", f"verifier:{NAME}")}
    assert world.verifying.report() == [VerifierReport(NAME, "", 2, 1, 1, 0, "", 1_000.0, "")]


def test_a_run_is_judged_again_only_when_it_or_the_version_changed(world: World) -> None:
    world.play(ASKED, SAID)
    assert [world.verifying.round() for _ in range(2)] == [1, 0]
    world.play([*ASKED, SAID, ASKED[0]], {"role": "assistant", "content": "no"}, at=20.0)
    assert [world.verifying.round() for _ in range(2)] == [1, 0]
    assert world.label() == (False, f"verifier:{NAME}")
    world.verifying.close()
    again = "def check(run): return 0.8\n"
    assert world.start(again).round() == 0
    world.start(again + "check.version = '2'")
    assert [world.verifying.round() for _ in range(2)] == [1, 0]
    assert world.label() == (True, f"verifier:{NAME}")
    assert [row["value"] for row in listed(world.store, 10)] == [0.8]


def test_what_comes_late_or_falls_silent_is_seen_although_the_older_runs_are_done(world: World) -> None:
    world.play(ASKED, SAID, at=500.0)
    world.play(ASKED, ACTED, "acts", at=990.0)
    assert [world.verifying.round() for _ in range(2)] == [1, 0]
    world.play(ASKED, SAID, "late", at=5.0)
    world.store.execute("UPDATE trajectories SET last_at = 1 WHERE trajectory_id = 'x:r'")  # nobody has said so
    assert [world.verifying.round() for _ in range(2)] == [1, 0]
    world.now += 100.0
    assert [world.verifying.round() for _ in range(2)] == [1, 0]
    world.store.execute("UPDATE changes SET revision = revision + 10")
    assert [world.verifying.round() for _ in range(2)] == [1, 0]


def test_a_verdict_that_is_taken_back_leaves_the_guess(world: World) -> None:
    world.play(ASKED, SAID)
    world.verifying.round()
    world.start("def check(run): return None\ncheck.version = '2'").round()
    assert world.label() == (True, "heuristic")
    assert [row["value"] for row in listed(world.store, 10)] == [None]


def test_an_exception_is_counted_shown_and_not_repeated(world: World) -> None:
    world.start("def check(run): raise ValueError('no order')")
    world.play(ASKED, SAID)
    assert [world.verifying.round() for _ in range(2)] == [1, 0]
    (row,) = world.verifying.report()
    assert (row.runs, row.errors, row.last_error) == (1, 1, "It raised ValueError: no order")
    assert world.label() == (True, "heuristic")


def test_failing_again_and_again_is_a_problem_until_it_works(world: World) -> None:
    world.start("def check(run): return 1 / (run.calls[0].started_at > 20)")
    for number in range(FAILING):
        assert world.verifying.problems() == []
        world.play(ASKED, SAID, f"run {number}", at=10.0)
        assert world.verifying.round() == 1
    (problem,) = world.verifying.problems()
    assert problem.startswith(f"The verifier {NAME} gave no verdict on the last {FAILING} runs: It raised ZeroDivision")
    world.play(ASKED, SAID, "later", at=30.0)
    assert (world.verifying.round(), world.verifying.problems()) == (1, [])


def test_a_module_that_cannot_be_imported_is_tried_again_later(world: World) -> None:
    world.start("def check(run) return True")
    world.play(ASKED, SAID)
    assert world.verifying.round() == 0
    assert "SyntaxError" in world.verifying.report()[0].problem
    (problem,) = world.verifying.problems()
    assert problem.startswith(f"The verifier {NAME} cannot be used: It cannot be imported: SyntaxError")
    (world.folder / "my_rules.py").write_text("def check(run): return True")
    assert world.verifying.round() == 0
    world.now += 61.0
    assert world.verifying.round() == 1
    assert (world.verifying.report()[0].problem, world.verifying.problems()) == ("", [])


def test_unfinished_runs_wait_until_they_are_idle(world: World) -> None:
    world.play(ASKED, ACTED, at=world.now - 59.0)
    assert world.verifying.round() == 0
    world.now += 2.0
    assert world.verifying.round() == 1


def test_a_run_as_verifiers_see_it(world: World) -> None:
    answered = [*ASKED, ACTED, {"role": "tool", "tool_call_id": "c1", "content": "3"}]
    world.play(ASKED, ACTED)
    world.play(answered, SAID, at=11.0)
    run = run_of(world.store, "x:r")
    assert [message["role"] for message in run.messages] == ["user", "assistant", "tool", "assistant"]
    assert run.tools == [TOOL]
    assert [(call.started_at, call.finish_reason, call.route) for call in run.calls] == [
        (10.0, "tool_calls", "teacher"),
        (11.0, "stop", "teacher"),
    ]


def test_it_works_in_a_thread_until_it_is_stopped(world: World) -> None:
    world.play(ASKED, SAID)
    stop = threading.Event()
    thread = threading.Thread(target=world.verifying.run, args=(stop,))
    thread.start()
    for _ in range(600):
        if world.verifying.report()[0].runs:
            break
        stop.wait(0.05)
    stop.set()
    world.verifying.close()
    thread.join(30)
    assert not thread.is_alive()
    assert world.verifying.report()[0].runs == 1
