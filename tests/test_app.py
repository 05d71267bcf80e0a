"""The agents' port with a fake upstream: what upstreams are sent, what agents get, what is written down."""

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from tutelage.proxy import openai_errors
from tutelage.proxy.app import DataPlane, unpacked
from tutelage.proxy.http_messages import Limits
from tutelage.proxy.http_server import HttpServer
from tutelage.proxy.options import DataPlaneOptions
from tutelage.proxy.routes import Route, RouteTable, publish_table
from tutelage.proxy.upstream import Body, Headers, UpstreamError
from tutelage.proxy.worker import build
from tutelage.traffic.facts import facts_of
from tutelage.traffic.journal import JournalReader
from tutelage.traffic.layout import DataDir
from tutelage.traffic.patterns import PatternEntry, Registry
from tutelage.traffic.records import CallRecord, decode

Result = TypeVar("Result")
TEACHER, STUDENT = "http://teacher/v1", "http://student/v1"
CHAT: dict[str, Any] = {"model": "gpt-mock", "messages": [{"role": "user", "content": "hi"}]}
KEY = {"authorization": "Bearer sk-secret-of-the-agent"}
JSON_TYPE = [("content-type", "application/json")]
SSE_TYPE = [("content-type", "text/event-stream")]
COMPLETION = b'{"id":"chatcmpl-1","object":"chat.completion","choices":[{"index":0,"message":{"content":"hello"}}]}'
WORD = b'data: {"choices":[{"index":0,"delta":{"content":"hello"}}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}\n\n'
DONE = b"data: [DONE]\n\n"


@dataclass
class FakeAnswer:
    """An answer from memory; an exception among the pieces is raised in its turn."""

    status: int = 200
    headers: Headers = field(default_factory=lambda: list(JSON_TYPE))
    pieces: list[bytes | Exception] = field(default_factory=lambda: [COMPLETION])
    delay_s: float = 0.0
    closed: bool = False

    async def piece(self) -> bytes | None:
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        piece = self.pieces.pop(0) if self.pieces else None
        if isinstance(piece, Exception):
            raise piece
        return piece

    async def close(self) -> None:
        self.closed = True


@dataclass
class Sent:
    method: str
    url: str
    headers: dict[str, str]
    body: bytes


@dataclass
class FakeUpstream:
    """Gives the answers in order, whoever asks, and remembers what was asked."""

    answers: list[FakeAnswer | Exception] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)

    async def send(self, method: str, url: str, headers: Headers, body: Body, *, whole: bool = False) -> FakeAnswer:
        sent = body if isinstance(body, bytes) else b"".join([piece async for piece in body])
        self.sent.append(Sent(method, url, dict(headers), sent))
        answer = self.answers.pop(0) if self.answers else FakeAnswer()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self) -> None:
        return


@dataclass
class Bench:
    """A data plane on fakes."""

    upstream: FakeUpstream
    plane: DataPlane
    data: DataDir

    def post(self, body: Any = CHAT, path: str = "/v1/chat/completions", **options: Any) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.request("POST", path, content=content, **options)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def ask(url: str) -> httpx.Response:
            async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
                return await client.request(method, path, **options)

        return asyncio.run(self.listening(ask))

    async def listening(self, ask: Callable[[str], Awaitable[Result]]) -> Result:
        """The result of `ask` with the address of the data plane, which listens meanwhile."""
        server = HttpServer(self.plane, Limits(body_bytes=10_000))
        port = await asyncio.get_running_loop().create_server(server.connection, "127.0.0.1", 0)
        try:
            return await ask(f"http://127.0.0.1:{port.sockets[0].getsockname()[1]}")
        finally:
            port.close()
            await server.finished()

    def records(self) -> list[CallRecord]:
        assert self.plane.journal.flush()
        return [decode(record) for record in JournalReader(self.data.journal).read({}, 1 << 30).records]

    def record(self) -> CallRecord:
        (record,) = self.records()
        return record


@pytest.fixture
def bench(tmp_path: Path):
    upstream = FakeUpstream()
    options = DataPlaneOptions(
        data=str(tmp_path), teacher_url=TEACHER, student_url=STUDENT, student_timeout_s=0.2, max_body_bytes=10_000
    )
    plane = build(options, upstream)
    yield Bench(upstream, plane, DataDir(tmp_path))
    plane.journal.close()


def to_student(bench: Bench, body: dict[str, Any], version: str = "small@1") -> None:
    """Publish a pattern for this body and a live route for it."""
    facts = facts_of(body)
    assert facts is not None
    entry = PatternEntry(
        pattern_id="p_0123456789",
        agent_id="a_0123456789",
        name="greeting",
        version=1,
        role=facts.role,
        agent_key=facts.agent_key,
    )
    Registry([entry]).publish(bench.data.patterns)
    route = Route(state="live", student=version, share=1.0, salt="s")
    publish_table(bench.data.routes, RouteTable(serial=7, routes={"p_0123456789": route}))


