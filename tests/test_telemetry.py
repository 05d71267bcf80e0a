"""Spans and events as a real collector gets them: names, ids, times, and no text of anybody."""

import gzip
import threading
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from http_receiver import Answer, Posted, Receiver, receiving

pytest.importorskip("opentelemetry.sdk", reason="Traces need tutelage[otel].")

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tutelage.proxy import telemetry_names as names
from tutelage.proxy.shadow import Label, Task
from tutelage.proxy.telemetry import Telemetry, attributes_of, headers_of, span_id, trace_id

CALL = "018f1e6a-0000-7000-8000-0000000000ab"
ROW: dict[str, Any] = {
    "call_id": CALL,
    "trajectory_id": "t_1",
    "endpoint": "/v1/chat/completions",
    "started_at": 1_800_000_000.25,
    "latency_ms": 1500.0,
    "first_byte_ms": 250.0,
    "stream": True,
    "status": 200,
    "error": "",
    "route": "teacher",
    "reason": "observe",
    "fallback": "",
    "student": "",
    "pattern_id": "p_1",
    "model": "big-2026-01-01",
    "params": '{"max_tokens":100,"response_format":{"type":"json_object"},"seed":true,"temperature":0.5}',
    "finish_reason": "tool_calls",
    "upstream_id": "chatcmpl-1",
    "prompt_tokens": 100,
    "completion_tokens": 10,
    "cached_tokens": None,
    "reasoning_tokens": 4,
}


@pytest.fixture
def collector() -> Iterator[Receiver]:
    with receiving(lambda _: Answer(200, b"", (("content-type", "application/x-protobuf"),))) as running:
        yield running


def told(collector: Receiver, *said: Any) -> list[Posted]:
    """Let a telemetry tell tables and labels, and end."""
    telemetry = Telemetry(collector.url + "/", headers_of("x-team=ops, broken"))
    for one in said:
        telemetry.calls(one) if isinstance(one, pa.Table) else telemetry.label(one)
    stop = threading.Event()
    stop.set()
    telemetry.run(stop)
    return collector.posted


def table(*rows: dict[str, Any]) -> pa.Table:
    # With a column that must stay where it is.
    return pa.Table.from_pylist([{**ROW, "request_raw": b"the secret prompt", **row} for row in rows])


def plain(posted: Posted) -> bytes:
    return gzip.decompress(posted.body) if posted.headers.get("content-encoding") == "gzip" else posted.body


def values(attributes: Any) -> dict[str, Any]:
    found = {}
    for one in attributes:
        kind = one.value.WhichOneof("value")
        value = getattr(one.value, kind)
        found[one.key] = [item.string_value for item in value.values] if kind == "array_value" else value
    return found


def spans_of(posts: list[Posted]) -> list[Any]:
    found = []
    for post in posts:
        if post.path == "/v1/traces":
            request = ExportTraceServiceRequest.FromString(plain(post))
            found += [span for part in request.resource_spans for scope in part.scope_spans for span in scope.spans]
    return found


def test_a_call_becomes_a_span(collector: Receiver) -> None:
    posts = told(collector, table({}))
    [span] = spans_of(posts)
    assert span.name == "chat big-2026-01-01"
    assert span.kind == span.SPAN_KIND_CLIENT
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (
        1_800_000_000_250_000_000,
        1_800_000_001_750_000_000,
    )
    assert int.from_bytes(span.trace_id) == trace_id("t_1")
    assert int.from_bytes(span.span_id) == span_id(CALL)
    found = values(span.attributes)
    assert found[names.OPERATION] == "chat"
    assert found[names.PROVIDER] == "openai"
    assert found[names.RESPONSE_MODEL] == "big-2026-01-01"
    assert found[names.FINISH_REASONS] == ["tool_calls"]
    assert found[names.FIRST_CHUNK] == 0.25
    assert (found[names.INPUT_TOKENS], found[names.OUTPUT_TOKENS], found[names.REASONING_TOKENS]) == (100, 10, 4)
    assert (found[names.ROUTE], found[names.PATTERN], found[names.CONVERSATION]) == ("teacher", "p_1", "t_1")
    assert (found["gen_ai.request.temperature"], found["gen_ai.request.max_tokens"]) == (0.5, 100)
    assert "gen_ai.request.seed" not in found
    assert names.CACHED_TOKENS not in found
    assert posts[0].headers["x-team"] == "ops"
    assert all(b"secret" not in plain(post) for post in posts)


def test_calls_of_a_run_are_one_trace_and_a_failed_one_is_marked(collector: Receiver) -> None:
    other = "018f1e6a-0000-7000-8000-0000000000ac"
    first, second = spans_of(told(collector, table({}, {"call_id": other, "status": 429, "model": "big"})))
    assert first.trace_id == second.trace_id
    assert first.span_id != second.span_id
    assert (first.status.code, second.status.code) == (0, second.status.STATUS_CODE_ERROR)
    assert values(second.attributes)[names.ERROR] == "429"
    assert values(second.attributes)[names.REQUEST_MODEL] == "big"


@pytest.mark.parametrize("row", [{"reason": "imported"}, {"reason": "recorded:x"}, {"endpoint": "/v1/models"}])
def test_what_did_not_come_through_here_or_is_no_call_is_not_told(collector: Receiver, row: dict[str, Any]) -> None:
    assert spans_of(told(collector, table(row))) == []


def test_a_compared_answer_becomes_an_event_of_its_calls_span(collector: Receiver) -> None:
    task = Task("shadow", CALL, "p_1", "t_1", "s@1", {}, {"content": "the secret answer"})
    label = Label(task, 1.0, "argument:the secret value", 1, {"content": "secret"}, 1_800_000_003.0, 5.0)
    [post] = [post for post in told(collector, label) if post.path == "/v1/logs"]
    request = ExportLogsServiceRequest.FromString(plain(post))
    [record] = [one for part in request.resource_logs for scope in part.scope_logs for one in scope.log_records]
    assert record.event_name == names.EVALUATION
    assert (int.from_bytes(record.trace_id), int.from_bytes(record.span_id)) == (trace_id("t_1"), span_id(CALL))
    found = values(record.attributes)
    assert found[names.EVALUATION_NAME] == "tutelage.shadow"
    assert (found[names.EVALUATION_SCORE], found[names.EVALUATION_LABEL]) == (0.0, "different")
    assert found[names.EVALUATION_EXPLANATION] == "argument"
    assert b"secret" not in plain(post)


def test_a_student_is_a_provider_of_its_own() -> None:
    found = attributes_of({**ROW, "route": "student", "student": "s@1", "model": "s@1"}, "chat")
    assert (found[names.PROVIDER], found[names.STUDENT]) == ("tutelage", "s@1")


def test_what_comes_too_fast_is_dropped_and_counted(collector: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    telemetry = Telemetry(collector.url, {})
    for _ in range(205):
        telemetry.calls(table({}))
    assert telemetry.dropped == 5
    assert "were dropped" in caplog.text
    stop = threading.Event()
    stop.set()
    telemetry.run(stop)
    assert len(spans_of(collector.posted)) == 200


@pytest.mark.parametrize(
    ("text", "headers"),
    [("", {}), ("A=1", {"a": "1"}), ("a=1, b = x=y ,c", {"a": "1", "b": "x=y"}), ("=1", {})],
)
def test_headers_in_the_form_of_the_usual_variable(text: str, headers: dict[str, str]) -> None:
    assert headers_of(text) == headers
