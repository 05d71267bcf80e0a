"""What an OTLP exporter posts, as spans: the bytes of `ExportTraceServiceRequest`, in protobuf or JSON.

Both are read here by hand, and only the fields that say something about calls: so agents' spans need no further package
in the data plane. Field numbers are those of `opentelemetry/proto/trace/v1/trace.proto`. Pure; raises BadInput for
bytes that are none of it.
"""

import base64
import struct
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from ..traffic.answers import as_object, clean
from ..traffic.canonical import loads
from ..traffic.errors import BadInput

Attributes = dict[str, Any]
"""Values are texts, numbers, booleans, lists and objects of them."""
JSON = "application/json"
KINDS = (JSON, "application/x-protobuf", "application/protobuf")
_PLAIN = ("stringValue", "boolValue", "bytesValue")
_DEEPEST = 32
"""Levels of values within values."""
_FAILED = (2, "STATUS_CODE_ERROR")


class Event(msgspec.Struct, frozen=True):
    """Something that a span notes while it lasts."""

    name: str
    at: float
    """Unix seconds."""
    attributes: Attributes


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """One span, as far as it matters here."""

    trace_id: str
    """Hex digits, as is `span_id`."""
    span_id: str
    parent_id: str = ""
    """Empty for the root of a trace, and where the parent is not said."""
    name: str = ""
    start: float = 0.0
    """Unix seconds, as is `end`."""
    end: float = 0.0
    attributes: Attributes
    events: list[Event]
    failed: bool = False
    problem: str = ""
    """Why it failed, in the sender's words."""
    dropped: int = 0
    """Attributes that its limits have cut off."""


def kind_of(content_type: str) -> str:
    """The media type of a `content-type` header, without its parameters."""
    return content_type.partition(";")[0].strip().lower()


def spans_of(body: bytes, content_type: str) -> list[Span]:
    """The spans in a body, in its order. Raises BadInput."""
    kind = kind_of(content_type)
    if kind in KINDS:
        return list(_json_spans(loads(body)) if kind == JSON else _proto_spans(memoryview(body)))
    raise BadInput(f"Expected spans as application/x-protobuf or application/json, {kind or 'no content type'} came.")


# JSON: names in lowerCamelCase, ids in hex, 64-bit integers as texts.


def _json_spans(body: Any) -> Iterator[Span]:
    if not isinstance(body, dict) or not isinstance(body.get("resourceSpans", []), list):
        raise BadInput('Expected {"resourceSpans": […]} of OTLP.')
    for resource in _objects(body.get("resourceSpans")):
        for scope in _objects(resource.get("scopeSpans") or resource.get("instrumentationLibrarySpans")):
            for span in _objects(scope.get("spans")):
                yield _json_span(span)


def _json_span(raw: dict[str, Any]) -> Span:
    status = as_object(raw.get("status"))
    return Span(
        trace_id=clean(raw.get("traceId")),
        span_id=clean(raw.get("spanId")),
        parent_id=clean(raw.get("parentSpanId")),
        name=clean(raw.get("name")),
        start=_seconds(raw.get("startTimeUnixNano")),
        end=_seconds(raw.get("endTimeUnixNano")),
        attributes=_json_attributes(raw.get("attributes")),
        events=[
            Event(clean(one.get("name")), _seconds(one.get("timeUnixNano")), _json_attributes(one.get("attributes")))
            for one in _objects(raw.get("events"))
        ],
        failed=status.get("code") in _FAILED,
        problem=clean(status.get("message")),
        dropped=_integer(raw.get("droppedAttributesCount")),
    )


def _json_attributes(pairs: Any, depth: int = 0) -> Attributes:
    return {clean(pair.get("key")): _json_value(pair.get("value"), depth) for pair in _objects(pairs)}


def _json_value(raw: Any, depth: int = 0) -> Any:
    if depth > _DEEPEST:
        raise BadInput(f"Attributes have values more than {_DEEPEST} levels deep.")
    value = as_object(raw)
    if "intValue" in value:
        return _integer(value["intValue"])
    if "doubleValue" in value:
        return _double(value["doubleValue"])
    if "arrayValue" in value:
        return [_json_value(one, depth + 1) for one in _objects(as_object(value["arrayValue"]).get("values"))]
    if "kvlistValue" in value:
        return _json_attributes(as_object(value["kvlistValue"]).get("values"), depth + 1)
    return next((value[name] for name in _PLAIN if name in value), None)