def test_a_plain_call_is_relayed_and_written_down(bench: Bench) -> None:
    bench.upstream.answers = [FakeAnswer(headers=[*JSON_TYPE, ("x-request-id", "req_1"), ("set-cookie", "a=b")])]
    reply = bench.post(headers={**KEY, "x-stainless-retry-count": "2", "x-tutelage-trajectory": "run 1"})

    assert (reply.status_code, reply.content) == (200, COMPLETION)
    assert reply.headers["x-request-id"] == "req_1"
    assert reply.headers["x-tutelage-route"] == "teacher"
    assert reply.headers["x-tutelage-reason"] == "unknown_pattern"
    assert reply.headers["x-tutelage-model"] == "gpt-mock"
    assert "set-cookie" not in reply.headers

    (sent,) = bench.upstream.sent
    assert (sent.method, sent.url) == ("POST", f"{TEACHER}/chat/completions")
    assert sent.body == json.dumps(CHAT).encode()
    assert sent.headers["authorization"] == KEY["authorization"]
    assert not [name for name in sent.headers if name.startswith("x-tutelage")]
    assert not {"host", "connection", "accept-encoding", "content-length"} & set(sent.headers)

    record = bench.record()
    assert record.call_id == reply.headers["x-tutelage-call-id"]
    assert (record.status, record.route, record.retry, record.trajectory) == (200, "teacher", 2, "run 1")
    assert (record.request, record.response) == (sent.body, COMPLETION)
    assert len(record.caller) == 16
    assert len(record.session) == 32
    assert 0 < record.first_byte_ms <= record.latency_ms


def test_the_agents_key_is_nowhere_on_disk(bench: Bench) -> None:
    bench.post(headers=KEY)
    bench.post(path="/v1/embeddings", headers=KEY)
    assert len(bench.records()) == 2
    found = [path for path in bench.data.root.rglob("*") if path.is_file() and b"sk-secret" in path.read_bytes()]
    assert found == []


def test_unknown_fields_and_odd_spacing_reach_the_teacher_untouched(bench: Bench) -> None:
    raw = b'{ "model":"m",\n "messages":[{"role":"user","content":"\\ud800"}], "new_field":{"x":1.50} }'
    assert bench.post(raw).status_code == 200
    assert bench.upstream.sent[0].body == raw
    assert bench.record().request == raw


def test_names_that_are_no_unicode_cost_no_call(bench: Bench) -> None:
    names = '"tutelage_trajectory":"r\\ud800","tutelage_pattern":"\\udfff","tutelage_parent":"p\\ud800"'
    raw = f'{{"model":"\\ud800","messages":[{{"role":"user","content":"x"}}],"metadata":{{{names}}}}}'.encode()
    assert bench.post(raw).status_code == 200
    record = bench.record()
    assert (record.request, record.trajectory, record.hint, record.parent) == (raw, "r?", "?", "p?")


