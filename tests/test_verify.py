"""Every way to be wrong is told, with its table, row and field; a store that is right is left in peace."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tutelage.traffic.ingest import Ingest
from tutelage.traffic.records import CallRecord, encode
from tutelage.traffic.rollup import recount, settle
from tutelage.traffic.store import Store
from tutelage.traffic.verify import MOST_SHOWN, VerifyReport, verify

Make = Callable[..., CallRecord]
SYSTEM, USER = {"role": "system", "content": "S"}, {"role": "user", "content": "hi"}
HELLO, THANKS = {"role": "assistant", "content": "hello"}, {"role": "user", "content": "thanks"}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
NOBODY = UUID(int=7)
FEEDBACK = """
INSERT INTO feedback (feedback_id, "at", caller, kind, target, metric, source, comment, judged, {column})
VALUES ('f', 0, '', 'call_id', '', 'success', '', '', TRUE, '{value}')
"""


@pytest.fixture
def store(tmp_path: Path, make_call: Make) -> Iterator[Store]:
    """A run of two calls, another one, and an embedding."""
    records = [
        make_call([SYSTEM, USER], HELLO, started_at=0.0, tools=[TOOL]),
        make_call([SYSTEM, USER, HELLO, THANKS], HELLO, started_at=1.0, tools=[TOOL]),
        make_call([THANKS], HELLO, started_at=500.0),
        make_call([], started_at=900.0, endpoint="/v1/embeddings", status=200, response=b"{}"),
    ]
    with Store(tmp_path / "store.duckdb") as opened:
        Ingest(opened).apply([encode(record) for record in records], {})
        settle(opened)
        yield opened


def told(report: VerifyReport) -> set[tuple[str, str]]:
    return {(problem.table, problem.field) for problem in report.problems}


def test_a_store_that_is_right(store: Store) -> None:
    seen: list[tuple[int, int]] = []
    report = verify(store, lambda done, total: seen.append((done, total)))
    assert (report.found, report.problems) == (0, [])
    assert (report.calls, report.toolsets, report.trajectories) == (4, 1, 2)
    assert report.messages == store.value("SELECT count(*) FROM messages")
    assert seen[-1][0] == seen[-1][1] == report.messages + 5
    assert report.unreferenced_messages == report.unreferenced_toolsets == 0


def test_an_empty_store(tmp_path: Path) -> None:
    with Store(tmp_path / "empty.duckdb") as store:
        assert verify(store).found == 0


@pytest.mark.parametrize(
    ("harm", "expected"),
    [
        ("UPDATE messages SET body = replace(body, 'hi', 'ho') WHERE role = 'user'", ("messages", "message_id")),
        ("UPDATE messages SET body = '{' WHERE depth = 1", ("messages", "body")),
        ("UPDATE messages SET role = 'tool' WHERE depth = 1", ("messages", "role")),
        ("UPDATE messages SET depth = 9 WHERE role = 'system'", ("messages", "depth")),
        ("DELETE FROM messages WHERE role = 'system'", ("messages", "parent_id")),
        ("UPDATE toolsets SET body = replace(body, 'look', 'book')", ("toolsets", "toolset_id")),
        ("UPDATE toolsets SET body = '['", ("toolsets", "body")),
        ("DELETE FROM toolsets", ("calls", "toolset_id")),
        ("UPDATE calls SET params = '[]' WHERE params IS NOT NULL", ("calls", "params")),
        (f"UPDATE calls SET request_tail = '{NOBODY}' WHERE request_tail IS NOT NULL", ("calls", "request_tail")),
        (f"UPDATE calls SET response_id = '{NOBODY}' WHERE response_id IS NOT NULL", ("calls", "response_id")),
        ("UPDATE calls SET response_id = request_tail WHERE request_tail IS NOT NULL", ("calls", "response_id")),
        (f"UPDATE calls SET retry_of = '{NOBODY}'", ("calls", "retry_of")),
        ("UPDATE calls SET upstream_id = 'chatcmpl-1'", ("calls", "upstream_key")),
        ("UPDATE calls SET upstream_key = 7", ("calls", "upstream_key")),
        ("DELETE FROM trajectories", ("calls", "trajectory_id")),
        ("UPDATE trajectories SET calls = 99", ("trajectories", "calls")),
        ("UPDATE calls SET pattern_id = 'p_none'", ("calls", "pattern_id")),
        ("UPDATE trajectories SET agent_id = 'a_none'", ("trajectories", "agent_id")),
        ("UPDATE calls SET latency_ms = 7", ("latency_days", "day")),
        ("UPDATE calls SET prompt_tokens = 7 WHERE prompt_tokens IS NOT NULL", ("caller_days", "day")),
        ("DELETE FROM counted_traffic", ("traffic_hours", "hour")),
        ("DELETE FROM counted_days", ("traffic_days", "day")),
        ("INSERT INTO counted_runs VALUES (1, 'p', 't')", ("pattern_runs", "key")),
        ("INSERT INTO counted_sessions VALUES ('p', 1)", ("pattern_sessions", "pattern_id")),
        (FEEDBACK.format(column="call_id", value=NOBODY), ("feedback", "call_id")),
        (FEEDBACK.format(column="trajectory_id", value="nobody"), ("feedback", "trajectory_id")),
        ("INSERT INTO verifications VALUES ('nobody', 'm:f', '', 1, 0, 0, '')", ("verifications", "trajectory_id")),
        (
            f"INSERT INTO comparisons (call_id, student, kind, loss, \"at\") VALUES ('{NOBODY}', 's', 'shadow', 0, 0)",
            ("comparisons", "call_id"),
        ),
    ],
)
def test_what_is_wrong_is_named(store: Store, harm: str, expected: tuple[str, str]) -> None:
    assert store.execute(harm)
    report = verify(store)
    assert expected in told(report)
    assert report.found >= 1


def test_the_calls_behind_a_damaged_message_are_named(store: Store) -> None:
    store.execute("UPDATE messages SET body = replace(body, 'S', 'T') WHERE role = 'system'")
    report = verify(store)
    rows = {problem.row for problem in report.problems if problem.table == "calls"}
    run = store.value("SELECT trajectory_id FROM calls WHERE started_at = 0")
    assert rows == {str(row[0]) for row in store.rows("SELECT call_id FROM calls WHERE trajectory_id = ?", [run])}
    named = [problem for problem in report.problems if problem.table == "messages"]
    assert [problem.row for problem in named] == [store.value("SELECT message_id FROM messages WHERE role = 'system'")]


def test_what_nothing_refers_to_is_counted_and_no_problem(store: Store) -> None:
    store.execute("DELETE FROM trajectories WHERE calls = 2")
    store.execute("DELETE FROM calls WHERE toolset_id IS NOT NULL")
    recount(store)
    report = verify(store)
    assert (report.found, report.unreferenced_messages, report.unreferenced_toolsets) == (0, 5, 1)


def test_many_problems_are_counted_and_some_of_each_table_are_shown() -> None:
    report = VerifyReport()
    for number in range(MOST_SHOWN + 5):
        report.add("calls", number, "params", "odd")
    report.add("counted_days", "1, p, teacher, m", "day", "is missing")
    assert (report.found, len(report.problems)) == (MOST_SHOWN + 6, MOST_SHOWN + 1)
    assert report.found_in == {"calls": MOST_SHOWN + 5, "counted_days": 1}
    assert report.problems[-1].table == "counted_days"


def test_writers_go_on_while_it_is_read(store: Store, make_call: Make) -> None:
    def write(done: int, total: int) -> None:
        Ingest(store).apply([encode(make_call([USER], HELLO, started_at=2_000.0 + done))], {})

    calls: Any = store.value("SELECT count(*) FROM calls")
    report = verify(store, write)
    assert (report.found, report.calls) == (0, calls)
    assert store.value("SELECT count(*) FROM calls") > calls
