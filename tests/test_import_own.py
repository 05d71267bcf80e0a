"""An export comes back as it was: the same calls, requests, answers and runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tutelage.traffic.conversations import answers_of, requests_of
from tutelage.traffic.errors import BadInput
from tutelage.traffic.import_own import read
from tutelage.traffic.importing import import_calls
from tutelage.traffic.ingest import Ingest
from tutelage.traffic.parquet import MANIFEST, export_parquet
from tutelage.traffic.records import CallRecord, encode
from tutelage.traffic.store import Store
from tutelage.traffic.verify import verify

Make = Callable[..., CallRecord]
USER, HELLO = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}
THANKS = {"role": "user", "content": "thanks"}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
SAME = (
    "call_id, started_at, endpoint, caller, route, reason, fallback, student, model, trajectory_id, turn, session, "
    "hint, request_tail, response_id, toolset_id, params, status, cancelled, error, finish_reason, prompt_tokens, "
    "completion_tokens, cached_tokens, retry, retry_of, retried, confidence, request_id, teacher, "
    "request_raw, response_raw"
)


def records(make: Make) -> list[CallRecord]:
    return [
        make([USER], HELLO, started_at=1.0, tools=[TOOL], session="a" * 32, confidence=-0.5),
        make([USER, HELLO, THANKS], HELLO, started_at=2.0, tools=[TOOL], caller="", session="a" * 32),
        make([THANKS], HELLO, started_at=3.0, trajectory="mine", route="student", student="s@1", parent="up"),
        make([THANKS], started_at=500.0, status=500, response=b'{"error": {"message": "no"}}'),
        make([THANKS], HELLO, started_at=501.0),
        make([], started_at=900.0, endpoint="/v1/embeddings", status=200, response=b"{}", request=b'{"input": "x"}'),
        make([USER], started_at=950.0, cancelled=True, response=b""),
        make([], started_at=960.0, request=b"not json", status=400, error="bad_json"),
    ]


def rows(store: Store) -> list[Any]:
    return store.rows(f"SELECT {SAME} FROM calls ORDER BY started_at")


def test_there_and_back(tmp_path: Path, make_call: Make) -> None:
    with Store(tmp_path / "a.duckdb") as first, Store(tmp_path / "b.duckdb") as second:
        Ingest(first).apply([encode(record) for record in records(make_call)], {})
        export_parquet(first, tmp_path / "out", 0.0)
        ingest = Ingest(second)

        def intake(found: Any) -> None:
            ingest.apply([encode(record) for record in found], {})

        report = import_calls(second, tmp_path / "out", intake)
        assert (report.form, report.rows, report.new, report.skipped) == ("own", 8, 8, {})
        assert rows(second) == rows(first)
        ids = [str(row[0]) for row in rows(first)]
        assert requests_of(second, ids) == requests_of(first, ids)
        assert answers_of(second, ids) == answers_of(first, ids)
        runs = "SELECT trajectory_id, explicit, calls, first_at, last_at, parent_id FROM trajectories ORDER BY 1"
        assert second.rows(runs) == first.rows(runs)
        assert verify(second).found == 0
        assert import_calls(second, tmp_path / "out" / MANIFEST, intake).new == 0
        assert not list(tmp_path.glob(".*"))


def test_a_request_of_another_protocol_comes_back_as_a_chat(tmp_path: Path, make_call: Make) -> None:
    body = b'{"model": "m", "input": "hi"}'
    answer = (
        b'{"object": "response", "id": "resp_1", "status": "completed", "model": "m", "output": [{"type": "message", '
        b'"role": "assistant", "content": [{"type": "output_text", "text": "hello"}]}]}'
    )
    record = make_call([], started_at=1.0, endpoint="/v1/responses", request=body, response=answer, status=200)
    with Store(tmp_path / "a.duckdb") as first, Store(tmp_path / "b.duckdb") as second:
        Ingest(first).apply([encode(record)], {})
        export_parquet(first, tmp_path / "out", 0.0)
        import_calls(second, tmp_path / "out", lambda found: Ingest(second).apply([encode(one) for one in found], {}))
        sql = "SELECT request_tail, response_id, upstream_id FROM calls"
        assert second.rows(sql) == first.rows(sql)
        assert second.value("SELECT endpoint FROM calls") == "/v1/chat/completions"


def test_an_unfinished_export_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with Store(tmp_path / "a.duckdb") as store, pytest.raises(BadInput, match="no finished export"):
        import_calls(store, tmp_path / "out", lambda found: None, form="own")


def test_what_a_killed_import_left_behind_is_no_obstacle(tmp_path: Path, make_call: Make) -> None:
    with Store(tmp_path / "a.duckdb") as first:
        Ingest(first).apply([encode(record) for record in records(make_call)], {})
        export_parquet(first, tmp_path / "out", 0.0)
    scratch = tmp_path / ".b.import"
    killed = read(tmp_path / "out", scratch)
    next(killed)
    left = {path.name: path.read_bytes() for path in tmp_path.glob(".b.import*")}
    killed.close()
    assert left
    for name, content in left.items():
        (tmp_path / name).write_bytes(content)
    assert len(list(read(tmp_path / "out", scratch))) == 8
    assert not list(tmp_path.glob(".b.import*"))
