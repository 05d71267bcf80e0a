"""Spans as a log source: `POST /v1/traces` on the agents' port, where an OTLP exporter sends them.

Model calls among them become records like those of any log source (`intake`), a failed run of an agent becomes
feedback about it; all other spans are passed over. Invariant: what is acknowledged is with the operating system, and
whatever cannot be recorded is told: how many spans, and why the first of them.
"""

import asyncio
import logging
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from ..traffic.errors import BadInput
from ..traffic.feedback import ACCEPTED
from ..traffic.feedback import PATH as FEEDBACK
from ..traffic.records import CallRecord
from .exchange import Exchange
from .intake import Behind, keep, refusal
from .intake_form import Logged, call_id_of, record_of
from .openai_errors import Problem
from .otlp_calls import around, failure_of, is_call, logged_of, run_of
from .otlp_wire import JSON, KINDS, Span, kind_of, spans_of

log = logging.getLogger("tutelage.proxy")
PATH = "/v1/traces"
SOURCE = "otlp"
_OK = 200
_AT_ONCE = 20
"""After so many spans the calls in progress get their turn."""


class Refused(NamedTuple):
    """A span of a model call that is no record."""

    span: Span
    why: str


async def serve(call: Exchange, body: bytes | None, behind: Behind, on: bool = True) -> None:
    """Answer one request to `PATH`. `body`: without its content encoding; None when that could not be undone."""
    problem = refusal(call.method, body, on)
    if problem is not None or body is None:
        call.refuse(problem or Problem(415, "bad_encoding", "Send spans plain, or as gzip or deflate."))
        return
    kind = kind_of(call.named.get("content-type", ""))
    try:
        spans = spans_of(body, kind)
    except BadInput as error:
        call.refuse(Problem(400 if kind in KINDS else 415, "bad_spans", str(error)))
        return
    records: list[CallRecord] = []
    refused: list[Refused] = []
    for count, one in enumerate(found_in(spans, call.caller, call.named.get("host", "")), 1):
        (refused if isinstance(one, Refused) else records).append(one)  # type: ignore[arg-type]
        if count % _AT_ONCE == 0:
            await asyncio.sleep(0)
    if await keep(call, records, behind):
        _answer(call, refused, kind == JSON)


def found_in(spans: list[Span], caller: str, host: str = "") -> Iterator[CallRecord | Refused]:
    """The records in spans that one caller has sent. host: this proxy's address as the sender knows it, `NAME:PORT`."""
    by_id = {span.span_id: span for span in spans}
    for span in spans:
        if why := failure_of(span):
            yield _feedback(span, why, caller)
        if not is_call(span) or _is_proxied(span, host):
            continue
        outer = list(around(span, by_id))
        if any(map(is_call, outer)):
            continue  # a library around another one, both of which tell of the same call
        try:
            yield record_of(logged_of(span, outer), caller, SOURCE)
        except BadInput as error:
            yield Refused(span, str(error))


def _is_proxied(span: Span, host: str) -> bool:
    """Whether the call went through this proxy, which has its own record of it."""
    address, port = span.attributes.get("server.address"), span.attributes.get("server.port")
    return bool(host) and f"{address}:{port}" == host


def _feedback(span: Span, why: str, caller: str) -> CallRecord:
    """The record of a failed run's outcome, as if it had been posted."""
    name = f"{span.trace_id}/{span.span_id}"
    said = {"metric": "success", "value": False, "trajectory": run_of(span), "source": SOURCE, "id": name}
    request = msgspec.json.encode({**said, "comment": why[:1000]})
    made = Logged(request=msgspec.Raw(request), started_at=span.end or span.start, id=name)
    return CallRecord(
        call_id=call_id_of(caller, made),
        started_at=made.started_at,
        endpoint=FEEDBACK,
        caller=caller,
        route="none",
        reason="feedback",
        status=ACCEPTED,
        request=request,
    )


def _answer(call: Exchange, refused: list[Refused], as_json: bool) -> None:
    """`ExportTraceServiceResponse`, with its `partial_success` where spans were refused."""
    call.route, call.reason, call.logged = "none", "log_source", True
    told = ""
    if refused:
        first = refused[0]
        told = f"{len(refused)} spans of model calls are not recorded; the first ({first.span.name}): {first.why}"
        log.warning("Spans: %s", told)
    if as_json:
        partial = {"partialSuccess": {"rejectedSpans": str(len(refused)), "errorMessage": told}} if refused else {}
        call.whole(_OK, [("content-type", "application/json")], msgspec.json.encode(partial))
    else:
        call.whole(_OK, [("content-type", "application/x-protobuf")], _partial(len(refused), told.encode()))


def _partial(count: int, told: bytes) -> bytes:
    """Field 1 of the response: {1: rejected_spans, 2: error_message}; nothing when none was refused."""
    if not count:
        return b""
    inner = b"\x08" + _varint(count) + b"\x12" + _varint(len(told)) + told
    return b"\x0a" + _varint(len(inner)) + inner


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))
