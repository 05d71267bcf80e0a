"""A grammar (GBNF, llama.cpp's notation) of the valid answers to one request: text, or tool calls that fit the schemas.

Text may hold anything but an opening call tag, so that once a model writes that tag only a valid call can follow.
Objects have their properties in the order of the schema, which is the order in which calls are rendered for training.
What the grammar does not express (patterns, formats, wide number ranges) is checked after the answer; a schema that it
cannot express at all (recursive, contradictory) yields no grammar, and the check alone decides.
"""

import json
from collections.abc import Sequence
from typing import Any

from .render import CALL_CLOSE, CALL_OPEN, Message

STRING_LIMIT = 1024
"""Characters of a string whose schema sets no smaller bound."""
ITEMS_LIMIT = 32
"""Items of an array whose schema sets no smaller bound."""
CALLS_LIMIT = 8
"""Tool calls in one answer."""
SIZE_LIMIT = 200_000
"""Characters of a grammar; reading a longer one would take longer than the answer."""
_ANY_DEPTH = 3
_RANGE_LIMIT = 100

_BASE_RULES = {
    "char": r'[^"\\\x00-\x1f] | "\\" (["\\/bfnrt] | "u00" [01] [0-9a-f])',
    "int": '"0" | [1-9] [0-9]{0,14}',
    "number": 'int ("." [0-9]{1,15})?',
}


class _Unsupported(Exception):
    """The schema has no grammar here."""


def grammar_for(tools: Sequence[Message], tool_choice: Any = None, parallel: bool = True) -> str | None:
    """GBNF of the answers that `tools` and `tool_choice` allow; None when nothing is, or can be, constrained."""
    allowed = _allowed(tools, tool_choice)
    if not allowed:
        return None
    rules = _Rules()
    try:
        names = [rules.add("tool", _call(tool["function"], rules)) for tool in allowed]
    except (_Unsupported, RecursionError):
        return None
    more = f' ("\\n" call){{0,{CALLS_LIMIT - 1}}}' if parallel else ""
    rules.put("call", f"{_literal(CALL_OPEN)} ({' | '.join(names)}) {_literal(CALL_CLOSE)}")
    rules.put("calls", f"call{more}")
    _put_text(rules)
    must_call = tool_choice == "required" or isinstance(tool_choice, dict)
    rules.put("root", "text0 calls" if must_call else '[^<] text0 | "<" text1 | text0 calls')
    text = rules.written()
    return text if len(text) <= SIZE_LIMIT else None


def _allowed(tools: Sequence[Message], choice: Any) -> list[Message]:
    if choice == "none":
        return []
    named = choice.get("function", {}).get("name") if isinstance(choice, dict) else None
    functions = [tool for tool in tools if isinstance(tool.get("function"), dict)]
    return [tool for tool in functions if named is None or tool["function"].get("name") == named]


def _put_text(rules: "_Rules") -> None:
    """Text without the opening tag: one rule per number of its characters that have just been read."""
    for read, expected in enumerate(CALL_OPEN):
        other = f"[^<{expected if read else ''}] text0"
        again = '"<" text1'
        onward = f' | "{expected}" text{read + 1}' if 0 < read < len(CALL_OPEN) - 1 else ""
        rules.put(f"text{read}", f"({other} | {again}{onward})?")


def _call(function: Message, rules: "_Rules") -> str:
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    if not isinstance(schema, dict):
        raise _Unsupported
    arguments = _Schema(schema, rules).rule({"type": "object", **schema})
    head = '{"name":' + json.dumps(function["name"], ensure_ascii=False) + ',"arguments":'
    return f'{_literal(head)} {arguments} "}}"'


class _Rules:
    """The rules written so far; equal bodies share one name."""

    def __init__(self) -> None:
        self._bodies = dict(_BASE_RULES)
        self._names: dict[str, str] = {}

    def put(self, name: str, body: str) -> None:
        self._bodies[name] = body

    def add(self, stem: str, body: str) -> str:
        if body not in self._names:
            self._names[body] = f"{stem}-{len(self._names)}"
            self.put(self._names[body], body)
        return self._names[body]

    def written(self) -> str:
        return "".join(f"{name} ::= {body}\n" for name, body in self._bodies.items())