def test_usage_is_asked_for_and_its_chunk_withheld_but_logged(bench: Bench) -> None:
    bench.upstream.answers = [FakeAnswer(headers=list(SSE_TYPE), pieces=[WORD, USAGE + DONE])]
    reply = bench.post({**CHAT, "stream": True})
    assert reply.content == WORD + DONE
    assert json.loads(bench.upstream.sent[0].body) == {
        **CHAT,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    record = bench.record()
    assert record.stream
    assert record.response == WORD + USAGE + DONE
    assert json.loads(record.request) == {**CHAT, "stream": True}


def test_a_stream_whose_usage_was_asked_for_passes_byte_for_byte(bench: Bench) -> None:
    pieces: list[bytes | Exception] = [b": ping\r\n\r\nda", b"ta: x\r\r", USAGE, DONE]
    whole = b"".join(piece for piece in pieces if isinstance(piece, bytes))
    bench.upstream.answers = [FakeAnswer(headers=list(SSE_TYPE), pieces=pieces)]
    raw = json.dumps({**CHAT, "stream": True, "stream_options": {"include_usage": True}}).encode()
    assert bench.post(raw).content == whole
    assert bench.upstream.sent[0].body == raw


def test_a_teacher_that_rejects_stream_options_is_asked_again_without(bench: Bench) -> None:
    refusal = FakeAnswer(status=400, pieces=[b'{"error":{"message":"Unknown parameter: stream_options"}}'])
    streams = [FakeAnswer(headers=list(SSE_TYPE), pieces=[WORD, DONE]) for _ in range(2)]
    bench.upstream.answers = [refusal, *streams]
    raw = json.dumps({**CHAT, "stream": True}).encode()
    assert bench.post(raw).content == WORD + DONE
    assert bench.post(raw).content == WORD + DONE
    assert [sent.body == raw for sent in bench.upstream.sent] == [False, True, True]
    assert refusal.closed


@pytest.mark.parametrize("stream", [False, True])
def test_errors_of_the_teacher_are_relayed_as_they_are(bench: Bench, stream: bool) -> None:
    body = b'{"error":{"message":"slow down","type":"requests","param":null,"code":"rate_limit"}}'
    extra = [("retry-after-ms", "20"), ("x-should-retry", "true"), ("x-ratelimit-remaining-tokens", "0")]
    bench.upstream.answers = [FakeAnswer(status=429, headers=[*JSON_TYPE, *extra], pieces=[body])]
    reply = bench.post({**CHAT, "stream": stream})
    assert (reply.status_code, reply.content) == (429, body)
    assert {name: reply.headers[name] for name, _ in extra} == dict(extra)
    record = bench.record()
    assert (record.status, record.response, record.stream) == (429, body, False)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (openai_errors.unreachable("refused"), 502, "upstream_unreachable"),
        (openai_errors.timed_out("head", 600.0), 504, "upstream_timeout"),
    ],
)
def test_a_teacher_that_is_down_or_hangs(bench: Bench, error: openai_errors.Problem, status: int, code: str) -> None:
    bench.upstream.answers = [UpstreamError(error)]
    reply = bench.post()
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
    assert bench.record().error == code


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{oops", 400, "bad_json"),
        (b"", 400, "bad_json"),
        (b"[1]", 400, "bad_json"),
        (b'{"messages":"' + b"x" * 10_000 + b'"}', 413, "body_too_large"),
    ],
)
def test_bad_bodies(bench: Bench, body: bytes, status: int, code: str) -> None:
    reply = bench.post(body)
    error = reply.json()["error"]
    assert reply.status_code == status
    assert error["code"] == code
    assert set(error) == {"message", "type", "param", "code"}
    record = bench.record()
    assert (record.route, record.error, record.status) == ("none", code, status)
    assert bench.upstream.sent == []


def test_a_body_over_the_limit_without_a_length(bench: Bench) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * 5_000

    assert bench.request("POST", "/v1/chat/completions", content=pieces()).status_code == 413


def test_unknown_paths_say_what_was_meant(bench: Bench) -> None:
    reply = bench.request("GET", "/chat/completions")
    assert reply.status_code == 404
    assert "/v1/chat/completions" in reply.json()["error"]["message"]
    assert bench.record().route == "none"


def test_health_tells_of_the_journal_and_the_tables(bench: Bench) -> None:
    to_student(bench, CHAT)
    health = bench.request("GET", "/tutelage/health").json()
    assert health["status"] == "ok"
    assert (health["table_serial"], health["patterns"]) == (7, 1)
    assert health["journal"]["lost"] == 0
    assert bench.request("GET", "/health").status_code == 200
    assert bench.records() == []


def test_other_endpoints_pass_through_with_method_query_and_streams(bench: Bench) -> None:
    bench.upstream.answers = [
        FakeAnswer(headers=list(SSE_TYPE), pieces=[b"event: response.created\n", b"data: {}\n\n"])
    ]
    reply = bench.request("DELETE", "/v1/chat/completions/a%2Fb?after=1", headers=KEY)
    assert reply.content == b"event: response.created\ndata: {}\n\n"
    (sent,) = bench.upstream.sent
    assert (sent.method, sent.url) == ("DELETE", f"{TEACHER}/chat/completions/a%2Fb?after=1")
    record = bench.record()
    assert (record.method, record.stream, record.reason) == ("DELETE", True, "other_endpoint")
    assert record.response == reply.content


def test_files_pass_through_but_are_not_kept(bench: Bench) -> None:
    reply = bench.request("POST", "/v1/files", files={"file": ("a.bin", b"\x00\x01binary")})
    assert reply.status_code == 200
    assert b"\x00\x01binary" in bench.upstream.sent[0].body
    assert bench.record().request == b""


def test_long_uploads_are_passed_on_in_pieces_whatever_their_size(bench: Bench) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield b"x" * 1_000

    reply = bench.request("POST", "/v1/audio", content=pieces(), headers={"content-type": "audio/wav"})
    assert reply.status_code == 200
    assert len(bench.upstream.sent[0].body) == 30_000


def test_compressed_requests_are_read(bench: Bench) -> None:
    raw = json.dumps(CHAT).encode()
    assert bench.post(gzip.compress(raw), headers={"content-encoding": "gzip"}).status_code == 200
    assert bench.upstream.sent[0].body == raw
    assert "content-encoding" not in bench.upstream.sent[0].headers
    assert (
        bench.post(b"???", headers={"content-encoding": "br"}).headers["x-tutelage-reason"] == "cannot:content_encoding"
    )
    assert bench.upstream.sent[1].body == b"???"


