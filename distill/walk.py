"""Walking a conversation leaf by leaf: texts, the strings inside tool arguments and inside JSON results.

Nothing here knows what is personal. Whatever is done to the leaves, JSON stays JSON: a text that is an object or an
array is taken apart, and put together again in the way it was written.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

Message = dict[str, Any]
_PROTOCOL = frozenset(("role", "type", "id", "tool_call_id"))


class Leaf(NamedTuple):
    """One text in a conversation."""

    text: str
    path: tuple[str, ...]
    """The keys it stands under, outermost first; those of the messages' own form are left out."""

    @property
    def field(self) -> str:
        """The key it stands under; empty for plain text."""
        return self.path[-1] if self.path else ""


def leaves(value: Any, path: tuple[str, ...] = (), protocol: bool = True) -> Iterable[Leaf]:
    """Every text and whole number with the keys it stands under; JSON inside a text is walked too.

    `protocol`: the keys are those of OpenAI's messages; ids and roles among them are nobody's words."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not (protocol and key in _PROTOCOL):
                yield from leaves(item, path if protocol else (*path, str(key)), protocol)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item, path, protocol)
    elif isinstance(value, str):
        inner = json_inside(value)
        if inner is not None:
            yield from leaves(inner, path, False)
        elif value:
            yield Leaf(value, path)
    elif isinstance(value, int) and not isinstance(value, bool):
        yield Leaf(str(value), path)


def keys(value: Any, protocol: bool = True) -> Iterable[str]:
    """The keys of all JSON objects inside texts: in a result they may be values, such as an address by its owner."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not protocol:
                yield str(key)
            yield from keys(item, protocol)
    elif isinstance(value, list):
        for item in value:
            yield from keys(item, protocol)
    elif isinstance(value, str):
        inner = json_inside(value)
        if inner is not None:
            yield from keys(inner, False)


Swap = Callable[[str, tuple[str, ...]], str]
"""From a text and its path to what stands there instead; numbers come as texts, and an empty one makes them zero."""


def rewrite(value: Any, swap: Swap, kept: frozenset[str], path: tuple[str, ...] = (), protocol: bool = True) -> Any:
    """The same structure with every text passed through `swap`; values and keys in `kept` stay.

    A message in which nothing changes is returned as the same object."""
    if isinstance(value, dict):
        return _object(value, swap, kept, path, protocol)
    if isinstance(value, list):
        after = [rewrite(item, swap, kept, path, protocol) for item in value]
        return value if all(new is old for new, old in zip(after, value, strict=True)) else after
    if isinstance(value, str):
        if not value or value in kept:
            return value
        inner = json_inside(value)
        if inner is None:
            return swap(value, path)
        changed = rewrite(inner, swap, kept, path, False)
        return value if changed is inner else _written_like(value, changed)
    if isinstance(value, int) and not isinstance(value, bool):
        return _number(value, swap(str(value), path))
    if isinstance(value, float):
        return value if swap(str(value), path) else 0.0
    return value


def _object(value: dict[Any, Any], swap: Swap, kept: frozenset[str], path: tuple[str, ...], protocol: bool) -> Any:
    after: dict[Any, Any] = {}
    same = True
    for key, item in value.items():
        if protocol:
            new_key, new = key, item if key in _PROTOCOL else rewrite(item, swap, kept, path, True)
        else:
            new_key = key if key in kept else swap(key, ())
            new = rewrite(item, swap, kept, (*path, str(key)), False)
        same = same and new_key == key and new is item
        # Two keys that become one would lose a value.
        after[new_key if new_key not in after else key] = new
    return value if same else after


def _number(value: int, swapped: str) -> int:
    if swapped == str(value):
        return value
    if not swapped:
        return 0
    unsigned = swapped.removeprefix("-")
    return int(swapped) if unsigned.isascii() and unsigned.isdigit() else value


def json_inside(text: str) -> Any:
    """The object or array that a text is, as tool arguments and many results are; None otherwise."""
    if text[:1] not in ("{", "[") and text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, (dict, list)) else None


def _written_like(text: str, value: Any) -> str:
    tight = '": ' not in text and '", ' not in text
    indent = 2 if "\n  " in text else None
    separators = (",", ":") if tight and indent is None else None
    return json.dumps(value, ensure_ascii=False, separators=separators, indent=indent)


def schema_words(tools: Sequence[Message]) -> frozenset[str]:
    """Names and enum values that a tool set fixes: exchanging one would break the call."""
    words: set[str] = set()

    def walk(schema: Any) -> None:
        if isinstance(schema, dict):
            words.update(str(name) for name in (schema.get("properties") or {}))
            words.update(str(value) for value in schema.get("enum") or [])
            if "const" in schema:
                words.add(str(schema["const"]))
            for item in schema.values():
                walk(item)
        elif isinstance(schema, list):
            for item in schema:
                walk(item)

    for tool in tools:
        function = tool.get("function") or {}
        words.add(str(function.get("name")))
        walk(function.get("parameters") or {})
    return frozenset(words)
