"""One call as the data plane writes it down, and its bytes in the journal.

A record keeps the request and the response exactly as they went over the wire; making sense of them (reassembling a
stream, hashing messages, finding the trajectory) is left to ingest, off the request path.

Encoding: MessagePack of an array, so that field names cost nothing. Fields are only ever appended, each with a
default: an old segment can be read by a newer program.
"""

import os
import random
import time
from typing import Any

import msgspec


class CallRecord(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """Everything known about one call when its last byte has gone to the agent."""

    call_id: str
    """UUIDv7 in canonical text form; made by the data plane, the key of exactly-once ingest."""
    started_at: float
    """Unix time in seconds when the request's head had arrived."""
    method: str = "POST"
    endpoint: str = "/v1/chat/completions"
    """Path without the query."""
    caller: str = ""
    """Keyed hash (16 hex digits) of the agent's bearer token; empty when it sent none. Never the token."""
    route: str = "teacher"
    """Who answered: `teacher`, `student`, or `none` when nobody did (rejected before forwarding)."""
    reason: str = ""
    """Why that route: a reason code of the routing decision."""
    fallback: str = ""
    """Why the student, though chosen, did not answer; empty otherwise. The route is `teacher` then."""
    student: str = ""
    """Student version (`name@digest`) that was chosen, also when it then fell back."""
    pattern: str = ""
    """Pattern id as the data plane saw it; empty when unknown."""
    session: str = ""
    """Session key (32 hex digits) used for the assignment; see `identify.session_key`."""
    trajectory: str = ""
    """Explicit trajectory id from the `x-tutelage-trajectory` header or `metadata`; empty when the agent named none."""
    hint: str = ""
    """Explicit pattern name from the `x-tutelage-pattern` header or `metadata`."""
    status: int = 0
    """HTTP status that the agent got; 0 when it left before one was sent."""
    stream: bool = False
    cancelled: bool = False
    """The agent went away before the last byte."""
    error: str = ""
    """Short reason when the answer is ours and not an upstream's: `upstream_timeout`, `bad_json`, …"""
    first_byte_ms: float = 0.0
    """Milliseconds from start to the first byte of the answer's body."""
    latency_ms: float = 0.0
    """Milliseconds from start to the last byte."""
    retry: int = 0
    """`x-stainless-retry-count` of the agent's client library."""
    request: bytes = b""
    """Body as the agent sent it."""
    response: bytes = b""
    """Body as the agent got it; the raw event stream when `stream`. With usage frames that were withheld from it."""
    response_type: str = ""
    """Content type of the response."""
    request_id: str = ""
    """`x-request-id` that the agent saw."""
    confidence: float | None = None
    """Mean token log-probability that the student gave for its answer, if it answered."""
    response_encoding: str = ""
    """Content encoding of `response` (`gzip`, …); empty when it is plain."""
    teacher: str = ""
    """Name of the teacher that was asked, among several."""
    parent: str = ""
    """The run that has started this one, as the agent names it; see `parentage`. Empty when it named none."""


FIELDS = CallRecord.__struct_fields__
_encoder = msgspec.msgpack.Encoder()
# Ids must not repeat, but need not be hard to guess; asking the system for each would cost more than all the rest.
_random = random.Random(os.urandom(32))
_decoder = msgspec.msgpack.Decoder(CallRecord)


def encode(record: CallRecord) -> bytes:
    """Bytes of a record, as stored in the journal."""
    return _encoder.encode(record)


def encode_fields(values: tuple[Any, ...]) -> bytes:
    """Bytes of the record that has these values, in the order of `FIELDS`."""
    return _encoder.encode(values)


def decode(payload: bytes) -> CallRecord:
    """The record in `payload`. Raises msgspec.DecodeError or msgspec.ValidationError when it is none."""
    return _decoder.decode(payload)


def new_call_id(now: float | None = None) -> str:
    """A UUIDv7 (RFC 9562): 48 bits of Unix milliseconds, then 74 random bits. Sorts by time of creation."""
    moment = f"{int((time.time() if now is None else now) * 1000):012x}"
    chance = f"{_random.getrandbits(72):018x}"
    variant = "89ab"[_random.getrandbits(2)]
    return f"{moment[:8]}-{moment[8:]}-7{chance[:3]}-{variant}{chance[3:6]}-{chance[6:]}"
