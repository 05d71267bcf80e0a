"""The other endpoints through the started data plane: passed through byte for byte, and readable in the log."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from conformance import protocols
from conformance.plane import KEY, Plane, answer_in
from conformance.wire import chunked, whole

from tutelage.traffic.dialects import dialect_of

Json = dict[str, Any]
USER = [{"role": "user", "content": "Hej ☃"}]
CITY = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {"city": {}}}}
CASES: dict[str, tuple[str, Json, Callable[[Json], Json], Callable[[Json], list[bytes]] | None]] = {
    "completions": ("completions", {"prompt": "Once"}, protocols.text_completion, protocols.completion_frames),
    "embeddings": ("embeddings", {"input": ["a", "☃"]}, protocols.embeddings, None),
    "responses": ("responses", {"input": "Hej ☃"}, protocols.response, protocols.response_frames),
    "responses_tool": ("responses", {"input": "Oslo", "tools": [CITY]}, protocols.response, protocols.response_frames),
    "messages": ("messages", {"messages": USER, "max_tokens": 9}, protocols.message, protocols.message_frames),
}
TEXTS = {
    "responses": "Answer 0 to you: Hej ☃ 你好, naïve ☃ and 🎈.",
    "messages": "You said: Hej ☃ ☃",
}


@pytest.mark.parametrize(
    ("name", "stream"), [(name, False) for name in CASES] + [(name, True) for name, case in CASES.items() if case[3]]
)
def test_passed_through_and_logged(plane: Plane, name: str, stream: bool) -> None:
    end, fields, make, frames = CASES[name]
    asked: Json = {"model": "gpt-conformance", **fields, "x_unknown": {"a": [1.0]}}
    if stream:
        asked["stream"] = True
    body = json.dumps(asked, indent=1).encode()
    answered = plane.ask(body, path=f"/v1/{end}")
    whole_body = b"".join(frames(asked)) if stream and frames else json.dumps(make(asked), ensure_ascii=False).encode()
    assert (answered.status, answered.body) == (200, whole_body)
    assert plane.teacher.seen[-1].body == body
    record = plane.record(answered.call_id)
    assert (record.endpoint, record.stream, record.status) == (f"/v1/{end}", stream, 200)
    assert (record.request, record.response) == (body, whole_body)
    logged = answer_in(record)
    assert logged.error == ""
    assert logged.model == "gpt-conformance"
    if name in TEXTS:
        assert (logged.said() or {})["content"] == TEXTS[name]
    if name == "responses_tool":
        call = (logged.said() or {})["tool_calls"][0]
        assert call["id"] == make(asked)["output"][0]["call_id"]
        assert call["function"] == {"name": "look", "arguments": '{"city": "city of Oslo"}'}


def test_streamed_text_completions_are_put_together(plane: Plane) -> None:
    answered = plane.ask(b'{"model":"m","prompt":"Once","stream":true}', path="/v1/completions")
    record = plane.record(answered.call_id)
    dialect = dialect_of(record.method, record.endpoint)
    assert dialect is not None
    choice = dialect.assemble(record.response)["choices"][0]
    assert (choice["text"], choice["finish_reason"]) == ("Once … and so on. ☃", "stop")


def test_messages_with_the_headers_of_its_own_client(plane: Plane) -> None:
    body = json.dumps({"model": "claude", "max_tokens": 5, "messages": USER}).encode()
    own = [("x-api-key", KEY), ("anthropic-version", "2023-06-01"), ("anthropic-beta", "tools-2024-04-04")]
    answered = plane.ask(body, *own, ("authorization", ""), path="/v1/messages?beta=true")
    seen = plane.teacher.seen[-1]
    assert (answered.status, seen.target) == (200, "/v1/messages?beta=true")
    assert [(name, seen.get(name)) for name, _ in own] == own
    assert seen.get("authorization") == ""
    record = plane.record(answered.call_id)
    assert (len(record.caller), record.endpoint) == (16, "/v1/messages")


def test_streams_of_other_endpoints_in_single_bytes(plane: Plane) -> None:
    text = b"".join(protocols.response_frames({"model": "m", "input": "x", "stream": True})).replace(b"\n", b"\r\n")
    script = ("x-script", plane.teacher.play(chunked([text[at : at + 1] for at in range(len(text))])))
    answered = plane.ask(b'{"model":"m","input":"x","stream":true}', script, path="/v1/responses")
    assert answered.body == text
    assert (answer_in(plane.record(answered.call_id)).said() or {})["content"].startswith("Answer 0 to you: x")


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/v1/models"),
        ("GET", "/v1/models/gpt-conformance"),
        ("GET", "/v1/responses/resp_1?include=a&include=b%20c"),
        ("GET", "/v1/chat/completions?limit=2"),
        ("DELETE", "/v1/responses/resp_1"),
        ("POST", "/v1/responses/resp_1/cancel"),
        ("PATCH", "/v1/odd/%E2%98%83"),
        ("OPTIONS", "/v1/chat/completions"),
        ("HEAD", "/v1/models"),
    ],
)
def test_any_method_and_path_below_v1(plane: Plane, method: str, target: str) -> None:
    script = plane.teacher.play(whole("200 OK", b"" if method == "HEAD" else b'{"ok":true}'))
    with plane.wire() as wire:
        length = "content-length: 0\r\n" if method in ("POST", "PATCH") else ""
        wire.send(f"{method} {target} HTTP/1.1\r\nhost: x\r\n{length}x-script: {script}\r\n\r\n".encode())
        answered = wire.read(method)
    assert (answered.status, answered.body) == (200, b"" if method == "HEAD" else b'{"ok":true}')
    assert (plane.teacher.seen[-1].method, plane.teacher.seen[-1].target) == (method, target)
    assert plane.record(answered.call_id).method == method


def test_uploads_that_are_no_json_pass_but_are_not_kept(plane: Plane) -> None:
    sound = bytes(range(256)) * 8192
    script = ("x-script", plane.teacher.play(whole("200 OK", b'{"text":"hi"}')))
    answered = plane.ask(sound, script, ("content-type", "audio/wav"), path="/v1/audio/transcriptions")
    assert answered.body == b'{"text":"hi"}'
    assert plane.teacher.seen[-1].body == sound
    record = plane.record(answered.call_id)
    assert (record.request, record.response) == (b"", b'{"text":"hi"}')


def test_binary_answers_pass_but_are_not_kept(plane: Plane) -> None:
    sound = bytes(range(256)) * 4096
    script = ("x-script", plane.teacher.play(whole("200 OK", sound, kind="audio/mpeg")))
    answered = plane.ask(b'{"model":"tts","input":"hi"}', script, path="/v1/audio/speech")
    assert answered.body == sound
    record = plane.record(answered.call_id)
    assert (record.request, record.response) == (b'{"model":"tts","input":"hi"}', b"")
