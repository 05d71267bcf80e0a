"""JSON schemas as GBNF: the compact JSON of the values that a schema allows.

The grammar says less than the schema in places: strings and arrays without an end are cut, properties stand in the
order of the schema, and those that it does not name are left out. It says more where GBNF cannot follow (`uniqueItems`,
`multipleOf`, `not`, patterns that look ahead, …): such values are refused by the check of the finished answer. A schema
that no value within these limits can fit is refused before anything is written, with the reason.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from ..traffic.errors import BadInput
from ..traffic.schema import check, types_of
from .conjunction import conjunction
from .gbnf import Impossible, Rules, literal, repeated
from .numbers import integer, number
from .regexes import string_pattern

SIZE_LIMIT = 200_000
"""Characters of a grammar; reading a longer one would take longer than the answer."""
DEPTH_LIMIT = 3
"""How often a schema that refers to itself is followed."""
FREE_DEPTH = 3
"""Levels of a value about which the schema says nothing."""
_NESTING = 60
_WORK = 20_000
"""Schemas that are looked at for one tool: with several that refer to each other the number explodes."""
_KEY = {"type": "string", "minLength": 1, "maxLength": 64}
_KEYWORDS_OF = {
    "object": ("properties", "additionalProperties", "required", "patternProperties", "propertyNames"),
    "array": ("items", "prefixItems", "minItems", "maxItems"),
    "string": ("pattern", "minLength", "maxLength", "format"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
}
_DATE = r"[1-9]\d{3}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
_TIME = r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?(Z|[+\-]([01]\d|2[0-3]):[0-5]\d)?"
_BYTE = r"(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
FORMATS = {
    "date": f"^{_DATE}$",
    "time": f"^{_TIME}$",
    "date-time": f"^{_DATE}T{_TIME}$",
    "email": r"^[\w.%+\-]{1,64}@[A-Za-z0-9\-]{1,63}(\.[A-Za-z0-9\-]{1,63}){1,4}$",
    "ipv4": rf"^{_BYTE}\.{_BYTE}\.{_BYTE}\.{_BYTE}$",
    "uuid": r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
    "uri": r"^[A-Za-z][A-Za-z0-9+.\-]{1,15}:[\w.~:/?#\[\]@!$&'()*+,;=%\-]{1,512}$",
}
"""Formats that are kept to. Times may lack their zone, as most models write them; other formats bind nothing."""


class Limits(NamedTuple):
    """Where values and thoughts without bounds of their own end."""

    string: int = 1024
    """Characters of a string."""
    items: int = 32
    """Items of an array, and names of an object that may have any."""
    thought: int = 200
    """Characters before a call that must come; none of them is `<`."""


LIMITS = Limits()


class Uncompilable(BadInput):
    """A schema has no grammar; the message says where and why."""


class Compiler:
    """Turns the parts of one schema into rules."""

    def __init__(self, root: Any, rules: Rules, where: str, limits: Limits = LIMITS) -> None:
        """`root` is what `$ref` starts from, `where` its name in messages."""
        self._root, self._rules, self._limits = root, rules, limits
        self._path = [where]
        self._open: list[Any] = []
        self._work = 0

    def compile(self, schema: Any) -> str:
        """Name of the rule for the schema, which stands in the root. Raises Uncompilable."""
        try:
            return self._rule(schema)
        except Impossible as error:
            raise Uncompilable(f"{error.where or self._path[0]}: {error}") from None
        except RecursionError:
            raise Uncompilable(f"{self._path[0]}: it is nested too deeply") from None

    def free(self, depth: int = FREE_DEPTH) -> str:
        """Name of the rule for any value, of so many levels."""
        kinds = [self._string({}), number({}, self._rules), self._word("true", "false", "null")]
        if depth:
            inner = self.free(depth - 1)
            kinds += [
                self._mapping(self._string(_KEY), inner, 0, self._limits.items),
                self._list(inner, 0, self._limits.items),
            ]
        return self._rules.add("any", " | ".join(kinds))

    def _rule(self, schema: Any) -> str:
        self._work += 1
        deep = len(self._path) + len(self._open) > _NESTING
        if deep or self._work > _WORK or self._rules.size > SIZE_LIMIT:
            raise Uncompilable(f"{'.'.join(self._path)[:200]}: it is too large, or nested too deeply")
        if schema is True or schema == {}:
            return self.free()
        if not isinstance(schema, Mapping):
            raise Impossible("nothing fits it")
        if "$ref" in schema:
            return self._reference(dict(schema))
        if "$dynamicRef" in schema or "$recursiveRef" in schema:
            raise Impossible("of all references only `$ref` is followed")
        if "allOf" in schema:
            return self._all_of(dict(schema))
        if "const" in schema or "enum" in schema:
            return self._values(schema)
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                return self._alternatives(keyword, schema)
        return self._typed(schema)

    @contextmanager
    def _inside(self, step: str) -> Iterator[None]:
        """The parts below are found there; the first error to pass by learns it."""
        self._path.append(step)
        try:
            yield
        except Impossible as error:
            error.where = error.where or ".".join(self._path)
            raise
        finally:
            self._path.pop()

    def _all_of(self, schema: Mapping[str, Any]) -> str:
        whole: Any = {key: value for key, value in schema.items() if key != "allOf"}
        for part in schema["allOf"]:
            # Of two references only one can stand beside the other keywords.
            clash = "$ref" in whole and isinstance(part, Mapping) and "$ref" in part
            whole = conjunction(whole, self._target(part["$ref"]) if clash else part)
        return self._rule(whole)

    def _alternatives(self, keyword: str, schema: Mapping[str, Any]) -> str:
        common = {key: value for key, value in schema.items() if key != keyword}
        found = self._possible(schema[keyword], lambda part: self._rule(conjunction(common, part)))
        return self._rules.add("any", " | ".join(dict.fromkeys(found)))

    def _possible(self, parts: Any, rule: Callable[[Any], str]) -> list[str]:
        """Rules of the parts that have one. Raises Impossible when none has."""
        found, problem = [], Impossible("it offers nothing")
        for part in parts:
            try:
                found.append(rule(part))
            except Impossible as error:
                problem = error
        if not found:
            raise problem
        return found

    def _reference(self, schema: dict[str, Any]) -> str:
        path = schema.pop("$ref")
        if self._open.count(path) >= DEPTH_LIMIT:
            raise Impossible("it refers to itself without an end")
        self._open.append(path)
        try:
            return self._rule(conjunction(schema, self._target(path)) if schema else self._target(path))
        finally:
            self._open.pop()

    def _target(self, path: Any) -> Any:
        if not isinstance(path, str) or not (path == "#" or path.startswith("#/")):
            raise Impossible(f"the reference {path!r} leads out of the schema")
        target: Any = self._root
        for step in path.split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            if isinstance(target, list):
                with suppress(ValueError, IndexError):
                    target = target[int(step)]
                    continue
            if not isinstance(target, Mapping) or step not in target:
                raise Impossible(f"the reference {path!r} leads nowhere")
            target = target[step]
        return target

    def _values(self, schema: Mapping[str, Any]) -> str:
        values = [schema["const"]] if "const" in schema else schema["enum"]
        texts = [
            json.dumps(value, ensure_ascii=False, separators=(",", ":")) for value in values if not check(value, schema)
        ]
        if not texts:
            raise Impossible("no value of its `enum` or `const` fits the rest of it")
        return self._word(*texts)

    def _typed(self, schema: Mapping[str, Any]) -> str:
        makers: dict[str, Callable[[Mapping[str, Any]], str]] = {
            "object": self._object,
            "array": self._array,
            "string": self._string,
            "number": lambda schema: number(schema, self._rules),
            "integer": lambda schema: integer(schema, self._rules),
            "boolean": lambda _: self._word("true", "false"),
            "null": lambda _: self._word("null"),
        }
        kinds = types_of(schema) or [
            kind for kind, words in _KEYWORDS_OF.items() if not schema.keys().isdisjoint(words)
        ]
        found = self._possible(kinds, lambda kind: makers[kind](schema)) if kinds else [self.free()]
        return found[0] if len(found) == 1 else self._rules.add("any", " | ".join(found))

    def _object(self, schema: Mapping[str, Any]) -> str:
        required = schema.get("required") or ()
        others = schema.get("additionalProperties", True)
        properties = {**(schema.get("properties") or {})}
        properties |= {name: others for name in required if name not in properties}
        if not properties:
            return self._open_object(schema)
        # Two rules a property: whether a comma is due depends on there being one before it.
        first = rest = ""
        for name, part in reversed(properties.items()):
            try:
                with self._inside(name):
                    pair = f"{literal(json.dumps(name, ensure_ascii=False) + ':')} {self._rule(part)}"
            except Impossible:
                if name in required:
                    raise
                continue
            here, there = f"{pair} {rest}".strip(), f'"," {pair} {rest}'.strip()
            if name not in required:
                here, there = _or(here, first), _or(there, rest)
            first, rest = self._rules.add("first", here), self._rules.add("rest", there)
        return self._rules.add("obj", f'"{{" {first} "}}"')

    def _open_object(self, schema: Mapping[str, Any]) -> str:
        """An object about whose names nothing is said, or only their form."""
        patterns, others = schema.get("patternProperties") or {}, schema.get("additionalProperties", True)
        low, high = _bounds(schema, "Properties", self._limits.items)
        if (others is False or "properties" in schema) and not patterns:
            high = 0
        if not high:
            return self._word("{}")
        names = {"pattern": next(iter(patterns))} if patterns else {}
        key = conjunction(conjunction(_KEY, names), schema.get("propertyNames", True))
        value = next(iter(patterns.values())) if patterns else others
        free = value is True or value == {}
        return self._mapping(self._rule(key), self.free(FREE_DEPTH - 1) if free else self._rule(value), low, high)

    def _mapping(self, key: str, value: str, low: int, high: int) -> str:
        pair = self._rules.add("pair", f'{key} ":" {value}')
        return self._rules.add("obj", f'"{{" {self._series(pair, low, high)} "}}"')

    def _list(self, item: str, low: int, high: int) -> str:
        return self._rules.add("arr", f'"[" {self._series(item, low, high)} "]"')

    def _series(self, name: str, low: int, high: int) -> str:
        more = f' ("," {name}){{{max(low - 1, 0)},{high - 1}}}' if high > 1 else ""
        return name + more if low else f"({name}{more})?"

    def _array(self, schema: Mapping[str, Any]) -> str:
        low, high = _bounds(schema, "Items", self._limits.items)
        items, firsts = schema.get("items", True), schema.get("prefixItems") or []
        if isinstance(items, list):  # before draft 2020-12
            items, firsts = schema.get("additionalItems", True), items
        if firsts:
            return self._tuple(firsts, low, min(high, max(low, len(firsts))), items)
        try:
            with self._inside("items"):
                return self._list(self._rule(items), low, high) if high else self._word("[]")
        except Impossible:
            if low:
                raise
            return self._word("[]")

    def _tuple(self, firsts: list[Any], low: int, high: int, items: Any) -> str:
        """An array whose items have a schema each. Those that need not be there are left out only all together."""
        parts = [self._rule(firsts[at] if at < len(firsts) else items) for at in range(high)]
        body = ' "," '.join(parts)
        return self._rules.add("arr", f'"[" {body} "]"' if low else f'"[" ({body})? "]"')

    def _string(self, schema: Mapping[str, Any]) -> str:
        low, high = _bounds(schema, "Length", self._limits.string)
        pattern = schema.get("pattern") or FORMATS.get(schema.get("format", ""))
        if pattern:
            # One that no grammar can express is left to the check.
            with suppress(Impossible):
                return self._rules.add("str", f'"\\"" {string_pattern(pattern, self._rules, high, low)} "\\""')
        return self._rules.add("str", f'"\\"" {repeated("char", low, high)} "\\""')

    def _word(self, *texts: str) -> str:
        return self._rules.add("word", " | ".join(dict.fromkeys(map(literal, texts))))


def _bounds(schema: Mapping[str, Any], of: str, limit: int) -> tuple[int, int]:
    low, high = int(schema.get(f"min{of}") or 0), schema.get(f"max{of}")
    high = limit if high is None else min(int(high), limit)
    if low > high:
        raise Impossible(f"`min{of}` is {low}, and at most {high} are written")
    return low, high


def _or(body: str, otherwise: str) -> str:
    return f"{body} | {otherwise}" if otherwise else f"({body})?"
