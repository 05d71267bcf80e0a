"""Traces for OpenTelemetry: a span for each call, an event for each compared answer, sent over OTLP/HTTP.

Made in the control plane from what comes into the store, so agents' calls pay nothing; without `telemetry.otlp_url`
nothing of this is loaded. The calls of one run are one trace. Ids follow from those of the run and the call: a call
that is told twice, or by another process, has the same span, and an event finds its span without being told of it.

Invariant: no text of a prompt or an answer is sent, and nobody waits for the collector: what it does not take in time
is dropped, and the SDK says so in the log.
"""

import json
import logging
import os
import threading
from collections.abc import Callable, Mapping
from hashlib import blake2b
from queue import Empty, Full, Queue
from typing import Any
from uuid import UUID

import pyarrow as pa
from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from .. import __version__
from . import telemetry_names as names
from .shadow import Label

logger = logging.getLogger(__name__)
WAITING = 200
"""Batches of calls that wait to become spans; more are dropped."""
LEAVE_S = 5
_OPERATIONS = {
    "/chat/completions": "chat",
    "/responses": "chat",
    "/messages": "chat",
    "/completions": "text_completion",
    "/embeddings": "embeddings",
}
_ELSEWHERE = ("imported", "recorded")
_COLUMNS = (
    *("call_id", "trajectory_id", "endpoint", "started_at", "latency_ms", "first_byte_ms", "stream", "status", "error"),
    *("route", "reason", "fallback", "student", "pattern_id", "model", "params", "finish_reason", "upstream_id"),
    *("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens"),
)
Row = Mapping[str, Any]


class _GivenIds(IdGenerator):
    """Hands out the ids that were set last; one thread makes all spans."""

    trace_id, span_id = 1, 1

    def generate_trace_id(self) -> int:
        return self.trace_id

    def generate_span_id(self) -> int:
        return self.span_id


class Telemetry:
    """A watcher. `run` makes the spans, in a thread of its own."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        """url: the collector's, without `/v1/traces`. headers: sent with everything."""
        base, sent = url.rstrip("/"), dict(headers)
        named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "tutelage"}
        resource = Resource.create({**named, "service.version": __version__})
        self._ids = _GivenIds()
        self._spans = TracerProvider(resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        self._spans.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{base}/v1/traces", headers=sent)))
        self._events = LoggerProvider(resource=resource, shutdown_on_exit=False)
        self._events.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(f"{base}/v1/logs", headers=sent)))
        self._tracer = self._spans.get_tracer("tutelage", __version__)
        self._logger = self._events.get_logger("tutelage", __version__)
        self._queue: Queue[Callable[[], None]] = Queue(WAITING)
        self.dropped = 0
        """Batches and events that came faster than they could be told."""

    def calls(self, calls: pa.Table) -> None:
        """See `Watcher.calls`."""
        told = calls.select(_COLUMNS)
        self._later(lambda: [self._span(row) for row in told.to_pylist()])

    def label(self, label: Label) -> None:
        """See `Watcher.label`."""
        self._later(lambda: self._event(label))

    def run(self, stop: threading.Event) -> None:
        """Tell what comes until `stop`, then what is left."""
        while not (stop.is_set() and self._queue.empty()):
            try:
                work = self._queue.get(timeout=0.2)
            except Empty:
                continue
            try:
                work()
            except Exception:
                logger.exception("Some calls could not be told to the collector")
        self._spans.force_flush(LEAVE_S * 1000)
        self._spans.shutdown()
        self._events.shutdown()

    def _later(self, work: Callable[[], Any]) -> None:
        try:
            self._queue.put_nowait(work)
        except Full:
            self.dropped += 1
            logger.warning("Traces come faster than they can be sent: %d batches were dropped", self.dropped)

    def _span(self, row: Row) -> None:
        operation = _OPERATIONS.get((row["endpoint"] or "").removeprefix("/v1"))
        if operation is None or (row["reason"] or "").partition(":")[0] in _ELSEWHERE:
            return
        self._ids.trace_id, self._ids.span_id = (
            trace_id(row["trajectory_id"] or str(row["call_id"])),
            span_id(row["call_id"]),
        )
        begun = _nanoseconds(row["started_at"])
        span = self._tracer.start_span(
            f"{operation} {row['model'] or ''}".strip(),
            kind=SpanKind.CLIENT,
            attributes=attributes_of(row, operation),
            start_time=begun,
        )
        if why := _failure(row):
            span.set_status(Status(StatusCode.ERROR, why))
        span.end(begun + _nanoseconds((row["latency_ms"] or 0.0) / 1000))

    def _event(self, label: Label) -> None:
        task = label.task
        ids = SpanContext(trace_id(task.trajectory_id), span_id(task.call_id), True, TraceFlags(TraceFlags.SAMPLED))
        attributes = {
            names.EVALUATION_NAME: f"tutelage.{task.kind}",
            names.EVALUATION_SCORE: 1.0 - label.loss,
            names.EVALUATION_LABEL: "same" if label.loss == 0 else "different",
            # The kind of difference only: what follows the colon may quote an answer.
            names.EVALUATION_EXPLANATION: label.reason.partition(":")[0],
            names.STUDENT: task.student,
            names.PATTERN: task.pattern_id,
        }
        at = _nanoseconds(label.at)
        context = set_span_in_context(NonRecordingSpan(ids))
        self._logger.emit(LogRecord(timestamp=at, context=context, event_name=names.EVALUATION, attributes=attributes))


