"""Feedback through the started data plane into the label of a run; and what the sender is told otherwise."""

import gzip
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from agent_side import Said
from conformance.plane import free_port, started

from tutelage.proxy.exchange import Exchange
from tutelage.proxy.feedback import serve
from tutelage.proxy.options import ControlOptions, to_environment
from tutelage.traffic.feedback import PATH

GOOD = {"metric": "success", "value": False, "trajectory": "run 1"}
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


def said(**fields: Any) -> bytes:
    return json.dumps({**GOOD, **fields}).encode()


def test_it_is_in_the_journal_and_the_teacher_is_not_asked(plane: Any) -> None:
    asked = len(plane.teacher.seen)
    reply = plane.ask(said(id="vote-1"), path=PATH)
    assert reply.status == 202
    assert json.loads(reply.body) == {"id": "vote-1", "object": "feedback", "metric": "success"}
    record = plane.record(reply.call_id)
    assert (record.endpoint, record.status, record.route) == (PATH, 202, "none")
    assert json.loads(record.request) == {**GOOD, "id": "vote-1"}
    assert len(record.caller) == 16
    packed = plane.ask(gzip.compress(said()), ("content-encoding", "gzip"), path=PATH)
    assert packed.status == 202
    assert json.loads(packed.body)["id"] == packed.call_id
    assert json.loads(plane.record(packed.call_id).request) == GOOD
    assert len(plane.teacher.seen) == asked


@pytest.mark.parametrize(
    ("body", "headers", "status", "code", "words"),
    [
        (said(trajectory=None), [], 400, "bad_feedback", "exactly one of call_id, trajectory, last_of"),
        (b"{", [], 400, "bad_feedback", "JSON object"),
        (b"", [], 400, "bad_feedback", "JSON object"),
        (said(source="verifier:x"), [], 400, "bad_feedback", "verifiers'"),
        (said(), [("content-encoding", "br")], 415, "bad_encoding", "gzip"),
    ],
)
def test_mistakes_are_told_as_openai_would(
    plane: Any, body: bytes, headers: list[tuple[str, str]], status: int, code: str, words: str
) -> None:
    reply = plane.ask(body, *headers, path=PATH)
    error = json.loads(reply.body)["error"]
    assert (reply.status, error["code"], error["type"]) == (status, code, "invalid_request_error")
    assert words in error["message"]
    assert plane.record(reply.call_id).error == code


def test_other_methods_do_not_reach_the_teacher_either(plane: Any) -> None:
    asked = len(plane.teacher.seen)
    reply = httpx.get(f"{plane.url}/feedback", trust_env=False)
    assert (reply.status_code, reply.headers["allow"]) == (405, "POST")
    assert reply.json()["error"]["code"] == "bad_method"
    assert len(plane.teacher.seen) == asked


def test_who_may_not_call_may_not_judge_either(tmp_path: Path) -> None:
    with started(tmp_path, require_keys=True) as plane:
        reply = plane.ask(said(), path=PATH)
        assert reply.status == 401
        assert plane.record(reply.call_id).status == 401


def test_a_journal_that_takes_nothing_is_not_acknowledged() -> None:
    reply: Any = Said()
    call = Exchange(reply, lambda _: False, "POST", PATH, [], {}, 10_000)
    serve(call, said())
    assert (reply.status, reply.headers["retry-after"]) == (503, "5")
    assert json.loads(reply.body)["error"]["code"] == "journal_full"


CHECK = """
def polite(run):
    return "thank you" in str(run.messages[0])
"""


def test_an_agent_posts_and_the_outcome_is_in_the_store(tmp_path: Path) -> None:
    (tmp_path / "my_polite.py").write_text(CHECK)
    data = tmp_path / "data"
    data.mkdir()
    with started(data) as plane:
        for run in ("run 1", "run 2"):
            assert plane.ask(json.dumps(CHAT).encode(), ("x-tutelage-trajectory", run)).status == 200
        assert plane.ask(said(), path=PATH).status == 202
        assert plane.ask(said(value=True, source="user"), path=PATH).status == 202
        assert plane.ask(said(value=1.0, source="user", trajectory=None, last_of="run 2"), path=PATH).status == 202
        last = plane.ask(json.dumps(CHAT).encode(), ("x-tutelage-trajectory", "run 3"))
        port = free_port()
        options = ControlOptions(
            data=str(data), teacher_url="", port=port, verifiers=("my_polite:polite",), verifier_limit_s=60.0
        )
        command = [sys.executable, "-m", "tutelage.proxy.control"]
        with subprocess.Popen(command, env=to_environment(options), cwd=tmp_path) as process:
            try:
                found = labels(port, 3)
                assert plane.ask(said(value=True, trajectory=None, call_id=last.call_id), path=PATH).status == 202
                later = labels(port, 3, {"feedback"}, "x:run 3")
            finally:
                process.send_signal(signal.SIGTERM)
                assert process.wait(60) == 0
    assert found == {
        "x:run 1": (False, "feedback"),  # the two say different things: one failure is a failure
        "x:run 2": (True, "feedback:user"),
        "x:run 3": (False, "verifier:my_polite:polite"),
    }
    assert later["x:run 3"] == (True, "feedback")


def labels(port: int, runs: int, sources: set[str] | None = None, run: str = "") -> dict[str, tuple[bool, str]]:
    """The labels of all runs, once none is guessed any more and that of `run` has one of these sources."""
    ends = time.monotonic() + 60
    found: dict[str, tuple[bool, str]] = {}
    while time.monotonic() < ends:
        try:
            rows = httpx.get(f"http://127.0.0.1:{port}/api/trajectories", trust_env=False).json()
        except httpx.TransportError:
            rows = []
        found = {row["trajectory_id"]: (row["success"], row["success_source"]) for row in rows}
        guessed = [source for _, source in found.values() if not source.startswith(("feedback", "verifier"))]
        if len(found) == runs and not guessed and (sources is None or found[run][1] in sources):
            return found
        time.sleep(0.05)
    raise AssertionError(f"no labels but {found}")