def test_unpacking_is_bounded() -> None:
    bomb = gzip.compress(b"0" * 1_000_000)
    assert unpacked(bomb, "gzip", 1_000) is None
    assert unpacked(b"not gzip", "gzip", 1_000) is None
    assert unpacked(zlib.compress(b"abc"), "deflate", 1_000) == b"abc"
    assert unpacked(gzip.compress(b"abc"), "gzip", 1_000) == b"abc"


def test_the_student_serves_callers_that_the_teacher_has_accepted(bench: Bench) -> None:
    to_student(bench, CHAT)
    assert bench.post(headers=KEY).headers["x-tutelage-reason"] == "caller_not_accepted"
    bench.upstream.answers = [FakeAnswer(headers=[*JSON_TYPE, ("x-tutelage-confidence", "-0.25")])]
    reply = bench.post({**CHAT, "seed": 3}, headers=KEY)
    assert reply.headers["x-tutelage-route"] == "student"
    assert reply.headers["x-tutelage-model"] == "small@1"
    assert reply.headers["x-tutelage-confidence"] == "-0.2500"
    sent = bench.upstream.sent[1]
    assert sent.url == f"{STUDENT}/chat/completions"
    assert json.loads(sent.body) == {**CHAT, "seed": 3, "model": "small@1"}
    assert "authorization" not in sent.headers
    record = bench.records()[1]
    assert (record.route, record.student, record.pattern) == ("student", "small@1", "p_0123456789")
    assert record.confidence == -0.25
    other = bench.post(headers={"authorization": "Bearer stranger"})
    assert other.headers["x-tutelage-reason"] == "caller_not_accepted"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (UpstreamError(openai_errors.unreachable("refused")), "student_unreachable"),
        (FakeAnswer(status=500, pieces=[b"oh"]), "student_status_500"),
        (FakeAnswer(status=422, pieces=[b'{"error":{"code":"invalid_output"}}']), "student_invalid_output"),
        (FakeAnswer(headers=list(SSE_TYPE), pieces=[b'data: {"error":{"code":"busy"}}\n\n']), "student_busy"),
        (FakeAnswer(pieces=[]), "student_empty"),
        (FakeAnswer(delay_s=5), "student_timeout"),
        (FakeAnswer(pieces=[UpstreamError(openai_errors.broken_off())]), "student_broken_off"),
    ],
)
def test_a_student_that_fails_falls_open_to_the_teacher(bench: Bench, answer: Any, reason: str) -> None:
    to_student(bench, CHAT)
    bench.post(headers=KEY)
    bench.upstream.answers = [answer]
    reply = bench.post(headers=KEY)
    assert (reply.status_code, reply.content) == (200, COMPLETION)
    assert reply.headers["x-tutelage-route"] == "teacher"
    record = bench.records()[1]
    assert (record.route, record.fallback, record.student) == ("teacher", reason, "small@1")
    assert not isinstance(answer, FakeAnswer) or answer.closed


def test_a_stream_that_breaks_off_ends_with_an_error_event(bench: Bench) -> None:
    broken = UpstreamError(openai_errors.broken_off())
    bench.upstream.answers = [FakeAnswer(headers=list(SSE_TYPE), pieces=[WORD, broken])]
    reply = bench.post({**CHAT, "stream": True})
    assert reply.content.startswith(WORD + b'data: {"error":')
    record = bench.record()
    assert (record.error, record.response) == ("upstream_broken_off", WORD)


def test_an_agent_that_leaves_cancels_the_upstream(bench: Bench) -> None:
    answer = FakeAnswer(headers=list(SSE_TYPE), pieces=[WORD] * 50, delay_s=0.1)
    bench.upstream.answers = [answer]
    raw = json.dumps({**CHAT, "stream": True}).encode()

    async def leave(url: str) -> None:
        async with (
            httpx.AsyncClient(trust_env=False) as client,
            client.stream("POST", f"{url}/v1/chat/completions", content=raw) as reply,
        ):
            async for _ in reply.aiter_raw():
                return

    asyncio.run(bench.listening(leave))
    assert answer.closed
    record = bench.record()
    assert record.cancelled
    assert 0 < len(record.response) < 50 * len(WORD)


def test_a_fault_of_our_own_is_a_500_in_openais_shape(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.upstream.answers = [RuntimeError("bug")]
    reply = bench.post()
    assert (reply.status_code, reply.json()["error"]["code"]) == (500, "proxy_fault")
    assert "bug" in caplog.text
    assert bench.record().error == "proxy_fault"
