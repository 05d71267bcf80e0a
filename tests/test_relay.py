"""Rules of the relay that the application's tests do not reach; the common paths are in test_app."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest

from tutelage.proxy import openai_errors
from tutelage.proxy.breaker import Breaker
from tutelage.proxy.callers import AcceptedCallers
from tutelage.proxy.exchange import Exchange
from tutelage.proxy.http_messages import Reply, Request
from tutelage.proxy.relay import Relay
from tutelage.proxy.retries import Retries
from tutelage.proxy.teachers import Teacher, Teachers
from tutelage.proxy.upstream import Body, Headers, UpstreamError
from tutelage.traffic.records import CallRecord, decode

SSE = [("content-type", "text/event-stream")]
JSON = [("content-type", "application/json"), ("content-length", "9")]


class Answer:
    def __init__(self, headers: Headers, *pieces: bytes | Exception, status: int = 200) -> None:
        self.status, self.headers, self.left, self.closed = status, headers, list(pieces), False

    async def piece(self) -> bytes | None:
        await asyncio.sleep(0)
        piece = self.left.pop(0) if self.left else None
        if isinstance(piece, Exception):
            raise piece
        return piece

    async def close(self) -> None:
        self.closed = True


class Setting:
    """A relay, a call to it, and everything that happened in order; also the wire of the reply."""

    closing = False

    def __init__(self, *answers: Answer, key: str = "", **notes: Any) -> None:
        self.answers, self.bodies, self.sent_headers = list(answers), [], []
        self.order: list[Any] = []
        self.callers = AcceptedCallers(60)
        teachers = Teachers(Teacher("default", "http://t/v1", key))
        breakers = {name: Breaker(2, 10.0, 60.0) for name in ("default", "student")}
        self.relay = Relay(self, self.callers, teachers, "http://s/v1", 1.0, Retries(0, 0.0), breakers)
        named = {"content-length": "5", "authorization": "Bearer agent"}
        reply = Reply(Request("POST", "/v1/x", [], http10=True), self)  # without chunk marks
        self.call = Exchange(reply, self._append, "POST", "/v1/x", [*named.items()], named, 1000, **notes)

    async def send(self, method: str, url: str, headers: Headers, body: Body, *, whole: bool = False) -> Answer:
        self.bodies.append((url, body))
        self.sent_headers.append(dict(headers))
        return self.answers.pop(0)

    async def close(self) -> None:
        return

    def write(self, data: bytes) -> None:
        head, _, body = data.rpartition(b"\r\n\r\n") if data.startswith(b"HTTP/1.1") else (b"", b"", data)
        self.order += ["head"] if head else []
        self.order += [body] if body else []

    def drained(self) -> Awaitable[None] | None:
        return None

    def abort(self) -> None:
        self.order.append("dropped")

    def _append(self, payload: bytes) -> bool:
        self.order.append(decode(payload))
        return True

    @property
    def happened(self) -> list[Any]:
        return ["record" if isinstance(item, CallRecord) else item for item in self.order]


def test_the_record_precedes_the_end_of_a_stream() -> None:
    setting = Setting(Answer(SSE, b"data: 1\n\n", b"data: [DONE]\n\n"), stream=True)
    asyncio.run(setting.relay.teacher(setting.call, b"{}", {"stream": True, "stream_options": {"include_usage": True}}))
    assert setting.happened == ["head", b"data: 1\n\n", "record", b"data: [DONE]\n\n"]


def test_a_plain_answer_that_breaks_off_drops_the_connection() -> None:
    answer = Answer(JSON, b"abc", UpstreamError(openai_errors.broken_off()))
    setting = Setting(answer)
    asyncio.run(setting.relay.other(setting.call, b"", "/files/1/content"))
    assert setting.happened == ["head", b"abc", "record", "dropped"]
    assert answer.closed


def test_a_refusal_that_is_not_about_usage_is_relayed_without_asking_again() -> None:
    setting = Setting(Answer(JSON, b"bad tools", status=400), stream=True)
    asyncio.run(setting.relay.teacher(setting.call, b'{"stream":true}', {"stream": True}))
    assert setting.happened == ["record", "head", b"bad tools"]
    assert len(setting.bodies) == 1


def test_the_proxys_key_replaces_the_agents() -> None:
    setting = Setting(Answer(JSON, b"x"), key="sk-proxy")
    asyncio.run(setting.relay.teacher(setting.call, b"{}", {}))
    assert setting.sent_headers[0]["authorization"] == "Bearer sk-proxy"


def test_only_the_teacher_accepts_callers() -> None:
    setting = Setting(Answer(JSON, b"x"), Answer(JSON, b"x"), caller="c", student="small@1")
    assert asyncio.run(setting.relay.student(setting.call, {"model": "m"}))
    assert not setting.callers.accepted("c")
    asyncio.run(setting.relay.teacher(setting.call, b"{}", {}))
    assert setting.callers.accepted("c")


def test_the_student_is_asked_for_usage_too_and_the_chunk_withheld() -> None:
    usage = b'data: {"choices":[],"usage":{"total_tokens":1}}\n\n'
    setting = Setting(Answer(SSE, b"data: 1\n\n", usage, b"data: [DONE]\n\n"), stream=True, student="small@1")
    body = {"model": "m", "stream": True, "stream_options": {"include_obfuscation": False}}
    assert asyncio.run(setting.relay.student(setting.call, body))
    url, sent = setting.bodies[0]
    assert url == "http://s/v1/chat/completions"
    assert json.loads(sent) == {
        "model": "small@1",
        "stream": True,
        "stream_options": {"include_obfuscation": False, "include_usage": True},
    }
    assert setting.happened == ["head", b"data: 1\n\n", "record", b"data: [DONE]\n\n"]
    (record,) = [item for item in setting.order if isinstance(item, CallRecord)]
    assert usage in record.response


def test_a_request_that_cannot_be_written_again_goes_to_the_teacher() -> None:
    setting = Setting(student="small@1")
    assert not asyncio.run(setting.relay.student(setting.call, {"messages": "\ud800"}))
    assert (setting.call.route, setting.call.fallback) == ("teacher", "bad_json")
    assert setting.happened == []


def test_an_upload_in_pieces_keeps_its_length() -> None:
    setting = Setting(Answer(SSE, b"event: x\n\n"))

    async def pieces() -> AsyncIterator[bytes]:
        yield b"12345"

    asyncio.run(setting.relay.other(setting.call, pieces(), "/files?a=1"))
    assert setting.bodies[0][0] == "http://t/v1/files?a=1"
    assert setting.sent_headers[0]["content-length"] == "5"
    assert setting.call.stream


def scored(confidence: str | None) -> Answer:
    told = [("x-tutelage-confidence", confidence)] if confidence is not None else []
    return Answer([*JSON, *told], b'{"a": 1}')


@pytest.mark.parametrize(
    ("threshold", "confidence", "served", "kept"),
    [
        (None, None, True, None),
        (None, "-0.9", True, -0.9),
        (-0.5, "-0.5", True, -0.5),
        (-0.5, "-0.51", False, -0.51),
        (-0.5, None, False, None),
        (-0.5, "nan", False, None),
        (-0.5, "inf", False, None),
        (-0.5, "sure", False, None),
    ],
)
def test_answers_below_the_threshold_fall_open(
    threshold: float | None, confidence: str | None, served: bool, kept: float | None
) -> None:
    answer = scored(confidence)
    setting = Setting(answer, student="s@1", threshold=threshold)
    assert asyncio.run(setting.relay.student(setting.call, {})) is served
    assert (setting.call.route, setting.call.confidence) == ("student" if served else "teacher", kept)
    assert setting.call.fallback == ("" if served else "low_confidence")
    assert answer.closed
    assert bool(setting.order) is served  # nothing had gone to the agent


def test_the_students_server_is_told_how_long_it_may_take() -> None:
    setting = Setting(scored(None), student="s@1")
    asyncio.run(setting.relay.student(setting.call, {}))
    assert setting.sent_headers[0]["x-tutelage-timeout-ms"] == "950"


def test_the_students_server_is_told_the_pattern_and_that_its_answer_is_served() -> None:
    setting = Setting(scored(None), student="s@1", pattern="p_1")
    asyncio.run(setting.relay.student(setting.call, {"model": "gpt"}))
    assert setting.sent_headers[0]["x-tutelage-pattern"] == "p_1"
    assert "x-tutelage-copy" not in setting.sent_headers[0]
    assert json.loads(setting.bodies[0][1])["model"] == "s@1"


def test_a_silence_under_load_is_told_from_a_silence() -> None:
    class Silent(Answer):
        async def piece(self) -> bytes | None:
            await asyncio.sleep(60)
            return None

    alone = Setting(Silent(JSON), student="s@1")
    alone.relay.student_timeout_s = 0.02
    assert asyncio.run(alone.relay.student(alone.call, {})) is False
    assert alone.call.fallback == "student_timeout"

    busy, other = (Setting(Silent(JSON), student="s@1") for _ in range(2))
    busy.relay.student_timeout_s = 0.02
    busy.answers.append(Silent(JSON))

    async def both() -> None:
        await asyncio.gather(busy.relay.student(busy.call, {}), busy.relay.student(other.call, {}))

    asyncio.run(both())
    assert {busy.call.fallback, other.call.fallback} == {"student_timeout_busy"}
