"""Regular expressions of JSON schemas (ECMA 262) as GBNF: the JSON strings whose value an expression matches.

The grammar never allows more than the expression: repetitions without an end are cut at a length, and the complements
of `\\d`, `\\w`, `\\s` hold ASCII only, since readers differ beyond it. What no grammar can express (looking ahead or
back, back references, anchors in the middle) is refused.
"""

from dataclasses import dataclass

from .gbnf import Impossible, Ranges, Rules, characters, literal, one_of, repeated

MAX_PATTERN = 1000
"""Characters of an expression; longer ones are refused."""
_CUTS = (1024, 256, 64, 32, 16, 8, 4, 2, 1, 0)
_BOUNDS: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
_LAST = 0x10FFFF
_ASCII: Ranges = ((0, 0x7F),)
_ALL: Ranges = ((0, _LAST),)
_DIGIT: Ranges = ((48, 57),)
_WORD: Ranges = ((48, 57), (65, 90), (95, 95), (97, 122))
_SPACE: Ranges = ((9, 13), (32, 32))
_LINE_ENDS: Ranges = ((10, 10), (13, 13), (0x2028, 0x2029))
_CONTROL = {"n": 10, "r": 13, "t": 9, "f": 12, "v": 11, "0": 0}
_CODED = {34: '\\"', 92: "\\\\", 8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r"}


@dataclass(frozen=True)
class _Chars:
    ranges: Ranges


@dataclass(frozen=True)
class _Seq:
    parts: "tuple[_Node, ...]"


@dataclass(frozen=True)
class _Alt:
    options: "tuple[_Node, ...]"


@dataclass(frozen=True)
class _Repeat:
    part: "_Node"
    low: int
    high: int | None


_Node = _Chars | _Seq | _Alt | _Repeat
_ANYTHING = _Repeat(_Chars(_ALL), 0, None)


def string_pattern(expression: str, rules: Rules, longest: int, least: int = 0) -> str:
    """The JSON strings, without their quotes, in which an expression matches somewhere; of at most `longest` characters
    where the expression leaves a choice, and not all shorter than `least`. Raises Impossible."""
    if len(expression) > MAX_PATTERN:
        raise Impossible(f"the pattern has {len(expression)} characters, more than {MAX_PATTERN}")
    try:
        node = _Reader(expression).whole()
        cut = next((cut for cut in _CUTS if least <= _length(node, cut)[1] <= longest), 1)
        if (shortest := _length(node, cut)[0]) > longest:
            raise Impossible(f"the pattern needs {shortest} characters, and {longest} are allowed")
        return _emit(node, rules, cut)
    except RecursionError:
        raise Impossible("the pattern is nested too deeply") from None


class _Reader:
    """Reads one expression from left to right."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0

    def whole(self) -> _Node:
        """Branches at the top may be anchored; the others match inside of anything."""
        branches = [self._branch()]
        while self._take("|"):
            branches.append(self._branch())
        if self._at < len(self._text):
            raise Impossible(f"the pattern has a stray {self._text[self._at]!r}")
        return _Alt(tuple(branches))

    def _branch(self) -> _Node:
        opened = self._take("^")
        parts = self._parts()
        closed = self._take("$")
        if closed and self._peek() not in ("", "|"):
            raise Impossible("the pattern has `$` before its end")
        return _Seq((*([] if opened else [_ANYTHING]), *parts, *([] if closed else [_ANYTHING])))

    def _parts(self) -> list[_Node]:
        parts = []
        while self._peek() not in ("", "|", ")", "$"):
            parts.append(self._repeated(self._atom()))
        return parts

    def _repeated(self, part: _Node) -> _Node:
        bounds = _BOUNDS.get(self._peek())
        if bounds:
            self._at += 1
        elif self._peek() == "{":
            bounds = self._braces()
        if bounds is None:
            return part
        self._take("?")  # lazy or greedy, the language is the same
        if self._peek() in ("*", "+"):
            raise Impossible("the pattern repeats a repetition")
        return _Repeat(part, *bounds)

    def _braces(self) -> tuple[int, int | None] | None:
        """`{2}`, `{2,}` or `{2,5}`; None where the brace is a character."""
        inside, end, _ = self._text[self._at + 1 :].partition("}")
        low, comma, high = inside.partition(",")
        if not end or not low.isdecimal() or (high and not high.isdecimal()):
            return None
        self._at += len(inside) + 2
        bounds = int(low), int(high) if high else None if comma else int(low)
        if bounds[0] > 1000 or (bounds[1] is not None and not bounds[0] <= bounds[1] <= 10_000):
            raise Impossible(f"the pattern repeats {{{inside}}} times")
        return bounds

    def _atom(self) -> _Node:
        char = self._next()
        if char == "(":
            return self._group()
        if char == "[":
            return _Chars(self._set())
        if char == ".":
            return _Chars(_without(_ALL, _LINE_ENDS))
        if char == "\\":
            return _Chars(self._escape(inside=False)[0])
        if char in "*+?^":
            raise Impossible(f"the pattern has `{char}` where nothing can be meant by it")
        return _Chars(((ord(char), ord(char)),))

    def _group(self) -> _Node:
        if self._take("?") and not self._take(":"):
            name, end, _ = self._text[self._at :].removeprefix("P").removeprefix("<").partition(">")
            if self._peek() not in ("<", "P") or not end or not name.isidentifier():
                raise Impossible("the pattern looks ahead or back, or sets flags")
            self._at = self._text.index(">", self._at) + 1
        branches = [_Seq(tuple(self._parts()))]
        while self._take("|"):
            branches.append(_Seq(tuple(self._parts())))
        if self._peek() == "$":
            raise Impossible("the pattern has `$` inside a group")
        if not self._take(")"):
            raise Impossible("the pattern has a group without an end")
        return _Alt(tuple(branches))

    def _set(self) -> Ranges:
        """The rest of `[…]`."""
        negated, found, vague = self._take("^"), [], False
        while not self._take("]"):
            ranges, shorthand = self._member()
            if not shorthand and self._peek() == "-" and self._text[self._at + 1 : self._at + 2] not in ("]", ""):
                self._at += 1
                upper, other = self._member()
                if other or upper[0][0] < ranges[0][0]:
                    raise Impossible("the pattern has a range that is none")
                ranges = ((ranges[0][0], upper[0][1]),)
            found, vague = [*found, *ranges], vague or shorthand
        if not negated:
            return tuple(sorted(found))
        return _without(_ASCII if vague else _ALL, tuple(sorted(found)))

    def _member(self) -> tuple[Ranges, bool]:
        char = self._next()
        return self._escape(inside=True) if char == "\\" else (((ord(char), ord(char)),), False)

    def _escape(self, inside: bool) -> tuple[Ranges, bool]:
        """What stands behind a backslash, and whether it is a shorthand for many characters."""
        char = self._next()
        shorthand = {"d": _DIGIT, "w": _WORD, "s": _SPACE}.get(char.lower())
        if shorthand:
            return (shorthand if char.islower() else _without(_ASCII, shorthand)), True
        if char in "xu":
            digits = {"x": 2, "u": 4}[char]
            code = self._text[self._at : self._at + digits]
            self._at += digits
            point = int(code, 16) if len(code) == digits and all(c in "0123456789abcdefABCDEF" for c in code) else -1
        elif inside and char == "b":
            point = 8
        else:
            point = _CONTROL.get(char, -1 if char.isalnum() else ord(char))
        if point < 0:
            raise Impossible(f"the pattern uses \\{char}")
        return ((point, point),), False

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self, char: str) -> bool:
        found = self._peek() == char
        self._at += found
        return found

    def _next(self) -> str:
        if self._at >= len(self._text):
            raise Impossible("the pattern breaks off")
        self._at += 1
        return self._text[self._at - 1]


def _without(ranges: Ranges, removed: Ranges) -> Ranges:
    """The characters of `ranges` that are not in `removed`; both are sorted."""
    for low, high in removed:
        pieces = [((a, min(b, low - 1)), (max(a, high + 1), b)) for a, b in ranges]
        ranges = tuple((a, b) for pair in pieces for a, b in pair if a <= b)
    return ranges


def _length(node: _Node, cut: int) -> tuple[int, int]:
    """Fewest and most characters, repetitions without an end cut at `cut`."""
    match node:
        case _Chars():
            return 1, 1
        case _Seq(parts):
            lengths = [_length(part, cut) for part in parts]
            return sum(low for low, _ in lengths), sum(high for _, high in lengths)
        case _Alt(options):
            lengths = [_length(option, cut) for option in options]
            return min(low for low, _ in lengths), max(high for _, high in lengths)
        case _Repeat(part, low, high):
            inner = _length(part, cut)
            return low * inner[0], _most(low, high, cut) * inner[1]


def _emit(node: _Node, rules: Rules, cut: int) -> str:
    """GBNF of a node."""
    match node:
        case _Chars(ranges):
            return _emit_characters(ranges)
        case _Seq(parts):
            return " ".join(_emit(part, rules, cut) for part in parts) or '""'
        case _Alt(options):
            return one_of(_emit(option, rules, cut) for option in options)
        case _Repeat(part, low, high):
            if not _length(part, cut)[0] and high != 1:
                raise Impossible("the pattern repeats what may be empty")
            return repeated(rules.add("part", _emit(part, rules, cut)), low, _most(low, high, cut))


def _most(low: int, high: int | None, cut: int) -> int:
    return max(low, cut if high is None else min(high, cut))


def _emit_characters(ranges: Ranges) -> str:
    """One character of a set as it stands in a JSON string; control characters without a short form are left out."""
    coded = [literal(text) for point, text in _CODED.items() if any(a <= point <= b for a, b in ranges)]
    plain = _without(ranges, ((0, 0x1F), (34, 34), (92, 92), (0xD800, 0xDFFF)))
    found = ([characters(plain)] if plain else []) + coded
    if not found:
        raise Impossible("the pattern asks for characters that JSON cannot hold as they are")
    return one_of(found)
