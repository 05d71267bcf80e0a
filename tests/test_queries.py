"""Lists, totals and details, over a small store whose numbers can be counted by hand."""

from collections.abc import Callable, Iterator
from dataclasses import astuple
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from tutelage.traffic import queries
from tutelage.traffic.errors import UnknownName
from tutelage.traffic.ingest import Ingest
from tutelage.traffic.patterns import PatternEntry
from tutelage.traffic.records import CallRecord, encode
from tutelage.traffic.store import Store

Make = Callable[..., CallRecord]
USER = {"role": "user", "content": "hi"}
HELLO = {"role": "assistant", "content": "hello"}
THANKS = {"role": "user", "content": "thanks"}


@pytest.fixture
def records(make_call: Make) -> list[CallRecord]:
    """A run of two calls, a student's call, a fallback, an embedding, a failure; one a minute."""
    return [
        make_call([USER], HELLO, started_at=0.0, pattern="p_1", latency_ms=100.0),
        make_call([USER, HELLO, THANKS], HELLO, started_at=60.0, pattern="p_2", latency_ms=300.0),
        make_call([USER], HELLO, started_at=120.0, pattern="p_1", route="student", student="s@1", caller="b"),
        make_call([USER], HELLO, started_at=121.0, pattern="p_1", student="s@1", fallback="timeout", caller="c"),
        msgspec.structs.replace(make_call([USER], HELLO, started_at=180.0), endpoint="/v1/embeddings"),
        make_call([THANKS], started_at=240.0, status=500, response=b"boom"),
    ]


@pytest.fixture
def store(tmp_path: Path, records: list[CallRecord]) -> Iterator[Store]:
    with Store(tmp_path / "store.duckdb") as opened:
        Ingest(opened).apply([encode(record) for record in records], {})
        for name in ("p_1", "p_2", "p_3"):
            entry = PatternEntry(pattern_id=name, agent_id="a", name="n", version=1, role="user", agent_key="k")
            body = msgspec.json.encode(entry).decode()
            opened.execute("INSERT INTO patterns VALUES (?, 'a', 'n', 1, 'user', ?, 0)", [name, body])
        yield opened


def test_totals(store: Store) -> None:
    found = queries.stats(store)
    assert (found.calls, found.trajectories, found.messages, found.patterns) == (6, 4, 5, 3)
    assert found.bytes == store.bytes_on_disk() > 0


def test_calls_come_newest_first_and_can_be_narrowed(store: Store, records: list[CallRecord]) -> None:
    ids = [record.call_id for record in records]
    assert [call.call_id for call in queries.list_calls(store)] == ids[::-1]
    assert [call.call_id for call in queries.list_calls(store, 2, before=180.0)] == [ids[3], ids[2]]
    assert [call.call_id for call in queries.list_calls(store, pattern="p_1")] == [ids[3], ids[2], ids[0]]
    assert [call.turn for call in queries.list_calls(store, trajectory=ids[0])] == [1, 0]


def test_a_call_in_detail(store: Store, records: list[CallRecord]) -> None:
    detail = queries.show_call(store, records[1].call_id)
    assert detail.request == {"model": "teacher-1", "temperature": 0, "messages": [USER, HELLO, THANKS]}
    assert (detail.answer, detail.request_raw, detail.response_raw) == (HELLO, "", "")
    detail = queries.show_call(store, records[4].call_id)
    assert (detail.request, detail.answer, detail.call.error) == (None, None, "no_data")
    assert detail.request_raw == records[4].request.decode()
    assert queries.show_call(store, records[5].call_id).response_raw == "boom"
    with pytest.raises(UnknownName):
        queries.show_call(store, str(uuid4()))


def test_trajectories(store: Store, records: list[CallRecord]) -> None:
    listed = queries.list_trajectories(store)
    assert [run.calls for run in listed] == [1, 1, 1, 2]
    assert [run.success for run in listed] == [False, True, True, True]
    assert queries.list_trajectories(store, agent="nobody") == []
    assert [run.last_at for run in queries.list_trajectories(store, 1, before=100.0)] == [60.0]
    detail = queries.show_trajectory(store, records[0].call_id)
    assert detail.trajectory == listed[3]
    assert [call.call_id for call in detail.calls] == [records[0].call_id, records[1].call_id]
    assert detail.messages == [USER, HELLO, THANKS, HELLO]
    with pytest.raises(UnknownName, match="tutelage trajectories list"):
        queries.show_trajectory(store, "nothing")


def test_patterns_with_their_traffic(store: Store) -> None:
    first, second, idle = queries.list_patterns(store)
    assert (first.pattern_id, first.calls, first.sessions) == ("p_1", 3, 3)
    assert (first.teacher_calls, first.student_calls, first.fallback_calls) == (2, 1, 1)
    assert (first.prompt_tokens, first.completion_tokens, first.first_at, first.last_at) == (300, 30, 0.0, 121.0)
    assert (second.pattern_id, second.calls) == ("p_2", 1)
    assert (idle.pattern_id, idle.calls, idle.prompt_tokens, idle.first_at) == ("p_3", 0, 0, None)
    summary, entry = queries.show_pattern(store, "p_2")
    assert summary == second
    assert entry["agent_key"] == "k"
    with pytest.raises(UnknownName, match="p_9"):
        queries.show_pattern(store, "p_9")


def test_traffic_over_time(store: Store) -> None:
    points = [astuple(point) for point in queries.traffic_by_minute(store, 60.0)]
    assert points == [
        (60.0, "teacher", 1, 0, 100, 10),
        (120.0, "student", 1, 0, 100, 10),
        (120.0, "teacher", 1, 0, 100, 10),
        (180.0, "teacher", 1, 0, 100, 10),
        (240.0, "teacher", 1, 1, 0, 0),
    ]
    assert len(queries.traffic_by_minute(store, bucket_s=3600.0)) == 2
    assert [point.at for point in queries.traffic_by_minute(store, pattern="p_2")] == [60.0]


def test_use_of_models(store: Store) -> None:
    use = {(one.route, one.model): one for one in queries.model_use(store, pattern="p_1")}
    assert use["student", "teacher-1-big"].calls == 1
    teacher = use["teacher", "teacher-1-big"]
    assert (teacher.calls, teacher.prompt_tokens, teacher.latency_p50_ms) == (2, 200, 0.0)
    assert teacher.latency_p95_ms == pytest.approx(100.0, rel=0.05)
    assert sum(one.calls for one in queries.model_use(store)) == 6
    assert queries.model_use(store, since=1e6) == []