class _Schema:
    """Turns the parts of one JSON schema into rules."""

    def __init__(self, root: Message, rules: _Rules) -> None:
        self._root, self._rules = root, rules
        self._open: list[str] = []

    def rule(self, schema: Any) -> str:
        """Name of the rule for a schema. Raises _Unsupported."""
        if schema is True or schema == {}:
            return self._any(_ANY_DEPTH)
        if not isinstance(schema, dict):
            raise _Unsupported
        if "$ref" in schema:
            return self._reference(schema["$ref"])
        if "const" in schema or "enum" in schema:
            return self._values([schema["const"]] if "const" in schema else schema["enum"])
        if alternatives := schema.get("anyOf") or schema.get("oneOf"):
            common = {key: value for key, value in schema.items() if key not in ("anyOf", "oneOf")}
            return self._choice([self.rule({**common, **part}) for part in alternatives])
        if "allOf" in schema:
            return self.rule(_merged(schema))
        kinds = schema.get("type") or _implied(schema)
        return self._choice([self._typed(kind, schema) for kind in ([kinds] if isinstance(kinds, str) else kinds)])

    def _typed(self, kind: str, schema: Message) -> str:
        makers = {"object": self._object, "array": self._array, "string": self._string, "integer": self._integer}
        if kind in makers:
            return makers[kind](schema)
        if kind == "number":
            return self._rules.add("num", "number" if _not_negative(schema) else '"-"? number')
        if kind == "any":
            return self._any(_ANY_DEPTH)
        literals = {"boolean": '"true" | "false"', "null": '"null"'}
        if kind not in literals:
            raise _Unsupported
        return self._rules.add("lit", literals[kind])

    def _object(self, schema: Message) -> str:
        properties = schema.get("properties") or {}
        required = set(schema.get("required") or ())
        if not required <= set(properties):
            raise _Unsupported
        if not properties:
            closed = schema.get("additionalProperties") is False or "properties" in schema
            return self._rules.add("obj", '"{}"') if closed else self._mapping(schema)
        # Two rules a property: whether a comma is due depends on there being one before it.
        first = rest = ""
        for name, part in reversed(properties.items()):
            pair = f"{_literal(json.dumps(name, ensure_ascii=False) + ':')} {self.rule(part)}"
            here, there = f"{pair} {rest}".strip(), f'"," {pair} {rest}'.strip()
            if name not in required:
                here, there = _or(here, first), _or(there, rest)
            first, rest = self._rules.add("first", here), self._rules.add("rest", there)
        return self._rules.add("obj", f'"{{" {first} "}}"')

    def _mapping(self, schema: Message) -> str:
        extra = schema.get("additionalProperties")
        value = self.rule(extra) if isinstance(extra, dict) else self._any(_ANY_DEPTH - 1)
        return self._free_object(value)

    def _free_object(self, value: str) -> str:
        pair = self._rules.add("pair", f'{self._string({"minLength": 1, "maxLength": 64})} ":" {value}')
        return self._rules.add("obj", f'"{{" ({pair} ("," {pair}){{0,{ITEMS_LIMIT - 1}}})? "}}"')

    def _array(self, schema: Message) -> str:
        low, high = _bounds(schema, "minItems", "maxItems", ITEMS_LIMIT)
        if high == 0:
            return self._rules.add("arr", '"[]"')
        item = self.rule(schema.get("items", {}))
        filled = f'{item} ("," {item}){{{max(low - 1, 0)},{high - 1}}}'
        return self._rules.add("arr", f'"[" {filled} "]"' if low else f'"[" ({filled})? "]"')

    def _string(self, schema: Message) -> str:
        low, high = _bounds(schema, "minLength", "maxLength", STRING_LIMIT)
        return self._rules.add("str", f'"\\"" char{{{low},{high}}} "\\""')

    def _integer(self, schema: Message) -> str:
        low, high = schema.get("minimum"), schema.get("maximum")
        if isinstance(low, int) and isinstance(high, int) and 0 <= high - low <= _RANGE_LIMIT:
            return self._values(list(range(low, high + 1)))
        return self._rules.add("num", "int" if _not_negative(schema) else '"-"? int')

    def _any(self, depth: int) -> str:
        kinds = [self._string({}), self._typed("number", {}), self._typed("boolean", {}), self._typed("null", {})]
        if depth:
            inner = self._any(depth - 1)
            kinds.append(self._free_object(inner))
            kinds.append(self._rules.add("arr", f'"[" ({inner} ("," {inner}){{0,{ITEMS_LIMIT - 1}}})? "]"'))
        return self._choice(kinds)

    def _values(self, values: Any) -> str:
        if not isinstance(values, list) or not values:
            raise _Unsupported
        texts = [json.dumps(value, ensure_ascii=False, separators=(",", ":")) for value in values]
        return self._rules.add("enum", " | ".join(map(_literal, texts)))

    def _choice(self, names: list[str]) -> str:
        if not names:
            raise _Unsupported
        return names[0] if len(names) == 1 else self._rules.add("any", " | ".join(dict.fromkeys(names)))

    def _reference(self, path: Any) -> str:
        if not isinstance(path, str) or not path.startswith("#/") or path in self._open:
            raise _Unsupported
        target: Any = self._root
        for step in path[2:].split("/"):
            target = target.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(target, dict) else None
        self._open.append(path)
        name = self.rule(target)
        self._open.pop()
        return name


def _merged(schema: Message) -> Message:
    """`allOf` of objects as one schema; only plain keywords and disjoint properties are put together."""
    parts = [{key: value for key, value in schema.items() if key != "allOf"}, *schema["allOf"]]
    merged: Message = {}
    for part in parts:
        for key, value in part.items():
            if key == "properties":
                merged[key] = {**merged.get(key, {}), **value}
            elif key == "required":
                merged[key] = [*merged.get(key, []), *value]
            elif merged.setdefault(key, value) != value:
                raise _Unsupported
    return merged


def _implied(schema: Message) -> str:
    if "properties" in schema or "additionalProperties" in schema:
        return "object"
    return "array" if "items" in schema else "any"


def _bounds(schema: Message, lowest: str, highest: str, limit: int) -> tuple[int, int]:
    low, high = schema.get(lowest) or 0, schema.get(highest)
    high = limit if high is None else min(high, limit)
    if low > high:
        raise _Unsupported
    return low, high


def _not_negative(schema: Message) -> bool:
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    return isinstance(low, int | float) and low >= 0


def _or(body: str, otherwise: str) -> str:
    return f"{body} | {otherwise}" if otherwise else f"({body})?"


def _literal(text: str) -> str:
    """A GBNF string literal."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'
