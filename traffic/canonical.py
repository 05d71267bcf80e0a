"""Canonical form, version 1: equal content has equal bytes, so that hashes can stand for messages.

A message is named by a hash over its own canonical bytes and the name of the message before it. Two calls that share
a prefix therefore share the names of that prefix, and one name says which whole conversation led up to it.

`docs/canonical-form.md` is the specification. Changing a single byte of the form changes every name in every store:
raise CANONICAL_VERSION (it is part of each hash) and write a migration.
"""

import json
from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Any

import msgspec

from .errors import BadInput

Message = dict[str, Any]

CANONICAL_VERSION = 1
ROOT = "0" * 32
"""The parent of a first message."""

_MESSAGE_TAG = b"tutelage.msg.%d" % CANONICAL_VERSION
_TOOLSET_TAG = b"tutelage.tool.%d" % CANONICAL_VERSION

# Fields that providers put into answers and that agents, as a rule, do not send back with the history; and a hint to
# the provider's cache that agents move from message to message. With them in the hash, a conversation would not be
# recognised as the continuation of its own first call.
_NOISE = frozenset({"annotations", "cache_control", "reasoning", "reasoning_content", "reasoning_details"})


def loads(body: bytes | str) -> Any:
    """The value of a JSON text, as tolerant as texts in the wild demand.

    Lone surrogates, NaN, Infinity, numbers too large for a double and a byte order mark are read too.
    Raises BadInput when it is no JSON at all.
    """
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"Expected a JSON text, but it cannot be read: {error}. Check what produced it.") from error


def canonical(value: Any) -> bytes:
    """Canonical bytes of a JSON value.

    Two values have equal bytes exactly if they are equal as JSON: same members whatever their order, numbers equal by
    value. Raises BadInput for nesting that cannot be walked, TypeError for what JSON cannot hold.
    """
    try:
        if is_simple(value):
            return _write_simple(value)
    except (RecursionError, UnicodeEncodeError, OverflowError):
        pass  # what only the long way can write, or say what is wrong with
    try:
        text = _write(value)
        if _may_hold_integral_float(text):
            text = _write(_plain(value))
    except RecursionError as error:
        raise BadInput("Expected JSON of reasonable depth, but this is nested too deeply to be hashed.") from error
    try:
        return text.encode()
    except UnicodeEncodeError:
        # A lone surrogate has no UTF-8; it becomes its JSON escape. Nothing else can fail to encode, and a backslash
        # of the text itself is doubled already, so the two cannot be confused.
        return mend(text).encode("utf-8", "backslashreplace")


def is_simple(value: Any) -> bool:
    """Whether msgspec writes a value as Python's json module does: ten times as fast, but floats in its own way.

    Raises RecursionError for what is nested too deeply.
    """
    kind = type(value)
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str or not (type(item) is str or is_simple(item)):
                return False
        return True
    if kind is list:
        return all(map(is_simple, value))
    return kind is str or kind is int or kind is bool or value is None


_write_simple = msgspec.json.Encoder(order="deterministic").encode


