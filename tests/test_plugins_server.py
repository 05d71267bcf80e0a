"""What plugins post: bodies, answers, addresses and keys."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import pytest

from tutelage.plugins.server import DEFAULT_URL, Server, is_local, key_of, shared, url_of
from tutelage.proxy.intake_form import parse as parse_records
from tutelage.proxy.intake_form import record_in
from tutelage.traffic.feedback import parse as parse_feedback


class Site:
    """Answers as told, then accepts."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.seen: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        answer = self.answers.pop(0) if self.answers else httpx.Response(202, json={})
        if isinstance(answer, Exception):
            raise answer
        return answer


@contextmanager
def serving(site: Callable[[httpx.Request], httpx.Response], **settings: Any) -> Iterator[Server]:
    transport = httpx.MockTransport(site)
    made = Server(
        "http://tutelage.test", "sk-x", source="plugin:t", transport=transport, first_pause_s=0.01, **settings
    )
    try:
        yield made
    finally:
        made.shutdown(0.2)


def test_feedback_is_what_the_proxy_takes() -> None:
    site = Site()
    with serving(site) as server:
        server.feedback("success", False, trajectory="run 1", comment="x" * 5000)
        server.feedback("tool_errors", 2, call_id="chatcmpl-1")
        assert server.flush()
    given = [parse_feedback(request.content) for request in site.seen]
    assert [(one.target, one.metric, one.value, one.source) for one in given] == [
        (("trajectory", "run 1"), "success", False, "plugin:t"),
        (("call_id", "chatcmpl-1"), "tool_errors", 2, "plugin:t"),
    ]
    assert len(given[0].comment) == 1000
    assert len({one.id for one in given}) == 2
    assert {str(request.url) for request in site.seen} == {"http://tutelage.test/v1/feedback"}
    assert {request.headers["authorization"] for request in site.seen} == {"Bearer sk-x"}


RECORD = {"id": "1", "started_at": 1_800_000_000.0, "request": {"messages": [{"role": "user", "content": "☃"}]}}


def test_records_are_what_the_proxy_takes_and_travel_together() -> None:
    site = Site(httpx.ConnectError("refused"))
    with serving(site) as server:
        for number in range(30):
            server.record({**RECORD, "id": str(number)})
        assert server.flush()
    batches = [parse_records(request.content) for request in site.seen[1:]]
    records = [record_in(bytes(raw), "caller", batch.source) for batch in batches for raw in batch.records]
    assert len(records) == len({record.call_id for record in records}) == 30
    assert {record.reason for record in records} == {"recorded:plugin:t"}
    assert len(batches) < 30


@pytest.mark.parametrize(
    "answer",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("broke off"),
        httpx.Response(503, headers={"retry-after": "0.05"}, json={"error": {"message": "journal full"}}),
        httpx.Response(502),
        httpx.Response(429, headers={"retry-after": "soon"}),
        httpx.Response(408),
    ],
    ids=lambda answer: type(answer).__name__ + str(getattr(answer, "status_code", "")),
)
def test_what_passes_is_tried_again_with_the_same_id(answer: httpx.Response | Exception) -> None:
    site = Site(answer, answer)
    with serving(site) as server:
        server.feedback("success", True, trajectory="run")
        assert server.flush(20)
        assert server.stats.delivered == 1
    assert len(site.seen) == 3
    assert len({request.content for request in site.seen}) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413, 422])
def test_what_will_never_pass_is_given_up_and_said(status: int, caplog: pytest.LogCaptureFixture) -> None:
    site = Site(httpx.Response(status, text="no, because"))
    with serving(site) as server:
        server.feedback("success", True, trajectory="run")
        server.feedback("success", True, trajectory="run")
        assert server.flush()
        assert (server.stats.refused, server.stats.delivered) == (1, 1)
    assert re.search(f"answers {status}: no, because", caplog.text)


def test_single_records_that_are_rejected_are_counted() -> None:
    told = {"accepted": 1, "rejected": 1, "problems": [{"index": 0, "error": "no request"}]}
    with serving(Site(httpx.Response(202, json=told))) as server:
        server.record(RECORD)
        assert server.flush()
        assert server.stats.refused == 1
        assert "no request" in server.stats.problem


def test_a_fault_of_ours_is_no_endless_loop() -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        raise RuntimeError("oops")

    with serving(broken) as server:
        server.feedback("success", True, trajectory="run")
        assert server.flush()
        assert (server.stats.refused, server.stats.problem) == (1, "RuntimeError: oops")


LAST_WORDS = """
import sys
from tutelage.plugins.server import Server
Server(sys.argv[1], "k").feedback("success", True, trajectory="run")
"""


def test_what_is_said_last_still_arrives() -> None:
    got: list[bytes] = []

    class Page(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(202)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        command = [sys.executable, "-c", LAST_WORDS, f"http://127.0.0.1:{site.server_port}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        site.shutdown()
    assert (done.stderr, [parse_feedback(body).metric for body in got]) == ("", ["success"])


def test_what_json_cannot_hold_is_said_as_well_as_possible() -> None:
    site = Site()
    with serving(site) as server:
        server.record({**RECORD, "request": {"a": "\ud800", "b": {1, 2}, "c": 10**400}})
        assert server.flush()
    said = json.loads(site.seen[0].content)["records"][0]["request"]
    assert (said["a"], said["b"], said["c"]) == ("\ud800", "{1, 2}", 10**400)


def test_addresses_and_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TUTELAGE_URL", "TUTELAGE_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    assert (url_of(), key_of()) == (DEFAULT_URL, "")
    assert url_of("https://desk.test:8400/") == "https://desk.test:8400/v1"
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    monkeypatch.setenv("TUTELAGE_URL", "http://desk.test/v1/")
    assert (url_of(), key_of()) == ("http://desk.test/v1", "sk-openai")
    monkeypatch.setenv("TUTELAGE_API_KEY", "sk-tu")
    assert (url_of("http://other.test"), key_of(), key_of("mine")) == ("http://other.test/v1", "sk-tu", "mine")
    for odd in ("desk.test:8400", "ftp://desk.test", "http://"):
        with pytest.raises(ValueError, match="address of a Tutelage server"):
            url_of(odd)
    assert [is_local(f"http://{host}/v1") for host in ("127.0.0.1:1", "localhost", "[::1]:2", "x.test")] == [
        True,
        True,
        True,
        False,
    ]


def test_one_server_serves_all_handlers_of_an_address() -> None:
    first = shared("http://desk.test", "k", "plugin:a")
    assert shared("http://desk.test/v1/", "k", "plugin:a") is first
    others = [shared("http://desk.test", "l", "plugin:a"), shared("http://desk.test", "k", "plugin:b")]
    assert all(other is not first for other in others)
    assert first.shutdown()
    assert shared("http://desk.test", "k", "plugin:a") is not first
