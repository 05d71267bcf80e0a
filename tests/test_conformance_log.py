"""The log of agents' calls: one record for each that was answered, its bytes those of the wire, and never a key."""

import concurrent.futures
import json
import time
from pathlib import Path
from typing import Any

import pytest
from conformance.mind import completion
from conformance.plane import KEY, Plane, Response
from conformance.wire import chunked, whole

from tutelage.traffic.answers import answer_of_record
from tutelage.traffic.sse import assemble_chat

LOOK = {"type": "function", "function": {"name": "look", "parameters": {"properties": {"city": {"type": "string"}}}}}


def asked(text: str, **fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": text}], **fields}).encode()


def test_one_record_for_each_answered_call_with_the_bytes_of_the_wire(plane: Plane) -> None:
    bodies = [asked(f"call {n} ☃", stream=n % 3 == 0, tools=[LOOK] if n % 2 else []) for n in range(60)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers: list[Response] = list(pool.map(plane.ask, bodies))
    assert {answer.status for answer in answers} == {200}
    for answer in answers:
        plane.record(answer.call_id)
    records = {record.call_id: record for record in plane.records()}
    assert len(plane.records()) == len(records)
    assert len({answer.call_id for answer in answers}) == len(bodies)
    for body, answer in zip(bodies, answers, strict=True):
        record = records[answer.call_id]
        assert record.request == body
        said = completion(json.loads(body) | ({"stream_options": {"include_usage": True}} if record.stream else {}))
        if record.stream:
            # What was withheld from the agent is there: the chunk with the counts, right before the end.
            before, _, counted = record.response.removesuffix(b"data: [DONE]\n\n").rpartition(b"data: ")
            assert before + b"data: [DONE]\n\n" == answer.body
            assert json.loads(counted)["usage"] == said["usage"]
            assert assemble_chat(record.response)["choices"][0]["message"].get("tool_calls") == said["choices"][0][
                "message"
            ].get("tool_calls")
        else:
            assert record.response == answer.body
        kept = answer_of_record(record)
        assert (kept.finish_reason, kept.error) == (said["choices"][0]["finish_reason"], "")
        assert 0 < record.first_byte_ms <= record.latency_ms < 60_000
        assert abs(record.started_at - time.time()) < 600


def fragments(*deltas: Any) -> list[bytes]:
    """A stream of these deltas of the first choice, and its end."""
    chunks = [{"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    chunks.append({"id": "c", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    return [b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in chunks] + [b"data: [DONE]\n\n"]


def part(index: int, arguments: str = "", **fields: Any) -> dict[str, Any]:
    name = {"name": fields.pop("name")} if "name" in fields else {}
    return {"index": index, **fields, "function": {**name, "arguments": arguments}}


@pytest.mark.parametrize(
    ("deltas", "calls"),
    [
        pytest.param(
            [{"tool_calls": [part(0, '{"a":', id="c0", type="function", name="f")]}, {"tool_calls": [part(0, " 1}")]}],
            [("c0", "f", '{"a": 1}')],
            id="arguments begin with the name",
        ),
        pytest.param(
            [
                {
                    "tool_calls": [
                        part(1, id="c1", type="function", name="g"),
                        part(0, id="c0", type="function", name="f"),
                    ]
                },
                {"tool_calls": [part(0, "{"), part(1, '{"x"')]},
                {"tool_calls": [part(1, ':"é"}'), part(0, "}")]},
            ],
            [("c0", "f", "{}"), ("c1", "g", '{"x":"é"}')],
            id="two calls in one delta, the second first",
        ),
        pytest.param(
            [{"tool_calls": [part(0, '{"s":"\ud83d\ude00 \\u0000\\n"}', id="c0", type="function", name="f")]}],
            [("c0", "f", '{"s":"😀 \\u0000\\n"}')],
            id="a pair of surrogates and escapes",
        ),
        pytest.param(
            [
                {"role": "assistant", "content": "Let me look. ", "tool_calls": []},
                {"content": None, "tool_calls": [part(0, "", id="c0", type="function", name="f")]},
                {"tool_calls": [{"index": 0, "id": None, "function": {"name": None, "arguments": "{}"}}]},
            ],
            [("c0", "f", "{}")],
            id="text before the call, nulls after it",
        ),
        pytest.param(
            [{"tool_calls": [part(0, id="c0", type="function", name="f")]}],
            [("c0", "f", "")],
            id="no arguments at all",
        ),
    ],
)
def test_tool_calls_are_put_together_as_they_were_meant(plane: Plane, deltas: list[Any], calls: list[Any]) -> None:
    steps = chunked(fragments(*deltas))
    record = plane.record(plane.played(steps, asked("look", stream=True, tools=[LOOK])).call_id)
    logged = answer_of_record(record)
    assert logged.error == ""
    found = (logged.said() or {})["tool_calls"]
    assert [(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in found] == calls
    assert {call["type"] for call in found} == {"function"}


def test_what_the_record_knows_beside_the_bytes(plane: Plane) -> None:
    named = [("x-tutelage-trajectory", "run-1"), ("x-tutelage-pattern", "orders"), ("x-stainless-retry-count", "2")]
    answered = plane.ask(asked("notes"), *named, ("x-tutelage-parent", "run-0"))
    record = plane.record(answered.call_id)
    assert (record.trajectory, record.parent, record.hint, record.retry) == ("run-1", "run-0", "orders", 2)
    assert (record.method, record.endpoint, record.route, record.status) == (
        "POST",
        "/v1/chat/completions",
        "teacher",
        200,
    )
    assert record.request_id == answered.get("x-request-id")
    assert (record.response_type, record.cancelled, record.error) == ("application/json", False, "")


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"null", b'{"messages": nope}', b"\xff\xfe"])
def test_what_is_no_request_is_refused_in_words_and_logged(plane: Plane, body: bytes) -> None:
    before = len(plane.teacher.seen)
    answered = plane.ask(body)
    error = json.loads(answered.body)["error"]
    assert (answered.status, error["code"], error["type"]) == (400, "bad_json", "invalid_request_error")
    assert len(plane.teacher.seen) == before
    record = plane.record(answered.call_id)
    assert (record.route, record.error, record.request) == ("none", "bad_json", body)


def test_no_file_ever_holds_a_key(plane: Plane) -> None:
    ways = [
        [],
        [("authorization", ""), ("api-key", KEY)],
        [("authorization", ""), ("x-api-key", KEY)],
        [("proxy-authorization", f"Bearer {KEY}")],
        [("cookie", f"session={KEY}")],
    ]
    refused = b'{"error":{"message":"Incorrect API key","code":"invalid_api_key"}}'
    for number, headers in enumerate(ways):
        assert plane.ask(asked(f"key {number}"), *headers).status == 200
        assert plane.played(whole("401 Unauthorized", refused), asked(f"key {number}"), *headers).status == 401
    answered = plane.ask(asked("last key"))
    assert len(plane.record(answered.call_id).caller) == 16
    files = [path for path in plane.data.rglob("*") if path.is_file()]
    assert any(_holds(path, b"last key") for path in files)
    assert not [path for path in files if _holds(path, KEY.encode()) or _holds(path, KEY[10:30].encode())]


def _holds(path: Path, text: bytes) -> bool:
    return text in path.read_bytes()