def mend(text: str) -> str:
    """The text with the two halves of a surrogate pair, where they stand together, as the one character they mean."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


_write: Callable[[Any], str] = json.JSONEncoder(
    ensure_ascii=False, sort_keys=True, separators=(",", ":"), check_circular=False
).encode


def _may_hold_integral_float(text: str) -> bool:
    """Whether walking the value is worth its time. Python writes such a float as `2.0` or `1e+22`."""
    return ".0," in text or ".0}" in text or ".0]" in text or "e+" in text or text.endswith(".0")


def _plain(value: Any) -> Any:
    """The value with floats of integral value turned into integers."""
    kind = type(value)
    if kind is dict:
        return {key: _plain(item) for key, item in value.items()}
    if kind is list or kind is tuple:
        return [_plain(item) for item in value]
    if kind is float and value.is_integer():
        return int(value)
    return value


def canonical_message(message: Any) -> bytes:
    """Canonical bytes of what counts in a message; see the specification for what is left out."""
    if not isinstance(message, dict):
        return canonical(message)
    kept = {key: value for key, value in message.items() if key not in _NOISE and not _empty(value)}
    calls = kept.get("tool_calls")
    if isinstance(calls, list):
        kept["tool_calls"] = [_tool_call(call) for call in calls]
    if isinstance(kept.get("function_call"), dict):
        kept["function_call"] = _function(kept["function_call"])
    if isinstance(kept.get("audio"), dict) and "id" in kept["audio"]:
        kept["audio"] = {"id": kept["audio"]["id"]}
    _settle_content(kept)
    return canonical(kept)


def _empty(value: Any) -> bool:
    return value is None or value == [] or value == {}


def _settle_content(kept: Message) -> None:
    """Bring the ways to write the same content into one."""
    content = kept.get("content")
    if isinstance(content, list):
        content = kept["content"] = [_part(part) for part in content]
        if len(content) == 1 and _is_text(content[0]):
            content = kept["content"] = content[0]["text"]
    if content == "" and ("tool_calls" in kept or "function_call" in kept):
        del kept["content"]


def _part(part: Any) -> Any:
    if not isinstance(part, dict):
        return part
    return {key: value for key, value in part.items() if value is not None and key != "cache_control"}


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and part.keys() == {"type", "text"} and part["type"] == "text"


def _tool_call(call: Any) -> Any:
    if not isinstance(call, dict):
        return call
    kept = {key: value for key, value in call.items() if key != "index" and value is not None}
    if isinstance(kept.get("function"), dict):
        kept["function"] = _function(kept["function"])
        kept.setdefault("type", "function")
    return kept


def _function(function: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in function.items() if value is not None}
    if isinstance(kept.get("arguments"), str):
        kept["arguments"] = _arguments(kept["arguments"])
    return kept


def _arguments(text: str) -> Any:
    """The object that an arguments text holds, or the text itself when it holds none.

    Other JSON values stay text, lest the texts `"x"` (with quotes) and `x` become the same.
    """
    try:
        value = loads(text)
    except BadInput:
        return text
    return value if isinstance(value, dict | list) else text


def message_id(parent: str, message: Any) -> str:
    """Name of a message (32 hex digits) that stands after the message named `parent`; ROOT for the first."""
    return name_of(parent, canonical_message(message))


def name_of(parent: str, content: bytes) -> str:
    """`message_id` of a message whose canonical bytes are known already."""
    state = _message_state()
    state.update(parent.encode() + content)
    return state.hexdigest()


# A copy of a state that is set up takes half the time of setting one up.
_message_state = blake2b(digest_size=16, person=_MESSAGE_TAG).copy


def chain(messages: Iterable[Any]) -> list[str]:
    """Names of all messages of a conversation, in order. The chain of a prefix is the prefix of the chain."""
    names: list[str] = []
    parent = ROOT
    for message in messages:
        parent = message_id(parent, message)
        names.append(parent)
    return names


def toolset_id(tools: Any) -> str:
    """Name of a set of tools (32 hex digits), whatever the order they are listed in; "" for none."""
    if not tools:
        return ""
    return _digest(_TOOLSET_TAG, canonical_tools(tools))


def canonical_tools(tools: Any) -> bytes:
    """Canonical bytes of a list of tools, sorted by name."""
    if not isinstance(tools, list):
        return canonical(tools)
    return b"[" + b",".join(item for _, item in sorted(map(_named_tool, tools))) + b"]"


def _named_tool(tool: Any) -> tuple[bytes, bytes]:
    if not isinstance(tool, dict):
        return b"", canonical(tool)
    kept = {key: value for key, value in tool.items() if value is not None}
    inner = kept.get("function")
    if isinstance(inner, dict):
        inner = kept["function"] = {key: value for key, value in inner.items() if value is not None}
    return canonical((inner if isinstance(inner, dict) else kept).get("name", "")), canonical(kept)


def _digest(tag: bytes, content: bytes) -> str:
    # BLAKE2's personalisation keeps messages, tool sets and versions of the form apart.
    return blake2b(content, digest_size=16, person=tag).hexdigest()
