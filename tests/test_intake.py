"""Records of log sources through the started data plane into the store; and what their senders are told otherwise."""

import asyncio
import gzip
import json
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from agent_side import Said
from conformance.plane import started

from tutelage.proxy.exchange import Exchange
from tutelage.proxy.intake import PATH, serve
from tutelage.traffic.discovery import Discovery
from tutelage.traffic.ingest import Ingest
from tutelage.traffic.journal import JournalReader
from tutelage.traffic.patterns import Registry
from tutelage.traffic.store import Store


def recorded(run: str, turn: int = 0, **fields: Any) -> dict[str, Any]:
    """One call of a run, with the turns before it."""
    messages = [{"role": "system", "content": "You are kind."}, {"role": "user", "content": f"hello {run}"}]
    for at in range(turn):
        messages += [{"role": "assistant", "content": f"answer {at}"}, {"role": "user", "content": f"and {at}"}]
    answer = {"role": "assistant", "content": f"answer {turn}"}
    choices = [{"index": 0, "message": answer, "finish_reason": "stop"}]
    usage = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
    return {
        "id": f"{run}/{turn}",
        "started_at": 1_800_000_000.0 + turn,
        "request": {"model": "m", "messages": messages},
        "response": {"id": f"chatcmpl-{run}-{turn}", "model": "m-1", "choices": choices, "usage": usage},
        **fields,
    }


def body(*records: Any, **fields: Any) -> bytes:
    return json.dumps({"records": records, **fields}).encode()


def stored(data: Path) -> Store:
    """The store with everything in it that the journal holds."""
    store = Store(data / "store.duckdb")
    batch = JournalReader(data / "journal").read({}, 1 << 30)
    Ingest(store, Discovery(Registry())).apply(batch.records, batch.positions)
    return store


def test_records_become_runs_patterns_and_costs_like_proxied_calls(tmp_path: Path) -> None:
    with started(tmp_path) as plane:
        for turn in range(2):
            reply = plane.ask(body(recorded("free", turn), source="plugin:test"), path=PATH)
            assert reply.status == 202, reply.body
        named: dict[str, Any] = {"trajectory": "run 1", "pattern": "desk", "conversation": "thread 1"}
        packed = gzip.compress(body(recorded("a", **named), recorded("b", **{**named, "trajectory": "run 2"})))
        reply = plane.ask(packed, ("content-encoding", "gzip"), path=PATH)
        told = json.loads(reply.body)
        assert {**told, "call_ids": 2} == {
            "object": "records",
            "accepted": 2,
            "call_ids": 2,
            "rejected": 0,
            "problems": [],
        }
        again = json.loads(plane.ask(packed, ("content-encoding", "gzip"), path=PATH).body)
        assert again == told
        assert not plane.teacher.seen
    with stored(tmp_path) as store:
        rows = store.query("SELECT * FROM calls ORDER BY trajectory_id, turn")
        runs = [(row["trajectory_id"], row["turn"]) for row in rows]
        free = runs[0][0]
        assert runs == [(free, 0), (free, 1), ("x:run 1", 0), ("x:run 2", 0)]
        assert {row["reason"] for row in rows} == {"recorded:plugin:test", "recorded"}
        assert {(row["prompt_tokens"], row["model"], row["route"]) for row in rows} == {(9, "m-1", "teacher")}
        assert rows[2]["session"] == rows[3]["session"] != rows[0]["session"]
        assert [row["call_id"] for row in rows[2:]] == told["call_ids"]
        assert store.value("SELECT name FROM patterns WHERE pattern_id = ?", [rows[2]["pattern_id"]]) == "desk"


def test_good_records_are_kept_and_bad_ones_named(plane: Any) -> None:
    reply = plane.ask(body(recorded("x"), {"request": {}}, recorded("y")), path=PATH)
    told = json.loads(reply.body)
    assert (reply.status, told["accepted"], told["rejected"]) == (202, 2, 1)
    assert told["problems"][0]["index"] == 1
    assert "started_at" in told["problems"][0]["error"]
    for call_id in told["call_ids"]:
        assert plane.record(call_id).reason == "recorded"
    assert not [record for record in plane.records() if record.endpoint == PATH]


@pytest.mark.parametrize(
    ("sent", "headers", "status", "code", "words"),
    [
        (b"{", [], 400, "bad_records", "docs/log-sources.md"),
        (body({"request": {}}), [], 400, "bad_records", "None of the 1 records fits"),
        (b"x", [("content-encoding", "br")], 415, "bad_encoding", "gzip"),
    ],
)
def test_mistakes_are_told(
    plane: Any, sent: bytes, headers: list[tuple[str, str]], status: int, code: str, words: str
) -> None:
    reply = plane.ask(sent, *headers, path=PATH)
    error = json.loads(reply.body)["error"]
    assert (reply.status, error["code"]) == (status, code)
    assert words in error["message"]
    assert plane.record(reply.call_id).error == code


def test_large_uploads_without_a_type_are_read_whole(plane: Any) -> None:
    many = body(*[recorded("z")] * 2)
    padded = many + b" " * (2 << 20)
    reply = plane.ask(padded, ("content-type", ""), path=PATH)
    assert (reply.status, json.loads(reply.body)["accepted"]) == (202, 2)


def test_keys_and_the_switch_hold(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("keys", "off")]
    for folder in folders:
        folder.mkdir()
    with started(folders[0], require_keys=True) as plane:
        assert plane.ask(body(recorded("x")), path=PATH).status == 401
    with started(folders[1], intake=False) as plane:
        reply = plane.ask(body(recorded("x")), path=PATH)
        assert (reply.status, json.loads(reply.body)["error"]["code"]) == (403, "intake_off")


@pytest.mark.parametrize(("room", "behind"), [(1, False), (9, True)])
def test_what_may_be_lost_is_not_acknowledged(room: int, behind: bool) -> None:
    reply: Any = Said()
    kept: list[bytes] = []

    def append(payload: bytes) -> bool:
        if len(kept) < room:
            kept.append(payload)
            return True
        return False

    call = Exchange(reply, append, "POST", PATH, [], {}, 10_000)
    asyncio.run(serve(call, body(recorded("x"), recorded("y")), lambda: behind))
    assert (reply.status, reply.headers["retry-after"]) == (503, "2")
    assert json.loads(reply.body)["error"]["code"] == "journal_full"


@pytest.mark.chaos
def test_what_was_acknowledged_survives_the_death_of_the_worker(tmp_path: Path) -> None:
    with started(tmp_path) as plane:
        acknowledged: list[str] = []
        for number in range(60):
            if number % 20 == 10:
                for child in psutil.Process().children(recursive=True):
                    if "tutelage.proxy.worker" in child.cmdline():
                        child.kill()
            reply = None
            while reply is None:
                try:
                    reply = plane.ask(body(recorded(f"run {number}"), recorded(f"other {number}")), path=PATH)
                except (OSError, AssertionError):
                    time.sleep(0.02)  # the connection died with the worker: sent again, as a sender does
            assert reply.status == 202
            acknowledged += json.loads(reply.body)["call_ids"]
        assert (tmp_path / "stderr.log").read_text().count("is replaced") == 3
        assert len(set(acknowledged)) == 120
        assert set(acknowledged) <= {record.call_id for record in plane.records()}


def test_other_methods_are_told_which_to_use() -> None:
    reply: Any = Said()
    call = Exchange(reply, lambda _: True, "GET", PATH, [], {}, 10_000)
    asyncio.run(serve(call, b"", lambda: False))
    assert (reply.status, reply.headers["allow"]) == (405, "POST")
