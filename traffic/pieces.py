"""Frames of a chat stream that hold one piece of text or of one call's arguments: nearly all frames of a long answer.

They are read by their form, without a detour over dicts. Whatever says more than that is not read at all, and is left
to `sse.assemble_chat`, which gives the same for both.
"""

import msgspec


class _Function(msgspec.Struct, forbid_unknown_fields=True):
    arguments: str


class PieceOfCall(msgspec.Struct, forbid_unknown_fields=True):
    """More arguments of a tool call that has begun."""

    function: _Function
    index: int


class _Delta(msgspec.Struct, forbid_unknown_fields=True):
    content: str | None = None
    tool_calls: tuple[PieceOfCall] | None = None
    obfuscation: str | None = None


class Piece(msgspec.Struct, forbid_unknown_fields=True):
    """What one choice has grown by."""

    delta: _Delta
    index: int = 0
    finish_reason: None = None
    logprobs: None = None


class _Frame(msgspec.Struct):
    """The members that all frames share, such as the id, are those of the frame that began the answer."""

    choices: tuple[Piece]
    usage: None = None
    error: None = None


def piece(event: bytes) -> Piece | None:
    """The piece in an event's data; None when there is none, or more."""
    try:
        return _decode(event).choices[0]
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


_decode = msgspec.json.Decoder(_Frame).decode
