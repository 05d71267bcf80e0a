import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.distill.curate import CallRef, Trajectory, held_out, load
from tutelage.distill.selection import curate
from tutelage.traffic.errors import BadInput

TOOLS = [{"type": "function", "function": {"name": "track", "parameters": {"type": "object", "properties": {}}}}]


def session(number: int, text: str = "", **fields: Any) -> Trajectory:
    messages = [{"role": "user", "content": text or f"task {number}"}, {"role": "assistant", "content": "done"}]
    call = CallRef(f"c{number}", 1, "p", fields.pop("route", "teacher"), "m", float(number))
    values: dict[str, Any] = {"success": True, "tools": TOOLS, "session": f"s{number}"} | fields
    return Trajectory(
        trajectory_id=f"t{number}", agent_id="a", success_source="rule", messages=messages, calls=(call,), **values
    )


def split(items: list[Trajectory], **fields: Any):
    return curate(items, **({"share": 0.2, "max_train": 1000, "max_held_out": 1000} | fields))


def test_only_successful_sessions_of_the_teacher_with_these_tools():
    items = [
        session(1),
        session(2, success=False),
        session(3, success=None),
        session(4, route="student"),
        session(5, tools=[]),
    ]
    chosen = split(items, tools=TOOLS)
    assert [item.trajectory_id for item in [*chosen.train, *chosen.held_out]] == ["t1"]
    assert chosen.dropped == {"not_successful": 2, "no_teacher_turn": 1, "other_tools": 1}


def test_the_split_is_by_session_and_stays():
    items = [session(number, session=f"s{number // 2}") for number in range(400)]
    chosen = split(items)
    train, examined = ({item.session for item in side} for side in (chosen.train, chosen.held_out))
    assert not train & examined
    assert 50 < len(chosen.held_out) < 110
    again = split(items[:100])
    assert {item.session for item in again.held_out} <= examined


@given(st.text(), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_only_adds(name: str, one: float, other: float):
    low, high = sorted((one, other))
    assert held_out(name, high) or not held_out(name, low)
    assert not held_out(name, 0.0)


def test_same_opening_and_action_is_taught_once_the_newest():
    items = [session(number, "the same words") for number in range(50)]
    chosen = split(items, share=0.0)
    assert [item.trajectory_id for item in chosen.train] == ["t49"]
    assert chosen.dropped == {"duplicate": 49}


def test_limits_keep_the_newest():
    chosen = split([session(number) for number in range(100)], share=0.0, max_train=10)
    assert [item.trajectory_id for item in chosen.train] == [f"t{number}" for number in range(99, 89, -1)]
    assert chosen.dropped == {"over_limit": 90}


def test_where_a_limit_binds_every_intent_gets_its_share():
    rare = {f"t{number}" for number in range(5)}
    items = [session(number) for number in range(100)]
    chosen = split(items, share=0.0, max_train=10, intent_of=lambda item: str(item.trajectory_id in rare))
    assert {item.trajectory_id for item in chosen.train} == rare | {f"t{number}" for number in range(95, 100)}
    assert chosen.dropped == {"over_limit": 90}


def write_export(folder: Path, arguments: str = "{}") -> Path:
    call = {"id": "x", "type": "function", "function": {"name": "track", "arguments": arguments}}
    messages = [{"role": "user", "content": "where?"}, {"role": "assistant", "content": None, "tool_calls": [call]}]
    calls = [{"call_id": "c1", "index": 1, "pattern_id": "p_1", "route": "teacher", "model": "m", "started_at": 5.0}]
    row = {
        "trajectory_id": "t1",
        "session": "s1",
        "agent_id": "a_1",
        "success": True,
        "success_source": "heuristic",
        "tools": json.dumps(TOOLS),
        "messages": json.dumps(messages),
        "calls": json.dumps(calls),
    }
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist([row]), folder / "trajectories.parquet")
    about = {"agent_id": "a_1", "name": "Desk", "pattern_ids": ["p_1"], "skeleton": ["You help."], "tools": TOOLS}
    (folder / "agent.json").write_text(json.dumps(about))
    return folder


def test_load_an_export(tmp_path: Path):
    export = load(write_export(tmp_path / "e"))
    assert export.agent_id == "a_1"
    assert export.snapshot_at == 5.0
    assert export.trajectories[0].calls[0].sound
    assert export.trajectories[0].messages[1]["content"] is None
    assert len(export.digest) == 64


def test_an_answer_that_cannot_be_carried_out_is_no_lesson(tmp_path: Path):
    trajectory = load(write_export(tmp_path / "e", arguments="{broken")).trajectories[0]
    assert trajectory.trainable == ()
    assert len(trajectory.calls) == 1


def test_no_export(tmp_path: Path):
    with pytest.raises(BadInput, match=r"trajectories\.parquet"):
        load(tmp_path)
