"""A journal's record as ingest reads it: the request is not copied out of the payload.

A request holds the whole conversation, and nearly all of it is known already (see `prefixes`). Copying it would take
longer than everything else about the record.
"""

import msgspec

from .records import CallRecord


class Incoming(CallRecord, frozen=True, array_like=True, kw_only=True, gc=False):
    """A `CallRecord` whose request is a view into the payload, until `parse` has seen it."""

    request: memoryview = memoryview(b"")  # pyright: ignore[reportIncompatibleVariableOverride]


def decode_incoming(payload: bytes) -> Incoming:
    """The record in `payload`. Raises msgspec.DecodeError or msgspec.ValidationError when it is none."""
    return _decoder.decode(payload)


_decoder = msgspec.msgpack.Decoder(Incoming)
