"""One call: what the agent gets of it, what the journal gets, and in which order."""

from collections.abc import Awaitable
from typing import Any

import pytest

from tutelage.proxy import openai_errors
from tutelage.proxy.exchange import Exchange, is_text
from tutelage.proxy.http_messages import Reply, Request
from tutelage.traffic.records import CallRecord, decode


class Agent:
    """Keeps what is sent and what is written down, in one order; also the wire of its reply."""

    closing = False

    def __init__(self, **notes: Any) -> None:
        self.order: list[Any] = []
        reply = Reply(Request("POST", "/v1/x", []), self)
        self.call = Exchange(reply, self.append, "POST", "/v1/x", [], {}, keep_bytes=10, **notes)

    def write(self, data: bytes) -> None:
        self.order.append(data)

    def drained(self) -> Awaitable[None] | None:
        return None

    def abort(self) -> None:
        self.order.append("dropped")

    def append(self, payload: bytes) -> bool:
        self.order.append(decode(payload))
        return True

    @property
    def head(self) -> list[str]:
        return self.order[0].split(b"\r\n\r\n")[0].decode().split("\r\n")

    @property
    def record(self) -> CallRecord:
        (record,) = [item for item in self.order if isinstance(item, CallRecord)]
        return record


def test_the_record_is_written_once_and_before_the_answer() -> None:
    agent = Agent()
    agent.call.whole(200, [("content-type", "application/json")], b"{}")
    agent.call.log()
    record, answer = agent.order
    assert (record.status, record.response) == (200, b"{}")
    assert answer.endswith(b"\r\n\r\n{}")


def test_headers_tell_who_answered() -> None:
    agent = Agent(route="student", reason="state:live", student="small@1", model="gpt", confidence=-0.5)
    agent.call.begin(200, [("x-tutelage-route", "theirs")], length=2)
    assert agent.head == [
        "HTTP/1.1 200 OK",
        f"x-request-id: {agent.call.call_id}",
        f"x-tutelage-call-id: {agent.call.call_id}",
        "x-tutelage-route: student",
        "x-tutelage-reason: state:live",
        "x-tutelage-model: small@1",
        "x-tutelage-confidence: -0.5000",
        "content-length: 2",
    ]


def test_a_model_name_that_is_no_header_is_left_out() -> None:
    agent = Agent(model="m\r\nx-evil: 1")
    agent.call.begin(200, [])
    assert not [line for line in agent.head if line.startswith(("x-tutelage-model", "x-evil"))]


def test_long_and_binary_answers_are_not_kept() -> None:
    long, binary = Agent(), Agent(response_type="audio/mpeg")
    for agent, piece in ((long, b"x" * 11), (binary, b"x")):
        agent.call.keep(piece)
        agent.call.log()
        assert agent.record.response == b""
        assert agent.record.first_byte_ms > 0


def test_an_answer_that_was_to_be_a_stream_but_is_none() -> None:
    agent = Agent(stream=True)
    agent.call.begin(400, [("content-type", "application/json")])
    assert not agent.call.stream


def test_refusals_are_written_down() -> None:
    agent = Agent(stream=True)
    agent.call.refuse(openai_errors.bad_json("x"))
    record = agent.record
    assert (record.status, record.route, record.error, record.reason) == (400, "none", "bad_json", "bad_json")
    assert not record.stream
    assert agent.order[-1].startswith(b"HTTP/1.1 400 Bad Request")


@pytest.mark.parametrize(
    ("kind", "text"),
    [("", True), ("application/json", True), ("text/event-stream; charset=utf-8", True), ("image/png", False)],
)
def test_what_is_text(kind: str, text: bool) -> None:
    assert is_text(kind) is text
