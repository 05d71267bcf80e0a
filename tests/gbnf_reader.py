"""Reads GBNF as llama.cpp does, draws texts from a grammar, and says whether a text belongs to it."""

import random
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

_TOKEN = re.compile(
    r'\s+|"(?:[^"\\]|\\.)*"|\[(?:[^\]\\]|\\.)*\]|[a-zA-Z][a-zA-Z0-9-]*|\{\d+(?:,\d+)?\}|[()|?*+]',
)
_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|.)")
_SIMPLE = {"n": "\n", "r": "\r", "t": "\t"}

Node = tuple[Any, ...]
"""("text", it), ("set", negated, ranges), ("rule", name), ("seq", nodes), ("alt", nodes), ("many", node, low, high)."""


def _plain(text: str) -> str:
    def char(match: re.Match[str]) -> str:
        code = match[1]
        return chr(int(code[1:], 16)) if code[0] in "xuU" and len(code) > 1 else _SIMPLE.get(code, code)

    return _ESCAPE.sub(char, text)


def _set(body: str) -> Node:
    negated = body.startswith("^")
    chars = re.findall(r"\\x..|\\u....|\\U........|\\.|.", body[negated:], re.DOTALL)
    ranges, at = [], 0
    while at < len(chars):
        low = high = ord(_plain(chars[at]))
        if at + 2 < len(chars) and chars[at + 1] == "-":
            high, at = ord(_plain(chars[at + 2])), at + 2
        assert low <= high, body
        ranges.append((low, high))
        at += 1
    return "set", negated, tuple(ranges)


@dataclass
class Grammar:
    """A grammar that has been read."""

    text: str
    rules: dict[str, Node] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for line in self.text.splitlines():
            name, body = line.split(" ::= ", 1)
            tokens = _TOKEN.findall(body)
            assert "".join(tokens) == body, f"cannot be read: {body}"
            self._tokens = [token for token in tokens if not token.isspace()]
            self.rules[name] = self._alternatives()
            assert not self._tokens, body
        assert "root" in self.rules
        self._ends = lru_cache(maxsize=None)(self._ends_at)

    def _alternatives(self) -> Node:
        options = [self._sequence()]
        while self._tokens and self._tokens[0] == "|":
            self._tokens.pop(0)
            options.append(self._sequence())
        return options[0] if len(options) == 1 else ("alt", tuple(options))

    def _sequence(self) -> Node:
        parts: list[Node] = []
        while self._tokens and self._tokens[0] not in "|)":
            token = self._tokens.pop(0)
            if token == "(":
                part = self._alternatives()
                assert self._tokens.pop(0) == ")"
            elif token[0] == '"':
                part = ("text", _plain(token[1:-1]))
            elif token[0] == "[":
                part = _set(token[1:-1])
            else:
                assert token[0].isalpha(), token
                part = ("rule", token)
            parts.append(self._counted(part))
        return ("seq", tuple(parts))

    def _counted(self, part: Node) -> Node:
        if not self._tokens or self._tokens[0][0] not in "?*+{":
            return part
        token = self._tokens.pop(0)
        if token[0] == "{":
            low, _, high = token[1:-1].partition(",")
            assert int(low) <= int(high or low), token
            return "many", part, int(low), int(high or low)
        return ("many", part, *{"?": (0, 1), "*": (0, 1_000), "+": (1, 1_000)}[token])

    def draw(self, rng: random.Random, lively: float = 0.5) -> str:
        """A text of the grammar. `lively`, 0 to 1: how often one more repetition is taken."""
        return self._draw(self.rules["root"], rng, lively)

    def _draw(self, node: Node, rng: random.Random, lively: float) -> str:
        kind = node[0]
        if kind == "text":
            return node[1]
        if kind == "set":
            return _drawn_character(node, rng)
        if kind == "rule":
            return self._draw(self.rules[node[1]], rng, lively * 0.97)
        if kind == "seq":
            return "".join(self._draw(part, rng, lively) for part in node[1])
        if kind == "alt":
            return self._draw(rng.choice(node[1]), rng, lively)
        _, part, low, high = node
        count = high if rng.random() < 0.02 and high <= 40 else low
        while count < high and rng.random() < lively:
            count += 1
        return "".join(self._draw(part, rng, lively) for _ in range(count))

    def accepts(self, text: str) -> bool:
        """Whether the whole text belongs to the grammar."""
        self._text = text
        self._ends.cache_clear()
        return len(text) in self._ends(self.rules["root"], 0)

    def _ends_at(self, node: Node, at: int) -> frozenset[int]:
        """Where a node that begins at `at` may end."""
        text, kind = self._text, node[0]
        if kind == "text":
            return frozenset([at + len(node[1])]) if text.startswith(node[1], at) else frozenset()
        if kind == "set":
            found = at < len(text) and any(a <= ord(text[at]) <= b for a, b in node[2]) != node[1]
            return frozenset([at + 1]) if found else frozenset()
        if kind == "rule":
            return self._ends(self.rules[node[1]], at)
        if kind == "alt":
            return frozenset(end for option in node[1] for end in self._ends(option, at))
        ends = {at}
        if kind == "seq":
            for part in node[1]:
                ends = {end for start in ends for end in self._ends(part, start)}
            return frozenset(ends)
        _, part, low, high = node
        found = set(ends) if low == 0 else set()
        for count in range(1, high + 1):
            ends = {end for start in ends for end in self._ends(part, start)}
            if not ends or (count > low and ends <= found):
                break
            found |= ends if count >= low else set()
        return frozenset(found)


def _drawn_character(node: Node, rng: random.Random) -> str:
    _, negated, ranges = node
    if not negated:
        low, high = rng.choice(ranges)
        return chr(rng.randint(low, high))
    while True:
        point = rng.choice([rng.randint(32, 126), rng.randint(1, 0x2FFF), rng.randint(0x10000, 0x10FFFF)])
        if not any(low <= point <= high for low, high in ranges):
            return chr(point)
