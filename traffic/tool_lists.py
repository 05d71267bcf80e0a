"""Tools of requests: an agent sends the same ones with every call, byte for byte, and they are often most of it.

So tools that have been seen are not decoded again: where their bytes stand in a request, a mark takes their place, and
the rest is decoded. The mark is random text, so that only the request's own field `tools` can come out as the mark:
whatever else looked like it (a field of that name further in, or one that comes twice) goes the long way.
"""

import secrets
from functools import lru_cache
from typing import Any

import msgspec

from .canonical import loads

_MOST_BYTES = 64 * 1024
"""Longer lists of tools are decoded each time."""
_RECENT = 16
_KEY = b'"tools":'
_MARK = secrets.token_hex(16)
_MARKED = f'"{_MARK}"'.encode()
_split = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode = msgspec.json.Decoder().decode


class ToolList(list[Any]):
    """The tools of all requests that spell them like this. Never changed, so what is found out about them holds."""

    __slots__ = ("known",)

    known: dict[str, Any]
    """What has been found out, by the name of whoever did."""

    def __init__(self, tools: list[Any]) -> None:
        super().__init__(tools)
        self.known = {}


_recent: list[tuple[bytes, ToolList]] = []
"""Tools that came lately, and their bytes."""


@lru_cache(maxsize=64)
def _tools(raw: bytes) -> Any:
    value = _decode(raw)
    return ToolList(value) if isinstance(value, list) else value


def load_request(body: bytes) -> Any:
    """The value of a request body, as `canonical.loads` gives it; only that its tools are a `ToolList`.

    Raises BadInput when it is no JSON.
    """
    start = body.find(_KEY) + len(_KEY)
    if body.startswith(b" ", start):
        start += 1
    for raw, tools in _recent:
        if body.startswith(raw, start):
            fields = _with(tools, body[:start] + _MARKED + body[start + len(raw) :])
            return _load(body) if fields is None else fields
    return _load(body)


def _with(tools: ToolList, marked: bytes) -> dict[str, Any] | None:
    """The request in which the mark stands for the tools; None where it stands for something else."""
    try:
        fields = _decode(marked)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    if not isinstance(fields, dict) or fields.get("tools") != _MARK:
        return None
    fields["tools"] = tools
    return fields


def _load(body: bytes) -> Any:
    try:
        fields: dict[str, Any] = _split(body)
        tools = fields.get("tools")
        if tools is None or len(memoryview(tools)) > _MOST_BYTES:
            return loads(body)
        spelt = bytes(tools)
        known = _tools(spelt)
        for name, raw in fields.items():
            fields[name] = known if raw is tools else _decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return loads(body)
    if isinstance(known, ToolList) and not any(tools is known for _, tools in _recent):
        _recent.insert(0, (spelt, known))
        del _recent[_RECENT:]
    return fields
