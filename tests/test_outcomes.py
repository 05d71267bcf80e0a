"""How runs end: guessed from calls as a table, labelled by what was said, settled when silent for long enough."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tutelage.distill.curate import load
from tutelage.distill.selection import curate
from tutelage.traffic.export import export_agent
from tutelage.traffic.feedback import ACCEPTED, PATH
from tutelage.traffic.feedback_rows import resolve, save, take
from tutelage.traffic.ingest import Ingest
from tutelage.traffic.outcome_rules import OutcomeRules
from tutelage.traffic.outcomes import (
    BATCH,
    Outcome,
    Turn,
    label_runs,
    looks_like_error,
    outcome,
    rules_in_force,
    settle_idle,
)
from tutelage.traffic.records import CallRecord, encode, new_call_id
from tutelage.traffic.store import Store

RULES = OutcomeRules()

GOOD = Turn(1.0, 200, cancelled=False, answered=True, acts=False, finish_reason="stop", tool_error=False)


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        (GOOD, Outcome(True, "heuristic", True)),
        (GOOD._replace(acts=True, finish_reason="tool_calls"), Outcome(None, "open", False)),
        (GOOD._replace(cancelled=True, answered=False), Outcome(False, "heuristic_cancelled", True)),
        (GOOD._replace(status=500, answered=False), Outcome(False, "heuristic_failed_call", True)),
        (GOOD._replace(status=0, answered=False), Outcome(False, "heuristic_failed_call", True)),
        (GOOD._replace(answered=False), Outcome(False, "heuristic_failed_call", True)),
        (GOOD._replace(finish_reason="length"), Outcome(False, "heuristic_length", True)),
        (GOOD._replace(finish_reason="length", acts=True), Outcome(False, "heuristic_length", True)),
        (GOOD._replace(finish_reason="content_filter"), Outcome(False, "heuristic_content_filter", True)),
        (GOOD._replace(tool_error=True), Outcome(False, "heuristic_tool_error", True)),
        (GOOD._replace(tool_error=True, acts=True), Outcome(None, "open", False)),
    ],
)
def test_the_newest_call_decides(turn: Turn, expected: Outcome) -> None:
    assert outcome([turn]) == expected
    earlier = GOOD._replace(started_at=0.5, status=500, answered=False)
    assert outcome([turn, earlier]) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("Error: no such device", True),
        ("  exception in tool", True),
        ('{"error": "not found"}', True),
        ('{"error": null, "ok": 1}', False),
        ('{"is_error": true}', True),
        ("3 lights are on", False),
        ("The error was fixed", False),
        ("", False),
    ],
)
def test_results_that_report_a_failure(content: str, expected: bool) -> None:
    assert looks_like_error({"role": "tool", "content": content}) is expected
    assert looks_like_error({"role": "user", "content": content}) is False
    assert looks_like_error({"role": "tool", "content": [{"type": "text", "text": content}]}) is False


def add_run(store: Store, name: str, agent: str, turns: int, last_at: float, source: str = "open") -> None:
    store.execute(
        "INSERT INTO trajectories VALUES (?, FALSE, ?, '', '', 0, ?, ?, NULL, ?, FALSE, NULL)",
        [name, agent, last_at, turns, source],
    )
    for turn in range(turns):
        store.execute(
            "INSERT INTO calls (call_id, started_at, agent_id, trajectory_id, turn) VALUES (uuid(), ?, ?, ?, ?)",
            [last_at, agent, name, turn],
        )


def test_acting_is_the_end_for_agents_of_one_step_only(tmp_path: Path) -> None:
    with Store(tmp_path / "store.duckdb") as store:
        for number in range(5):
            add_run(store, f"one-{number}", "a_one", 1, last_at=100.0)
            add_run(store, f"many-{number}", "a_many", 1 + number % 2, last_at=100.0)
        add_run(store, "fresh", "a_one", 1, last_at=990.0)
        add_run(store, "told", "a_one", 1, last_at=100.0, source="feedback")
        assert settle_idle(store, now=1000.0, idle_s=60.0) == 11
        assert settle_idle(store, now=1000.0, idle_s=60.0) == 0
        rows = store.rows(
            "SELECT agent_id, success, success_source, finished, count(*) FROM trajectories GROUP BY ALL ORDER BY ALL"
        )
        assert rows == [
            ("a_many", None, "heuristic_abandoned", True, 5),
            ("a_one", True, "heuristic_open", True, 5),
            ("a_one", None, "feedback", True, 1),  # its label stays
            ("a_one", None, "open", False, 1),
        ]


ASKED = [{"role": "user", "content": "hi"}]
SAID = {"role": "assistant", "content": "hello"}
ACTED = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}],
}
FAILED = {"role": "tool", "tool_call_id": "c1", "content": "Error: no such thing"}


def give(store: Store, at: float, value: Any, **fields: Any) -> None:
    """Feedback through a journal record into the labels."""
    request = json.dumps({"metric": "success", "value": value, **fields}).encode()
    record = CallRecord(call_id=new_call_id(at), started_at=at, endpoint=PATH, status=ACCEPTED, request=request)
    assert take(store, [encode(record)]) == []
    resolve(store, at + 1)
    label_runs(store, RULES)


def label(store: Store, run: str = "x:r") -> tuple[Any, ...]:
    sql = "SELECT success, success_source, finished FROM trajectories WHERE trajectory_id = ?"
    return store.rows(sql, [run])[0]


def test_what_was_said_beats_the_guess_and_outlives_later_calls(
    tmp_path: Path, make_call: Callable[..., CallRecord]
) -> None:
    with Store(tmp_path / "store.duckdb") as store:
        ingest = Ingest(store)
        ingest.apply([encode(make_call(ASKED, SAID, started_at=10.0, trajectory="r"))], {})
        assert label(store) == (True, "heuristic", True)
        give(store, 20.0, False, trajectory="r", source="user")
        assert label(store) == (False, "feedback:user", True)
        more = [*ASKED, SAID, {"role": "user", "content": "more"}]
        ingest.apply([encode(make_call(more, ACTED, started_at=30.0, trajectory="r"))], {})
        assert label(store) == (False, "feedback:user", False)
        give(store, 40.0, 0.9, trajectory="r", source="user")
        assert label(store) == (True, "feedback:user", True)
        give(store, 50.0, "just a text", trajectory="r", source="user")  # takes the place of 0.9
        assert label(store) == (None, "open", True)  # the guess: its last call acts


def test_a_label_that_is_taken_back_leaves_the_guess(tmp_path: Path, make_call: Callable[..., CallRecord]) -> None:
    endings = {
        "heuristic_tool_error": make_call([*ASKED, ACTED, FAILED], SAID, started_at=10.0, trajectory="a"),
        "heuristic_length": make_call(ASKED, SAID, started_at=10.0, trajectory="b", finish="length"),
        "heuristic_cancelled": make_call(ASKED, None, started_at=10.0, trajectory="c", cancelled=True),
        "heuristic_failed_call": make_call(ASKED, None, started_at=10.0, trajectory="d", status=500),
        "heuristic": make_call(ASKED, SAID, started_at=10.0, trajectory="e"),
        "open": make_call(ASKED, ACTED, started_at=10.0, trajectory="f"),
    }
    with Store(tmp_path / "store.duckdb") as store:
        early = [make_call(ASKED, SAID, started_at=1.0, trajectory=name) for name in "abcdef"]
        Ingest(store).apply([encode(record) for record in [*early, *endings.values()]], {})
        runs = [f"x:{name}" for name in "abcdef"]
        guessed = [label(store, run)[:2] for run in runs]
        assert [source for _, source in guessed] == list(endings)
        for name in "abcdef":
            give(store, 20.0, name == "a", trajectory=name)
        assert {label(store, run)[1] for run in runs} == {"feedback"}
        store.execute("UPDATE feedback SET flag = NULL, judged = FALSE")
        assert label_runs(store, RULES) == 6
        assert [label(store, run)[:2] for run in runs] == guessed
        assert label_runs(store, RULES) == 0


def test_new_rules_label_everything_anew_and_are_remembered(
    tmp_path: Path, make_call: Callable[..., CallRecord]
) -> None:
    strict = OutcomeRules(thresholds={"success": 0.95})
    with Store(tmp_path / "store.duckdb") as store:
        assert rules_in_force(store, None) == RULES
        Ingest(store).apply([encode(make_call(ASKED, SAID, started_at=10.0, trajectory="r"))], {})
        give(store, 20.0, 0.9, trajectory="r")
        assert label(store) == (True, "feedback", True)
        assert rules_in_force(store, strict) == strict
        assert label_runs(store, strict) == 1
        assert label(store) == (False, "feedback", True)
        assert rules_in_force(store, None) == strict
        assert rules_in_force(store, strict) == strict
        assert label_runs(store, strict) == 0


def test_many_runs_are_labelled_batch_by_batch(tmp_path: Path) -> None:
    with Store(tmp_path / "store.duckdb") as store:
        for number in range(3):
            add_run(store, f"r{number}", "a", 1, last_at=1.0)
        many = [f"r{number}" for number in range(BATCH + 3)]
        value = {"at": 5.0, "caller": "", "kind": "trajectory", "metric": "success", "flag": True}
        value |= {"source": "", "comment": "", "judged": False}
        save(store, [{**value, "feedback_id": run, "target": run, "trajectory_id": run} for run in many])
        assert [label_runs(store, RULES) for _ in range(3)] == [BATCH, 3, 0]
        assert store.value("SELECT count(*) FROM trajectories WHERE success_source = 'feedback'") == 3


def test_training_takes_the_stored_label(tmp_path: Path, make_call: Callable[..., CallRecord]) -> None:
    def session(number: int, finish: str = "") -> CallRecord:
        messages = [{"role": "user", "content": f"number {number}"}]
        return make_call(
            messages, SAID, started_at=10.0 + number, trajectory=f"t{number}", finish=finish, pattern="p_1"
        )

    with Store(tmp_path / "store.duckdb") as store:
        Ingest(store).apply([encode(record) for record in (session(1), session(2, "length"), session(3))], {})
        store.execute("UPDATE trajectories SET agent_id = 'a_1'")
        store.execute("INSERT INTO patterns VALUES ('p_1', 'a_1', 'hello', 1, 'user', '{}', 1.0)")
        give(store, 20.0, False, trajectory="t1")
        give(store, 21.0, True, trajectory="t2")
        export_agent(store, "a_1", tmp_path / "export", idle_s=1.0, now=100.0)
    curated = curate(load(tmp_path / "export").trajectories, share=0.0, max_train=9, max_held_out=9)
    assert {(item.trajectory_id, item.success_source) for item in curated.train} == {
        ("x:t2", "feedback"),
        ("x:t3", "heuristic"),
    }
    assert curated.dropped == {"not_successful": 1}
