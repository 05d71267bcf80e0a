"""GBNF, llama.cpp's notation of grammars: literals, sets of characters, numbers of repetitions, and a book of rules.

What is written here is accepted by llama.cpp's parser and means the same for every content: any character that could
be read as notation is escaped.
"""

import re
from collections.abc import Iterable

Ranges = tuple[tuple[int, int], ...]
"""A set of characters: ranges of code points, both ends included."""


class Impossible(Exception):
    """A part of a schema has no grammar here, or no value at all; the message says why."""

    where = ""
    """The part, as a path; empty until somebody knows it."""


_BLOCK = 32
_BLOCKS = re.compile(
    r'"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|'  # texts and sets stay as they are
    r"\((?P<name>[\w-]+)\{(?P<size>\d+)\}\)\{0,(?P<most>\d+)\} (?P=name)\{0,(?P<rest>\d+)\}"
)
_BASE_RULES = {
    "char": r'[^"\\\x00-\x1f] | "\\" (["\\/bfnrt] | "u00" [01] [0-9a-f])',
    "fraction": '"." [0-9]{1,15}',
}


class Rules:
    """The rules written so far; equal bodies share one name."""

    def __init__(self) -> None:
        self._bodies = dict(_BASE_RULES)
        self._names: dict[str, str] = {}
        self.size = 0
        """Characters of all bodies."""

    def put(self, name: str, body: str) -> None:
        """Write a rule under a name of its own."""
        self._bodies[name] = body
        self.size += len(body)

    def add(self, stem: str, body: str) -> str:
        """Name of the rule with this body, written now if there is none."""
        if body not in self._names:
            self._names[body] = f"{stem}-{len(self._names)}"
            self.put(self._names[body], body)
        return self._names[body]

    def written(self) -> str:
        """The grammar; it begins with the rule `root`, which must have been put."""
        return "".join(f"{name} ::= {body}\n" for name, body in self._bodies.items())


def literal(text: str) -> str:
    """Exactly this text."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'


def one_of(names: Iterable[str]) -> str:
    """Any of these parts, in brackets where there are several."""
    found = list(dict.fromkeys(names))
    return found[0] if len(found) == 1 else f"({' | '.join(found)})"


def characters(ranges: Ranges) -> str:
    """One character of a set."""
    return f"[{''.join(_escaped(a) if a == b else f'{_escaped(a)}-{_escaped(b)}' for a, b in ranges)}]"


def repeated(name: str, low: int, high: int) -> str:
    """The rule `name`, `low` to `high` times.

    llama.cpp writes out every optional repetition as a rule of its own. Whole blocks and a rest say the same with a
    tenth of them, and never are more than a few readings open.
    """
    fixed = [f"{name}{{{low}}}"] if low else []
    blocks, rest = divmod(max(0, high - low - _BLOCK + 1), _BLOCK)
    rest += min(high - low, _BLOCK - 1)  # at least the gap up to the next block
    many = [f"({name}{{{_BLOCK}}}){{0,{blocks}}}"] if blocks else []
    few = [f"{name}{{0,{rest}}}"] if rest else []
    return " ".join([*fixed, *many, *few]) or '""'


def plain(grammar: str) -> str:
    """The same grammar with the blocks of `repeated` written as one repetition, for readers that count by themselves,
    and that know no repetition of a repetition."""
    return _BLOCKS.sub(_as_one, grammar)


def _as_one(found: re.Match[str]) -> str:
    if not found["name"]:
        return found[0]
    return f"{found['name']}{{0,{int(found['size']) * int(found['most']) + int(found['rest'])}}}"


def _escaped(point: int) -> str:
    char = chr(point)
    if char.isascii() and char.isalnum():
        return char
    return f"\\x{point:02X}" if point < 0x100 else f"\\u{point:04X}" if point < 0x10000 else f"\\U{point:08X}"
