"""Bodies of calls: made plain where they are packed, and split without being decoded."""

import json
from functools import lru_cache
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from .canonical import loads
from .encodings import coding_of, unpacked
from .errors import BadInput
from .records import CallRecord

_split_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_split_list = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Coded(NamedTuple):
    """Why a body could not be unpacked; empty for one that is plain."""

    request: str = ""
    response: str = ""


_PLAIN = Coded()
_PLAIN_BEGINS = (b"{", b"d", b"")
"""First bytes of plain objects and of event streams (`data:`), for a quick answer."""


def plain(record: CallRecord) -> tuple[CallRecord, Coded]:
    """The record with plain bodies. One that cannot be unpacked stays, with a note such as `encoded:br`."""
    if record.response[:1] in _PLAIN_BEGINS and not record.response_encoding and record.request[:1] in (b"{", b""):
        return record, _PLAIN
    asked, came = coding_of(record.request), coding_of(record.response, record.response_encoding)
    if not asked and not came:
        return record, _PLAIN
    request = unpacked(record.request, asked) if asked else record.request
    response = unpacked(record.response, came) if came and record.response else record.response
    coded = Coded("" if request is not None else f"encoded:{asked}", "" if response is not None else f"encoded:{came}")
    if request is None:
        request = record.request
    if response is None:
        response = record.response
    return replace(record, request=request, response=response), coded


def fields_of(body: bytes) -> dict[str, msgspec.Raw]:
    """The members of a JSON object, undecoded. Texts that only `loads` can read are spelled anew first."""
    try:
        return _split_object(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        value = loads(body)
    if not isinstance(value, dict):
        raise BadInput("A request body must be a JSON object.")
    return {key: msgspec.Raw(json.dumps(item).encode()) for key, item in value.items()}


def items_of(raw: msgspec.Raw | None) -> list[msgspec.Raw]:
    """The elements of a JSON list, undecoded; none when it is no list."""
    if raw is None or not bytes(raw).startswith(b"["):
        return []
    try:
        return _split_list(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return [msgspec.Raw(json.dumps(item).encode()) for item in loads(bytes(raw))]


def joined(fields: dict[str, msgspec.Raw]) -> str:
    members = (_spelled(key) + ":" + bytes(raw).decode() for key, raw in fields.items())
    return "{" + ",".join(members) + "}"


# The same few names come with every request.
_spelled = lru_cache(maxsize=1_000)(json.dumps)
