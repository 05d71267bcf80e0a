"""The form in which other programs hand over calls that they made themselves: what is checked, and the call record.

A log source says what a call was, the proxy did not see it. So a record is taken as it is said, under the caller who
said it, with `recorded` as its reason; from there on it goes the way of every call. Pure: no clock, no disk.

A record's id is a hash over the caller, the sender's id and the start: posted again, it is the same call, and nobody
can take the id of another caller's call.
"""

import math
from hashlib import blake2b
from typing import Any

import msgspec

from ..traffic.canonical import loads
from ..traffic.dialects import dialect_of
from ..traffic.errors import BadInput
from ..traffic.records import CallRecord
from .identify import CallFacts, Names, call_facts

REASON = "recorded"
MOST = 1000
"""Records in one request."""
LONGEST_NAME = 200
_NAMES = ("id", "endpoint", "trajectory", "parent", "conversation", "pattern", "error", "request_id", "source")
_FIRST, _LAST = 946_684_800.0, 32_503_680_000.0
"""Years 2000 and 3000: times in milliseconds, or counted from the start of a program, are told by them."""


class Logged(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One call as a log source says it; a member of `records` in the body of `POST /v1/tutelage/records`."""

    request: msgspec.Raw
    """Body of the request, an object: what the agent asked."""
    started_at: float
    """Unix seconds."""
    id: str = ""
    """Names the call among the sender's; posted again under it (and with the same start) it counts once."""
    response: msgspec.Raw = msgspec.Raw(b"null")
    """Body of the answer, an object; null when there was none."""
    status: int = 0
    """HTTP status of the answer; without it 200 when there is a response, else 502."""
    error: str = ""
    """Why there is no answer."""
    endpoint: str = "/v1/chat/completions"
    """The protocol of the bodies, by the path under which a provider offers it."""
    trajectory: str = ""
    parent: str = ""
    conversation: str = ""
    pattern: str = ""
    """These four as the headers `x-tutelage-…` of the same names say them for calls through the proxy."""
    latency_ms: float = 0.0
    first_byte_ms: float = 0.0
    stream: bool = False
    """The answer was streamed to the agent; `response` is put together all the same."""
    retry: int = 0
    """So many attempts of this call were made before."""
    request_id: str = ""
    """The provider's `x-request-id`."""


class Batch(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/tutelage/records`."""

    records: list[msgspec.Raw]
    source: str = ""
    """What sends them: `plugin:NAME` for plugins of agent frameworks."""


_batches, _logged = msgspec.json.Decoder(Batch), msgspec.json.Decoder(Logged)


def parse(body: bytes) -> Batch:
    """The batch in a JSON body; its records are not looked at yet. Raises BadInput."""
    try:
        batch = _batches.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(
            f'The records do not fit: {error}. Expected {{"source": …, "records": [{{"request": {{…}}, "response": '
            '{…}, "started_at": …}, …]}; see docs/log-sources.md.'
        ) from error
    if not 0 < len(batch.records) <= MOST:
        raise BadInput(f"Expected 1 to {MOST} records in one request, {len(batch.records)} came. Send them in parts.")
    return batch


def record_in(raw: bytes, caller: str, source: str = "") -> CallRecord:
    """The call record of one member of `records`, said by `caller`. Raises BadInput, saying what does not fit."""
    try:
        logged = _logged.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(str(error)) from error
    return record_of(logged, caller, source)


def record_of(logged: Logged, caller: str, source: str = "") -> CallRecord:
    """The call record of a call that a log source said. Raises BadInput, saying what does not fit."""
    _check(logged, source)
    request, response = _body(logged.request, "request"), _body(logged.response, "response")
    if request is None:
        raise BadInput("the field 'request' must be an object, null came")
    facts = _facts(logged, request, caller)
    return CallRecord(
        call_id=call_id_of(caller, logged),
        started_at=logged.started_at,
        endpoint=logged.endpoint,
        caller=caller,
        reason=f"{REASON}:{source}" if source else REASON,
        session=facts.session,
        trajectory=facts.trajectory,
        parent=facts.parent,
        hint=facts.hint,
        status=logged.status or (200 if response is not None else 502),
        stream=logged.stream,
        error=logged.error or ("" if response is not None else "no_answer_recorded"),
        first_byte_ms=logged.first_byte_ms,
        latency_ms=logged.latency_ms,
        retry=logged.retry,
        request=bytes(logged.request),
        response=bytes(logged.response) if response is not None else b"",
        response_type="application/json",
        request_id=logged.request_id,
    )


def call_id_of(caller: str, logged: Logged) -> str:
    """A UUIDv7 whose 74 free bits are a hash: it sorts by time as the ids of the proxy's own calls do."""
    named = logged.id.encode("utf-8", "surrogatepass") or b"\0".join((logged.request, logged.response))
    digest = blake2b(digest_size=16, person=b"recorded call")
    for part in (caller.encode(), repr(logged.started_at).encode(), named):
        digest.update(len(part).to_bytes(8, "big") + part)
    tail = int.from_bytes(digest.digest()) & ((1 << 74) - 1)
    high, low = divmod(tail, 1 << 62)
    bits = int(logged.started_at * 1000) << 80 | 0x7000_8000_0000_0000_0000 | high << 64 | low
    text = f"{bits:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _check(logged: Logged, source: str) -> None:
    for name in _NAMES:
        value = source if name == "source" else getattr(logged, name)
        if len(value) > LONGEST_NAME:
            raise BadInput(f"the field {name!r} must have at most {LONGEST_NAME} characters, not {len(value)}")
    if not _FIRST <= logged.started_at <= _LAST:
        raise BadInput(f"the field 'started_at' must be in Unix seconds, not {logged.started_at!r}")
    for name in ("latency_ms", "first_byte_ms"):
        value = getattr(logged, name)
        if not (math.isfinite(value) and value >= 0):
            raise BadInput(f"the field {name!r} must be a number of milliseconds, not {value!r}")
    if logged.status and not 100 <= logged.status <= 599:
        raise BadInput(f"the field 'status' must be an HTTP status, not {logged.status}")
    if not 0 <= logged.retry < 1 << 31:
        raise BadInput(f"the field 'retry' must be a count, not {logged.retry}")
    if dialect_of("POST", logged.endpoint) is None:
        raise BadInput(f"the endpoint {logged.endpoint!r} is none whose calls can be read, like /v1/chat/completions")


def _body(raw: msgspec.Raw, name: str) -> dict[str, Any] | None:
    value = loads(bytes(raw))
    if value is not None and not isinstance(value, dict):
        raise BadInput(f"the field {name!r} must be an object, {type(value).__name__} came")
    return value


def _facts(logged: Logged, request: dict[str, Any], caller: str) -> CallFacts:
    names = Names(logged.trajectory, logged.pattern, logged.parent, logged.conversation)
    return call_facts(names, request, len(logged.request), caller)
