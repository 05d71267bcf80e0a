"""Event streams through the started data plane: every border, every framing, what is withheld and what is kept."""

import itertools
import json
import time
from typing import Any

import pytest
from conformance import protocols
from conformance.mind import completion
from conformance.plane import Plane, post
from conformance.wire import DROP, chunked, head
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tutelage.traffic.answers import answer_of_record
from tutelage.traffic.sse import assemble_chat

QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
USAGE_FRAME = b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}\n\n'
FRAMES = [
    b": ping\n\n",
    b'data: {"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":""}}],"obfuscation":"a8Xk"}\n\n',
    b"event: message\nid: 7\nretry: 100\n"
    b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"\xe4\xbd\xa0 "}}],"obfuscation":""}\n\n',
    b": keep-alive\n\n\n",
    b'data:{"id":"c","choices":[{"index":0,"delta":{"content":"\xf0\x9f\x8e\x88"}}]}\n\n',
    b'data: {"id":"c","choices":\ndata: [{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
    b'data: {"choices":[],"prompt_filter_results":[{"prompt_index":0}]}\n\n',
]
PING = b":\n\n"
DONE = b"data: [DONE]\n\n"


def streamed(text: str = "hi", /, **fields: Any) -> bytes:
    body = {"model": "m", "messages": [{"role": "user", "content": text}], "stream": True, **fields}
    return json.dumps(body).encode()


def in_framing(frames: list[bytes], ending: bytes) -> bytes:
    return b"".join(frames).replace(b"\n", ending)


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("asks", [False, True])
def test_a_stream_in_single_bytes_is_the_same_stream(plane: Plane, ending: bytes, asks: bool) -> None:
    text = in_framing([*FRAMES, USAGE_FRAME, PING, DONE], ending)
    fields: dict[str, Any] = {"stream_options": {"include_usage": True}} if asks else {}
    answered = plane.played(chunked([text[at : at + 1] for at in range(len(text))]), streamed(**fields))
    expected = text if asks else in_framing([*FRAMES, PING, DONE], ending)
    assert answered.body == expected
    record = plane.record(answered.call_id)
    assert record.response == text
    logged = answer_of_record(record)
    assert (logged.said() or {})["content"] == "你 🎈"
    assert (logged.prompt_tokens, logged.completion_tokens, logged.finish_reason) == (3, 2, "stop")


@QUICK
@given(st.data(), st.sampled_from([b"\n", b"\r\n", b"\r"]), st.booleans())
def test_every_way_to_cut_a_stream(plane: Plane, data: st.DataObject, end: bytes, asks: bool) -> None:
    # An empty line right in front of the withheld chunk would count as a part of it: a ping stands between.
    frames = [*data.draw(st.lists(st.sampled_from(FRAMES), max_size=6)), PING]
    text = in_framing([*frames, USAGE_FRAME, DONE], end)
    borders = [0, *sorted(data.draw(st.sets(st.integers(1, len(text) - 1), max_size=8))), len(text)]
    pieces = [text[start:stop] for start, stop in itertools.pairwise(borders)]
    fields: dict[str, Any] = {"stream_options": {"include_usage": True}} if asks else {}
    answered = plane.played(chunked(pieces), streamed(**fields))
    assert answered.body == (text if asks else in_framing([*frames, DONE], end))
    assert plane.record(answered.call_id).response == text


def test_usage_is_asked_for_where_the_agent_did_not(plane: Plane) -> None:
    cases: list[tuple[dict[str, Any], Any, bool]] = [
        ({}, {"include_usage": True}, False),
        ({"stream_options": None}, {"include_usage": True}, False),
        ({"stream_options": {}}, {"include_usage": True}, False),
        (
            {"stream_options": {"include_usage": False, "include_obfuscation": False}},
            {"include_usage": True, "include_obfuscation": False},
            False,
        ),
        ({"stream_options": {"include_usage": True}}, {"include_usage": True}, True),
    ]
    for number, (fields, sent, shown) in enumerate(cases):
        body = streamed(f"counts {number}", **fields)
        answered = plane.ask(body)
        assert json.loads(plane.teacher.find(f"counts {number}".encode()).body)["stream_options"] == sent
        assert (b'"total_tokens"' in answered.body) is shown
        record = plane.record(answered.call_id)
        assert record.request == body
        assert b'"total_tokens"' in record.response
        assert answer_of_record(record).prompt_tokens


