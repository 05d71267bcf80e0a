"""Tools of requests: an agent sends the same ones with every call, byte for byte, and they are often most of it.

So a request is split first, and tools that have been seen are not decoded again.
"""

from functools import lru_cache
from typing import Any

import msgspec

from .canonical import loads

_MOST_BYTES = 64 * 1024
"""Longer lists of tools are decoded each time."""
_split = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode = msgspec.json.Decoder().decode


class ToolList(list[Any]):
    """The tools of all requests that spell them like this. Never changed, so what is found out about them holds."""

    __slots__ = ("known",)

    known: dict[str, Any]
    """What has been found out, by the name of whoever did."""


@lru_cache(maxsize=64)
def _tools(raw: bytes) -> Any:
    value = _decode(raw)
    if not isinstance(value, list):
        return value
    tools = ToolList(value)
    tools.known = {}
    return tools


def load_request(body: bytes) -> Any:
    """The value of a request body, as `canonical.loads` gives it; only that its tools are a `ToolList`.

    Raises BadInput when it is no JSON.
    """
    try:
        fields: dict[str, Any] = _split(body)
        tools = fields.get("tools")
        if tools is None or len(memoryview(tools)) > _MOST_BYTES:
            return loads(body)
        known = _tools(bytes(tools))
        for name, raw in fields.items():
            fields[name] = known if raw is tools else _decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return loads(body)
    return fields
