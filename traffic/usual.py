"""Messages of the usual form, brought into canonical bytes without a detour over dicts.

Nearly all messages hold nothing but texts and function calls. For those, the members of these classes in the order
they are declared (which is the order of their names) *are* the canonical form, once what is left out is set to None:
`canonical()` gives what `canonical_message` gives, several times as fast. Anything unusual is not read at all, and is
left to `canonical_message`.
"""

import re
from typing import Any

import msgspec

from .canonical import is_simple


class _Function(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    arguments: Any = None
    name: str | None = None


class _Call(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    function: _Function
    id: str | None = None
    index: int | None = None
    type: str | None = None


class UsualMessage(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A message with a text, function calls, or both."""

    annotations: Any = None
    audio: None = None
    content: str | None = None
    function_call: None = None
    name: str | None = None
    refusal: None = None
    role: str | None = None
    tool_call_id: str | None = None
    tool_calls: list[_Call] | None = None

    def canonical(self) -> bytes | None:
        """Canonical bytes; None where only `canonical_message` knows them. Changes the message: call it once."""
        self.annotations = None
        if not self.tool_calls:
            self.tool_calls = None
            return _encode(self)
        self.content = self.content or None
        for call in self.tool_calls:
            call.index = None
            if call.type is None:
                call.type = "function"
            if not _settle_arguments(call.function):
                return None
        return _encode(self)


def _settle_arguments(function: _Function) -> bool:
    """Put the object that the arguments' text holds in its place. False for what is not written like that."""
    text = function.arguments
    if not isinstance(text, str):
        return text is None
    try:
        value = _decode_any(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
    if isinstance(value, dict | list):
        if _may_hold_float(text) and not is_simple(value):
            return False
        function.arguments = value
    return True


# A number that is no integer, or too long for one, is written like this; so is much else, which costs a closer look.
_may_hold_float = re.compile(r"[0-9](?:[.eE]|[0-9]{15})").search


def usual(text: bytes) -> UsualMessage | None:
    """The message in a JSON text; None for an unusual one."""
    try:
        return _decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


_decode = msgspec.json.Decoder(UsualMessage).decode
_decode_any = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder(order="deterministic").encode