def _objects(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _integer(value: Any) -> int:
    try:
        return int(value) if isinstance(value, int | str) else 0
    except ValueError:
        return 0


def _double(value: Any) -> float | None:
    """JSON has infinity and NaN as texts."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _seconds(nanoseconds: Any) -> float:
    return _integer(nanoseconds) / 1e9


# Protobuf: fields are (number, value); what is nested is a slice of the same bytes.


def _fields(data: memoryview) -> Iterator[tuple[int, Any]]:
    """Integers for varints and fixed numbers, slices for the rest. Raises BadInput for bytes that are no message."""
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = _varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            value, at = int.from_bytes(_slice(data, at, size), "little"), at + size
        elif kind == 2:
            size, at = _varint(data, at)
            value, at = _slice(data, at, size), at + size
        else:
            raise BadInput("Expected spans in protobuf; the body is something else, or cut off.")
        yield number, value


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
    raise BadInput("Expected spans in protobuf; the body is something else, or cut off.")


def _slice(data: memoryview, at: int, size: int) -> memoryview:
    if at + size > len(data):
        raise BadInput("Expected spans in protobuf; the body is cut off.")
    return data[at : at + size]


def _inside(data: memoryview, wanted: int) -> Iterator[memoryview]:
    return (value for number, value in _fields(data) if number == wanted and isinstance(value, memoryview))


def _proto_spans(body: memoryview) -> Iterator[Span]:
    for resource in _inside(body, 1):
        for scope in _inside(resource, 2):
            for span in _inside(scope, 2):
                yield _proto_span(span)


def _proto_span(data: memoryview) -> Span:
    said: dict[str, Any] = {"trace_id": "", "span_id": "", "attributes": {}, "events": []}
    for number, value in _fields(data):
        if (plain := _SPAN.get(number)) is not None:
            name, read = plain
            said[name] = _as(read, value)
        elif number == 9:
            key, found = _pair(value)
            said["attributes"][key] = found
        elif number == 11:
            said["events"].append(_proto_event(value))
        elif number == 15:
            status = dict(_fields(_message(value)))
            said |= {"failed": status.get(3) == _FAILED[0], "problem": _text(status.get(2, b""))}
    return Span(**said)


def _proto_event(data: Any) -> Event:
    at, name, attributes = 0.0, "", {}
    for number, value in _fields(_message(data)):
        if number == 1:
            at = _as(_nanoseconds, value)
        elif number == 2:
            name = _text(value)
        elif number == 3:
            key, found = _pair(value)
            attributes[key] = found
    return Event(name, at, attributes)


def _pair(data: Any, depth: int = 0) -> tuple[str, Any]:
    said = dict(_fields(_message(data)))
    return _text(said.get(1, b"")), _proto_value(said.get(2, b""), depth)


def _proto_value(data: Any, depth: int) -> Any:
    if depth > _DEEPEST:
        raise BadInput(f"Attributes have values more than {_DEEPEST} levels deep.")
    value: Any = None
    for number, raw in _fields(_message(data)):
        if number == 1:
            value = _text(raw)
        elif number == 2:
            value = bool(raw)
        elif number == 3:
            value = raw - (1 << 64) if raw >> 63 else raw
        elif number == 4:
            value = struct.unpack("<d", struct.pack("<Q", raw))[0]
        elif number == 5:
            value = [_proto_value(one, depth + 1) for one in _inside(_message(raw), 1)]
        elif number == 6:
            value = dict(_pair(one, depth + 1) for one in _inside(_message(raw), 1))
        elif number == 7:
            value = base64.b64encode(_message(raw)).decode()
    return value


def _message(value: Any) -> memoryview:
    if isinstance(value, int):
        raise BadInput("Expected spans in protobuf; a number came where a message belongs.")
    return memoryview(value)


def _text(value: Any) -> str:
    return bytes(_message(value)).decode("utf-8", "replace")


def _hex(value: Any) -> str:
    return bytes(_message(value)).hex()


def _nanoseconds(value: int) -> float:
    return value / 1e9


def _as(read: Callable[[Any], Any], value: Any) -> Any:
    if read in (_nanoseconds, int) and not isinstance(value, int):
        raise BadInput("Expected spans in protobuf; a message came where a number belongs.")
    return read(value)


_SPAN: dict[int, tuple[str, Callable[[Any], Any]]] = {
    1: ("trace_id", _hex),
    2: ("span_id", _hex),
    4: ("parent_id", _hex),
    5: ("name", _text),
    7: ("start", _nanoseconds),
    8: ("end", _nanoseconds),
    10: ("dropped", int),
}
