"""Spans out of the bytes of OTLP: what OpenTelemetry's own protobuf classes write is what is read."""

import base64
import contextlib
import json
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tutelage.proxy.otlp_wire import Span, spans_of
from tutelage.traffic.errors import BadInput

PROTOBUF, JSON = "application/x-protobuf", "application/json; charset=utf-8"
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
scalar = text | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False)
value = st.recursive(
    scalar,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
attributes = st.dictionaries(text, value, max_size=4)
event = st.tuples(text, st.integers(0, 2**62), attributes)
span = st.fixed_dictionaries(
    {
        "trace": st.binary(min_size=16, max_size=16),
        "span": st.binary(min_size=8, max_size=8),
        "parent": st.just(b"") | st.binary(min_size=8, max_size=8),
        "name": text,
        "start": st.integers(0, 2**62),
        "attributes": attributes,
        "events": st.lists(event, max_size=2),
        "code": st.integers(0, 2),
        "problem": text,
        "dropped": st.integers(0, 2**31),
    }
)


def put(into: Any, found: Any) -> None:
    if isinstance(found, bool):
        into.bool_value = found
    elif isinstance(found, str):
        into.string_value = found
    elif isinstance(found, int):
        into.int_value = found
    elif isinstance(found, float):
        into.double_value = found
    elif isinstance(found, list):
        into.array_value.SetInParent()
        for one in found:
            put(into.array_value.values.add(), one)
    else:
        into.kvlist_value.SetInParent()
        pairs(into.kvlist_value.values, found)


def pairs(into: Any, found: dict[str, Any]) -> None:
    for key, one in found.items():
        pair = into.add(key=key)
        put(pair.value, one)


def message(given: list[dict[str, Any]]) -> Any:
    request = ExportTraceServiceRequest()
    for one in given:
        into = (
            request.resource_spans.add()
            .scope_spans.add()
            .spans.add(
                trace_id=one["trace"],
                span_id=one["span"],
                parent_span_id=one["parent"],
                name=one["name"],
                start_time_unix_nano=one["start"],
                end_time_unix_nano=one["start"] + 10**9,
                dropped_attributes_count=one["dropped"],
                trace_state="x=y",
                kind=3,
            )
        )
        pairs(into.attributes, one["attributes"])
        into.status.code, into.status.message = one["code"], one["problem"]
        for name, at, known in one["events"]:
            noted = into.events.add(name=name, time_unix_nano=at)
            pairs(noted.attributes, known)
    return request


def as_json(request: Any) -> bytes:
    """OTLP's JSON: protobuf's, but for the ids, which are hex there."""
    body = MessageToDict(request)
    for one in (span for r in body.get("resourceSpans", ()) for s in r["scopeSpans"] for span in s["spans"]):
        for name in ("traceId", "spanId", "parentSpanId"):
            if name in one:
                one[name] = base64.b64decode(one[name]).hex()
    return json.dumps(body).encode()


@given(st.lists(span, max_size=3))
def test_what_was_written_is_read_from_either_form(given_spans: list[dict[str, Any]]) -> None:
    request = message(given_spans)
    found = spans_of(request.SerializeToString(), PROTOBUF)
    assert [one.attributes for one in found] == [one["attributes"] for one in given_spans]
    for one, said in zip(found, given_spans, strict=True):
        assert (one.trace_id, one.span_id) == (said["trace"].hex(), said["span"].hex())
        assert (one.parent_id, one.name, one.dropped) == (said["parent"].hex(), said["name"], said["dropped"])
        assert (one.start, one.end) == (said["start"] / 1e9, (said["start"] + 10**9) / 1e9)
        assert (one.failed, one.problem) == (said["code"] == 2, said["problem"])
        assert [(e.name, e.at, e.attributes) for e in one.events] == [(n, t / 1e9, a) for n, t, a in said["events"]]
    assert spans_of(as_json(request), JSON) == found


@given(st.binary(max_size=200))
def test_any_bytes_are_spans_or_refused(body: bytes) -> None:
    for kind in (PROTOBUF, JSON):
        with contextlib.suppress(BadInput):
            assert all(isinstance(one, Span) for one in spans_of(body, kind))


@given(st.lists(span, min_size=1, max_size=2), st.data())
def test_a_body_that_is_cut_or_changed_is_refused_or_read(given_spans: list[dict[str, Any]], data: Any) -> None:
    body = bytearray(message(given_spans).SerializeToString())
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(BadInput):
        spans_of(bytes(body[: data.draw(st.integers(0, len(body)))]), PROTOBUF)


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"resourceSpans": 3}', b"null"])
def test_json_that_is_no_export_is_refused(body: bytes) -> None:
    with pytest.raises(BadInput):
        spans_of(body, JSON)


def test_another_content_type_is_named() -> None:
    with pytest.raises(BadInput, match="text/plain"):
        spans_of(b"", "text/plain")


def test_values_too_deep_are_refused() -> None:
    deep: Any = "x"
    for _ in range(60):
        deep = [deep]
    one = {"trace": b"", "span": b"", "parent": b"", "name": "", "start": 0, "code": 0, "problem": "", "dropped": 0}
    request = message([{**one, "attributes": {"a": deep}, "events": []}])
    for body, kind in ((request.SerializeToString(), PROTOBUF), (as_json(request), JSON)):
        with pytest.raises(BadInput, match="deep"):
            spans_of(body, kind)
