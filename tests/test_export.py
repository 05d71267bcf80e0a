"""Snapshots for training: finished runs of one agent, whole, with the place of each call."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tutelage.traffic.errors import UnknownName
from tutelage.traffic.export import export_agent
from tutelage.traffic.ingest import Ingest
from tutelage.traffic.records import CallRecord, encode
from tutelage.traffic.store import Store

Make = Callable[..., CallRecord]
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}]
USER = {"role": "user", "content": "where?"}
LOOK = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}],
}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "there"}
DONE = {"role": "assistant", "content": "There."}


def system(clock: str) -> dict[str, str]:
    return {"role": "system", "content": f"Find things. It is {clock}."}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store.duckdb") as opened:
        yield opened


def fill(store: Store, *records: CallRecord) -> None:
    """Ingest the records as calls of agent `a_1`."""
    Ingest(store).apply([encode(record) for record in records], {})
    store.execute("UPDATE calls SET agent_id = 'a_1', pattern_id = 'p_1'")
    store.execute("UPDATE trajectories SET agent_id = 'a_1'")
    body = json.dumps({"skeleton": ["Find things. It is ⟨time⟩."]})
    store.execute("INSERT INTO patterns VALUES ('p_1', 'a_1', 'finder', 1, 'user', ?, 0)", [body])


def exported(store: Store, folder: Path, **limits: Any) -> list[dict[str, Any]]:
    values = {"idle_s": 10.0, "now": 1_000.0} | limits
    info = export_agent(store, "a_1", folder, **values)
    rows = pq.read_table(folder / "trajectories.parquet").to_pylist()
    assert info.trajectories == len(rows)
    return [row | {name: json.loads(row[name]) for name in ("tools", "messages", "calls")} for row in rows]


def test_a_run_with_the_place_of_each_call(store: Store, make_call: Make, tmp_path: Path) -> None:
    opening = [system("12:00"), USER]
    records = [
        make_call(opening, started_at=1.0, tools=TOOLS, status=500, response=b"x"),
        make_call(opening, LOOK, started_at=2.0, tools=TOOLS, session="s"),
        make_call([*opening, LOOK, RESULT], DONE, started_at=3.0, tools=TOOLS, session="s"),
    ]
    fill(store, *records)
    (row,) = exported(store, tmp_path / "out")
    assert row["trajectory_id"] == records[0].call_id
    assert row["messages"] == [*opening, LOOK, RESULT, DONE]
    assert row["tools"] == TOOLS
    assert (row["success"], row["success_source"], row["agent_id"]) == (True, "heuristic", "a_1")
    assert [(call["call_id"], call["index"]) for call in row["calls"]] == [
        (records[1].call_id, 2),
        (records[2].call_id, 4),
    ]
    assert row["calls"][0] | {"call_id": ""} == {
        "call_id": "",
        "index": 2,
        "pattern_id": "p_1",
        "route": "teacher",
        "model": "teacher-1-big",
        "started_at": 2.0,
    }
    agent = json.loads((tmp_path / "out" / "agent.json").read_text())
    assert agent == {
        "agent_id": "a_1",
        "name": "finder",
        "pattern_ids": ["p_1"],
        "skeleton": ["Find things. It is ⟨time⟩."],
        "tools": TOOLS,
        "snapshot_at": 3.0,
        "trajectories": 1,
    }


def test_a_clock_that_moves_on_loses_no_call(store: Store, make_call: Make, tmp_path: Path) -> None:
    first = make_call([system("12:00"), USER], LOOK, started_at=1.0, session="s")
    second = make_call([system("12:01"), USER, LOOK, RESULT], DONE, started_at=2.0, session="s")
    fill(store, first, second)
    (row,) = exported(store, tmp_path / "out")
    assert row["messages"][0] == system("12:01")
    assert [call["call_id"] for call in row["calls"]] == [first.call_id, second.call_id]


def test_the_longest_branch_is_told_and_calls_beside_it_are_left_out(
    store: Store, make_call: Make, tmp_path: Path
) -> None:
    stem = [USER, DONE]
    first = make_call([USER], DONE, started_at=1.0)
    short = make_call([*stem, {"role": "user", "content": "a"}], DONE, started_at=2.0)
    long = make_call([*stem, {"role": "user", "content": "b"}, {"role": "user", "content": "c"}], LOOK, started_at=3.0)
    fill(store, first, short, long)
    (row,) = exported(store, tmp_path / "out")
    assert [call["call_id"] for call in row["calls"]] == [first.call_id, long.call_id]
    assert row["messages"][-1] == LOOK


def test_only_runs_that_are_over_and_of_that_agent(store: Store, make_call: Make, tmp_path: Path) -> None:
    runs = [make_call([{"role": "user", "content": str(n)}], LOOK, started_at=float(n)) for n in range(600)]
    fill(store, *runs, make_call([USER], DONE, started_at=995.0))
    store.execute("UPDATE trajectories SET agent_id = 'a_2' WHERE first_at < 10")
    rows = exported(store, tmp_path / "out")
    assert [row["trajectory_id"] for row in rows] == [run.call_id for run in runs[10:]]
    assert {(row["success"], row["success_source"]) for row in rows} == {(True, "heuristic_open")}
    assert len(exported(store, tmp_path / "later", now=2_000.0)) == 591


def test_a_run_of_which_no_message_is_left_is_not_among_them(store: Store, make_call: Make, tmp_path: Path) -> None:
    kept, lost = make_call([USER], DONE, started_at=1.0), make_call([RESULT], LOOK, started_at=2.0)
    fill(store, kept, lost)
    store.execute("DELETE FROM messages WHERE parent_id IN (SELECT request_tail FROM calls WHERE started_at = 2.0)")
    rows = exported(store, tmp_path / "out")
    assert [row["trajectory_id"] for row in rows] == [kept.call_id]
    assert json.loads((tmp_path / "out" / "agent.json").read_text())["trajectories"] == 1


def test_an_empty_snapshot_is_whole_and_an_unknown_agent_is_an_error(
    store: Store, make_call: Make, tmp_path: Path
) -> None:
    with pytest.raises(UnknownName, match="a_1"):
        export_agent(store, "a_1", tmp_path / "out", idle_s=1.0, now=1.0)
    assert not (tmp_path / "out").exists()
    fill(store, make_call([USER], DONE, started_at=1.0))
    assert exported(store, tmp_path / "out", now=5.0) == []
    assert json.loads((tmp_path / "out" / "agent.json").read_text())["snapshot_at"] == 0.0
