"""Token counts of streams whose agent did not ask for them.

The proxy asks the upstream (`stream_options.include_usage`) and takes the extra chunk out again, so that the agent
sees the stream it would have seen. The log keeps the whole stream.

Invariant: whatever is not exactly that chunk goes to the agent byte for byte. Only an event that has not fully arrived
is held, and an agent could not use half an event anyway.
"""

import re
from typing import Any

import msgspec

_EVENT_END = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r(?!\n))")
_SUSPECT = re.compile(rb'"choices"\s*:\s*\[\s*\]')
_ASK = b'{"stream_options":{"include_usage":true}'


def asks_for_usage(body: dict[str, Any]) -> bool:
    """Whether the agent asked itself; or does not stream, where the counts come anyway."""
    options = body.get("stream_options")
    return body.get("stream") is not True or (isinstance(options, dict) and bool(options.get("include_usage")))


def with_usage(raw: bytes, body: dict[str, Any]) -> bytes:
    """The same request asking for usage. Where nothing stands in the way, the agent's bytes stay as they are."""
    options = body.get("stream_options")
    start = raw.find(b"{")
    if "stream_options" not in body and start >= 0:
        return raw[:start] + _ASK + b"," + raw[start + 1 :]
    wanted = {**(options if isinstance(options, dict) else {}), "include_usage": True}
    try:
        return msgspec.json.encode({**body, "stream_options": wanted})
    except (UnicodeEncodeError, OverflowError):
        # Texts that JSON can carry but UTF-8 cannot: better no counts than a changed request.
        return raw


def with_model(raw: bytes, model: str) -> bytes:
    """The same request asking for another model; every other value keeps its bytes."""
    try:
        fields = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError:
        return raw
    return msgspec.json.encode({**fields, "model": model})


class UsageFilter:
    """Takes the usage chunk out of a stream that arrives in pieces."""

    def __init__(self) -> None:
        self._held = b""
        self._line_feed_due = False

    def feed(self, piece: bytes) -> bytes:
        """What the agent gets now; may be empty."""
        if self._line_feed_due and piece:
            self._line_feed_due = False
            piece = piece.removeprefix(b"\n")
        data = self._held + piece if self._held else piece
        end = _last_end(data)
        self._held = data[end:]
        whole = data[:end] if self._held else data
        if not _SUSPECT.search(whole):
            return whole
        kept = _without_usage(whole)
        # The withheld chunk ends with CR, at the end of what has come: the LF that belongs to it may follow.
        self._line_feed_due = not self._held and whole.endswith(b"\r") and not kept.endswith(b"\r")
        return kept

    def finish(self) -> bytes:
        """What is left at the end of a stream that stopped inside an event."""
        rest, self._held = self._held, b""
        return rest


def _last_end(data: bytes) -> int:
    if data.endswith(b"\n\n"):
        return len(data)
    end = 0
    for match in _EVENT_END.finditer(data):
        end = match.end()
    return end


def _without_usage(whole: bytes) -> bytes:
    kept, start = [], 0
    for match in _EVENT_END.finditer(whole):
        event = whole[start : match.end()]
        start = match.end()
        # Empty lines in front of the event are the teacher's own.
        kept.append(event[: len(event) - len(event.lstrip(b"\r\n"))] if _is_usage(event) else event)
    return b"".join(kept) + whole[start:]


def _is_usage(event: bytes) -> bool:
    """Whether this event is the extra chunk: no choices, but counts. Filter results of Azure have no counts."""
    lines = event.splitlines()
    data = b"\n".join(line[5:].strip() for line in lines if line.startswith(b"data:"))
    try:
        chunk = msgspec.json.decode(data)
    except msgspec.DecodeError:
        return False
    return isinstance(chunk, dict) and chunk.get("choices") == [] and isinstance(chunk.get("usage"), dict)
