"""Rows of the tables: every column filled from the right place."""

from collections.abc import Callable
from uuid import UUID

import msgspec

from tutelage.traffic.discovery import Recognised
from tutelage.traffic.parse import Parser
from tutelage.traffic.records import CallRecord
from tutelage.traffic.rows import Row, calls_table, row_of, trajectories_tables
from tutelage.traffic.trajectories import Link

Make = Callable[..., CallRecord]
USER = {"role": "user", "content": "hi"}
HELLO = {"role": "assistant", "content": "hello"}


def row(record: CallRecord, link: Link | None, found: Recognised | None = None) -> Row:
    made = row_of(Parser().parse(record))
    made.link, made.found = link, found
    return made


def test_a_call_fills_its_columns(make_call: Make) -> None:
    fields = {"caller": "k", "route": "student", "student": "s@1", "retry": 1, "confidence": -0.5}
    record = make_call([USER], HELLO, pattern="p_old", **fields)
    first = row(record, Link("t", 3, False), Recognised("p_new", "a_1"))
    values = calls_table([first]).to_pylist()[0]
    expected = {
        "call_id": UUID(record.call_id),
        "pattern_id": "p_new",
        "agent_id": "a_1",
        "turn": 3,
        "trajectory_id": "t",
    }
    expected |= fields | {
        "model": "teacher-1-big",
        "prompt_tokens": 100,
        "completion_tokens": 10,
        "finish_reason": "stop",
    }
    expected |= {"request_raw": None, "response_raw": None, "error": "", "status": 200}
    assert expected.items() <= values.items()
    assert values["request_tail"] != values["response_id"] is not None


def test_without_recognition_the_data_planes_pattern_stands(make_call: Make) -> None:
    values = calls_table([row(make_call([USER], HELLO, pattern="p_seen"), None)]).to_pylist()[0]
    assert (values["pattern_id"], values["agent_id"]) == ("p_seen", None)


def test_bodies_that_could_not_be_read_are_kept(make_call: Make) -> None:
    record = msgspec.structs.replace(make_call([USER], HELLO), request=b"{oops", status=500, response=b"boom")
    values = calls_table([row(record, None)]).to_pylist()[0]
    assert (values["request_raw"], values["response_raw"]) == (b"{oops", b"boom")
    assert (values["error"], values["params"], values["request_tail"], values["model"]) == ("bad_json", None, None, "")


def test_one_row_a_run_with_the_newest_calls_verdict(make_call: Make) -> None:
    good = row(make_call([USER], HELLO, started_at=1.0, session="s"), Link("t", 0, False))
    bad = row(make_call([USER], started_at=2.0, status=500), Link("t", 1, False), Recognised("p", "a"))
    other = row(make_call([USER], HELLO, started_at=3.0), Link("x:mine", 0, True))
    known = row(make_call([USER], HELLO, started_at=4.0), Link("x:old", 1, True, known=True))
    runs = trajectories_tables([good, bad, other, known])
    [first], [second], [third] = (part.to_pylist() for part in (runs.opened, runs.named, runs.continued))
    assert third["trajectory_id"] == "x:old"
    assert (first["calls"], first["first_at"], first["last_at"], first["agent_id"]) == (2, 1.0, 2.0, "a")
    assert (first["success"], first["success_source"], first["session"]) == (False, "heuristic_failed_call", "s")
    assert (second["trajectory_id"], second["explicit"], second["success"]) == ("x:mine", True, True)
    assert [part.num_rows for part in trajectories_tables([row(make_call([USER], HELLO), None)])] == [0, 0, 0]
