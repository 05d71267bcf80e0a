"""Personal values out, stand-ins in, before anything is learnt from a conversation.

What is found anywhere in a trajectory is exchanged everywhere in it, so prompt, arguments and results still agree.
Names of tools, names and enum values of parameters, and values that every session's system prompt shares, stay.
Each message is searched once, however many calls and trajectories hold it: what was found is remembered under the hash
of its content.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from ..traffic.scrub_rules import ScrubRules
from .detect import Detector
from .exchange import Exchange
from .surrogates import Surrogates
from .walk import Message, keys, leaves, rewrite, schema_words

FIELD, HASHED, DROPPED = "FIELD", "HASHED", "DROPPED"
"""Kinds of what a field's rule exchanges, hashes and drops."""
_PLAIN_KEY = re.compile(r"[A-Za-z][A-Za-z_ -]{0,39}")
"""Keys that are names of fields, and safe to show in a report."""
_REMEMBERED = 200_000


class Value(NamedTuple):
    """One personal value where it was found."""

    text: str
    kind: str
    field: str


@dataclass(frozen=True)
class Scrubbed:
    """A conversation without personal values, and what was exchanged in it."""

    messages: list[Message]
    exchanged: dict[str, str] = field(repr=False)
    """Stand-in by original. Never stored."""
    counts: dict[str, int] = field(default_factory=dict)
    """Distinct values by kind."""
    fields: dict[tuple[str, str], int] = field(default_factory=dict)
    """Distinct values by kind and the field they stood in; `text` for running text, `other` for keys that are no plain
    name, for those may be values themselves."""
    cased: frozenset[str] = field(default=frozenset(), repr=False)
    """Originals that count only as they are written."""


class Scrubber:
    """Scrubs conversations with one key. `kept`: values that are never exchanged."""

    def __init__(
        self, detector: Detector, key: bytes, kept: Iterable[str] = (), rules: ScrubRules | None = None
    ) -> None:
        self._detector = detector
        self._key = key
        self._kept = frozenset(kept)
        self._rules = rules or ScrubRules()
        self._seen: dict[bytes, tuple[Value, ...]] = {}

    def kept_in(self, tools: Sequence[Message]) -> frozenset[str]:
        """What stays as it is beside this tool set."""
        return self._kept | schema_words(tools)

    def scrub(self, scope: str, messages: Sequence[Message], tools: Sequence[Message] = ()) -> Scrubbed:
        """Exchange the personal values of one trajectory. `scope`: its id."""
        values = [value for message in messages for value in self._look(message)]
        kept = self.kept_in(tools) | {value.text for value in values if value.kind == "KEPT"}
        values = [value for value in values if value.text not in kept]
        kinds: dict[str, str] = {}
        for value in values:
            # A hash that a rule asks for holds everywhere; else the first finding names the kind.
            if value.kind == HASHED or kinds.get(value.text, DROPPED) == DROPPED:
                kinds[value.text] = value.kind
        if not kinds:
            return Scrubbed(list(messages), {})
        return self._exchanged(scope, messages, kept, kinds, values)

    def _exchanged(
        self,
        scope: str,
        messages: Sequence[Message],
        kept: frozenset[str],
        kinds: dict[str, str],
        values: Sequence[Value],
    ) -> Scrubbed:
        found = {text: kind for text, kind in kinds.items() if kind != DROPPED}
        hashed = [text for text, kind in found.items() if kind == HASHED]
        local = frozenset(text for text, kind in found.items() if kind in (FIELD, HASHED) and not _telling(text))
        exchange = Exchange(found, Surrogates(self._key, scope), hashed, local)

        def swap(text: str, path: tuple[str, ...]) -> str:
            treatment = self._rules.treatment(path)
            if treatment in ("keep", "drop"):
                return text if treatment == "keep" else ""
            return exchange.whole(text) if treatment else exchange(text)

        return Scrubbed(
            [rewrite(message, swap, kept) for message in messages],
            {text: stand_in for text, stand_in in exchange.given.items() if text not in local},
            dict(Counter(kinds.values())),
            dict(Counter((kind, name) for _, kind, name in {*values})),
            exchange.cased,
        )

    def _look(self, message: Message) -> tuple[Value, ...]:
        name = hashlib.blake2b(msgspec.json.encode(message), digest_size=16).digest()
        known = self._seen.get(name)
        if known is None:
            if len(self._seen) >= _REMEMBERED:
                self._seen.clear()
            known = self._seen[name] = tuple(dict.fromkeys(self._values(message)))
        return known

    def _values(self, message: Message) -> Iterable[Value]:
        for leaf in leaves(message):
            treatment = self._rules.treatment(leaf.path)
            name = _shown(leaf.field)
            if treatment is None:
                for item in self._detector.find(leaf.text, leaf.field):
                    yield Value(leaf.text[item.start : item.end], item.kind, name)
            elif leaf.text.strip():
                yield Value(leaf.text.strip(), _KIND_OF_RULE[treatment], name)
        for key in keys(message):
            if not _PLAIN_KEY.fullmatch(key):
                for item in self._detector.find(key):
                    yield Value(key[item.start : item.end], item.kind, "other")


_KIND_OF_RULE = {"scrub": FIELD, "hash": HASHED, "drop": DROPPED, "keep": "KEPT"}


def _telling(text: str) -> bool:
    """Whether a value may be exchanged wherever it stands: `yes` or `42` under some field says nothing elsewhere."""
    return len(text) >= 6 or (len(text) >= 4 and not text.isdigit())


def _shown(name: str) -> str:
    if not name:
        return "text"
    return name if _PLAIN_KEY.fullmatch(name.replace("1", "").replace("2", "")) else "other"


def shared_values(detector: Detector, system_texts: Sequence[str]) -> frozenset[str]:
    """Personal-looking values that every session's system prompt holds: a shop's own address, not a customer's."""
    shared: set[str] | None = None
    for text in set(system_texts):
        values = {text[item.start : item.end] for item in detector.find(text)}
        shared = values if shared is None else shared & values
    return frozenset(shared or ()) if len(system_texts) > 1 else frozenset()