def test_a_refusal_of_the_options_that_the_agent_set_is_its_own_matter(plane: Plane) -> None:
    refusal = b'{"error":{"message":"Unknown field stream_options","type":"invalid_request_error"}}'
    body = streamed("no options", stream_options={"include_usage": True})
    head_ = head("400 Bad Request", ("content-type", "application/json"), ("content-length", str(len(refusal))))
    answered = plane.played([head_ + refusal], body)
    assert (answered.status, answered.body) == (400, refusal)
    assert len([seen for seen in plane.teacher.seen if seen.body == body]) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"tools": [{"type": "function", "function": {"name": "look", "parameters": {"properties": {"city": {}}}}}]},
        {"n": 3},
    ],
    ids=["text", "tools", "n"],
)
def test_the_log_reassembles_exactly_what_was_said(plane: Plane, fields: dict[str, Any]) -> None:
    fields = {**fields, **({"n": 2, "tool_choice": "required"} if "tools" in fields else {})}
    body = streamed("Look for each of Oslo, 東京, São Paulo.", **fields)
    answered = plane.ask(body)
    record = plane.record(answered.call_id)
    asked = {**json.loads(body), "stream_options": {"include_usage": True}}
    whole = completion(asked)
    logged = assemble_chat(record.response)
    assert logged["usage"] == whole["usage"]
    assert len(logged["choices"]) == fields.get("n", 1)
    for said, kept in zip(whole["choices"], logged["choices"], strict=True):
        assert (kept["index"], kept["finish_reason"]) == (said["index"], said["finish_reason"])
        assert kept["message"].get("content") == said["message"]["content"]
        assert kept["message"].get("tool_calls") == said["message"].get("tool_calls")
    if "tools" in fields:
        assert len(logged["choices"][0]["message"]["tool_calls"]) == 3


def test_an_error_in_the_middle_reaches_agent_and_log(plane: Plane) -> None:
    answered = plane.ask(streamed("break"))
    assert answered.status == 200
    assert json.loads(answered.body.rpartition(b"data: ")[2])["error"]["code"] == "engine_failed"
    record = plane.record(answered.call_id)
    assert record.response.endswith(answered.body[-60:])
    assert answer_of_record(record).error == "engine_failed"


def test_a_stream_that_is_cut_off_ends_in_an_error_event(plane: Plane) -> None:
    steps = [*chunked(FRAMES[:3])[:-1], 0.05, DROP]
    answered = plane.played(steps, streamed("cut off"))
    events = answered.body.split(b"data: ")
    assert b"".join(FRAMES[:3]) in answered.body
    assert json.loads(events[-1])["error"]["code"] == "upstream_broken_off"
    record = plane.record(answered.call_id)
    assert (record.error, record.cancelled) == ("upstream_broken_off", False)
    assert not answer_of_record(record).whole


def test_chunks_come_one_by_one_while_the_teacher_speaks(plane: Plane) -> None:
    frames = [protocols.frame({"choices": [{"index": 0, "delta": {"content": str(n)}}]}) for n in range(10)]
    script = plane.teacher.play(chunked([*frames, DONE], pause_s=0.1))
    with plane.wire() as wire:
        wire.send(post(streamed("slowly"), ("x-script", script)))
        came: list[float] = []
        while (line := wire.line()) != b"0\r\n":
            came += [time.monotonic()] * line.startswith(b"data: {")
    assert len(came) == 10
    # On a busy machine some may come together, but not most of them.
    assert sum(later - sooner > 0.05 for sooner, later in itertools.pairwise(came)) >= 6


def test_a_teacher_that_does_not_stream_though_asked(plane: Plane) -> None:
    body = b'{"id":"c","choices":[{"index":0,"message":{"role":"assistant","content":"all"},"finish_reason":"stop"}]}'
    answered = plane.played(
        [head("200 OK", ("content-type", "application/json"), ("content-length", str(len(body)))) + body], streamed()
    )
    assert (answered.body, answered.get("content-type")) == (body, "application/json")
    record = plane.record(answered.call_id)
    assert not record.stream
    assert (answer_of_record(record).said() or {})["content"] == "all"


def test_http_1_0_gets_a_stream_that_ends_with_the_connection(plane: Plane) -> None:
    request = post(streamed("old client")).replace(b"HTTP/1.1", b"HTTP/1.0", 1)
    with plane.wire() as wire:
        wire.send(request)
        answered = wire.read()
    assert "transfer-encoding" not in dict(answered.headers)
    assert answered.body.endswith(DONE)
    assert plane.record(answered.call_id).response.endswith(DONE)