def attributes_of(row: Row, operation: str) -> dict[str, Any]:
    """A span's attributes from a row of `calls`; what is not known is left out."""
    student = row["route"] == "student"
    found: dict[str, Any] = {
        names.OPERATION: operation,
        names.PROVIDER: "tutelage" if student else "openai",
        names.REQUEST_STREAM: bool(row["stream"]),
        # The column holds the answer's model, and the request's where there was no answer.
        names.RESPONSE_MODEL if row["status"] == 200 else names.REQUEST_MODEL: row["model"],
        names.RESPONSE_ID: row["upstream_id"],
        names.FINISH_REASONS: [row["finish_reason"]] if row["finish_reason"] else None,
        names.FIRST_CHUNK: row["first_byte_ms"] / 1000 if row["stream"] and row["first_byte_ms"] else None,
        names.INPUT_TOKENS: row["prompt_tokens"],
        names.OUTPUT_TOKENS: row["completion_tokens"],
        names.CACHED_TOKENS: row["cached_tokens"],
        names.REASONING_TOKENS: row["reasoning_tokens"],
        names.CONVERSATION: row["trajectory_id"],
        names.ERROR: _failure(row),
        names.STATUS: row["status"],
        names.ROUTE: row["route"],
        names.REASON: row["reason"],
        names.FALLBACK: row["fallback"],
        names.STUDENT: row["student"],
        names.PATTERN: row["pattern_id"],
        names.CALL: str(row["call_id"]),
        **_parameters(row["params"]),
    }
    return {name: value for name, value in found.items() if value not in (None, "")}


def _parameters(text: str | None) -> dict[str, float]:
    params = json.loads(text or "{}")
    asked = {
        names.REQUEST_PARAMETERS[name]: value for name, value in params.items() if name in names.REQUEST_PARAMETERS
    }
    return {
        name: value for name, value in asked.items() if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _failure(row: Row) -> str:
    status = row["status"] or 0
    return row["error"] or (str(status) if status >= 400 else "cancelled" if status == 0 else "")


def _nanoseconds(seconds: float) -> int:
    """To the microsecond: a clock's float holds no more."""
    return round(seconds * 1e6) * 1000


def trace_id(run: str) -> int:
    """The trace of a run: 16 bytes of a hash over its id, never 0."""
    return int.from_bytes(blake2b(run.encode(), digest_size=16).digest()) or 1


def span_id(call_id: str | UUID) -> int:
    """The span of a call: the last 8 bytes of its id, which are random."""
    return (UUID(str(call_id)).int & 0xFFFF_FFFF_FFFF_FFFF) or 1


def headers_of(text: str) -> dict[str, str]:
    """`name=value,name=value` as headers, the form of OpenTelemetry's own variable; odd parts are left out."""
    pairs = (part.partition("=") for part in text.split(","))
    return {name.strip().lower(): value.strip() for name, equals, value in pairs if equals and name.strip()}
