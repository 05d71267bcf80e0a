"""Personal values out, stand-ins in, before anything is learnt from a conversation.

Conversations are walked leaf by leaf: texts, the strings inside tool arguments and inside JSON results. What is found
anywhere in a trajectory is exchanged everywhere in it, so prompt, arguments and results still agree. Names of tools,
names and enum values of parameters, and values that every session's system prompt shares, stay as they are.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .detect import Detector
from .surrogates import Surrogates

Message = dict[str, Any]


@dataclass(frozen=True)
class Scrubbed:
    """A conversation without personal values, and what was exchanged in it."""

    messages: list[Message]
    exchanged: dict[str, str] = field(repr=False)
    """Stand-in by original. Never stored."""
    counts: dict[str, int] = field(default_factory=dict)
    """Distinct values by kind."""


class Scrubber:
    """Scrubs conversations with one key. `kept`: values that are never exchanged."""

    def __init__(self, detector: Detector, key: bytes, kept: Iterable[str] = ()) -> None:
        self._detector = detector
        self._key = key
        self._kept = frozenset(kept)

    def kept_in(self, tools: Sequence[Message]) -> frozenset[str]:
        """What stays as it is beside this tool set."""
        return self._kept | schema_words(tools)

    def scrub(self, scope: str, messages: Sequence[Message], tools: Sequence[Message] = ()) -> Scrubbed:
        """Exchange the personal values of one trajectory. `scope`: its id."""
        kept = self.kept_in(tools)
        found: dict[str, str] = {}
        for text, name in leaves(messages):
            for item in self._detector.find(text, name):
                found.setdefault(text[item.start : item.end], item.kind)
        surrogates = Surrogates(self._key, scope)
        exchanged = {value: surrogates.of(kind, value) for value, kind in found.items() if value not in kept}
        if not exchanged:
            return Scrubbed(list(messages), {}, {})
        swap = _swapper(exchanged, surrogates, found)
        counts = Counter(kind for value, kind in found.items() if value in exchanged)
        return Scrubbed([exchange(message, swap, kept) for message in messages], exchanged, dict(counts))


def _swapper(exchanged: dict[str, str], surrogates: Surrogates, kinds: dict[str, str]) -> Callable[[str], str]:
    """Exchange every occurrence of every value, longest first, also where a number is written without its marks."""
    table = dict(exchanged)
    for value in exchanged:
        bare = re.sub(r"\D", "", value)
        if kinds[value] != "EMAIL_ADDRESS" and len(bare) >= 9 and bare not in table:
            table[bare] = surrogates.of(kinds[value], bare)
    # Another spelling of a known value gets the stand-in of one that was found.
    loose = {value.lower(): stand_in for value, stand_in in table.items()}
    pattern = re.compile(
        r"(?<!\w)(?:" + "|".join(map(re.escape, sorted(table, key=len, reverse=True))) + r")(?!\w)", re.IGNORECASE
    )

    def swap(text: str) -> str:
        return pattern.sub(lambda match: table.get(match.group()) or loose[match.group().lower()], text)

    return swap


def leaves(value: Any, name: str = "", protocol: bool = True) -> Iterable[tuple[str, str]]:
    """Every text in a conversation with the key it stands under; JSON inside a text is walked too.

    `protocol`: the keys are those of OpenAI's messages; ids and roles among them are nobody's words."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not (protocol and key in ("role", "type", "id", "tool_call_id")):
                yield from leaves(item, str(key), protocol)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item, name, protocol)
    elif isinstance(value, str):
        inner = json_inside(value)
        yield from leaves(inner, name, False) if inner is not None else [(value, name)]
    elif isinstance(value, int) and not isinstance(value, bool):
        yield str(value), name


def exchange(value: Any, swap: Callable[[str], str], kept: frozenset[str]) -> Any:
    """The same structure with every text passed through `swap`; JSON inside a text stays valid JSON."""
    if isinstance(value, dict):
        return {_key(key, swap, kept): exchange(item, swap, kept) for key, item in value.items()}
    if isinstance(value, list):
        return [exchange(item, swap, kept) for item in value]
    if isinstance(value, str):
        if value in kept:
            return value
        inner = json_inside(value)
        return swap(value) if inner is None else _reserialised(value, inner, exchange(inner, swap, kept))
    if isinstance(value, int) and not isinstance(value, bool):
        swapped = swap(str(value))
        return int(swapped) if swapped.isdigit() else value
    return value


def _key(key: Any, swap: Callable[[str], str], kept: frozenset[str]) -> Any:
    return key if not isinstance(key, str) or key in kept else swap(key)


def json_inside(text: str) -> Any:
    """The object or array that a text is, as tool arguments and many results are; None otherwise."""
    if text[:1] not in ("{", "[") and text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, (dict, list)) else None


def _reserialised(text: str, before: Any, after: Any) -> str:
    if before == after:
        return text
    tight = '": ' not in text and '", ' not in text
    return json.dumps(after, ensure_ascii=False, separators=(",", ":") if tight else None)


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


def shared_values(detector: Detector, system_texts: Sequence[str]) -> frozenset[str]:
    """Personal-looking values that every session's system prompt holds: a shop's own address, not a customer's."""
    shared: set[str] | None = None
    for text in set(system_texts):
        values = {text[item.start : item.end] for item in detector.find(text)}
        shared = values if shared is None else shared & values
    return frozenset(shared or ()) if len(system_texts) > 1 else frozenset()
