"""Schemas as grammars: keyword by keyword, and at random with jsonschema as the oracle."""

import json
import random
from typing import Any

import pytest
from gbnf_reader import Grammar
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker

from tutelage.serving.gbnf import Rules
from tutelage.serving.schemas import FORMATS, Compiler, Uncompilable


def grammar(schema: Any) -> Grammar:
    rules = Rules()
    rules.put("root", Compiler(schema, rules, "it").compile(schema))
    return Grammar(rules.written())


def compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


POINT = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"const": {"a": [1]}}, [{"a": [1]}], [{"a": []}]),
        ({"type": "string", "enum": ["a", 1, "b"]}, ["a", "b"], [1, "c"]),
        ({"type": ["integer", "null"], "minimum": 3}, [3, None], [2, "3"]),
        ({"anyOf": [{"$ref": "#/$defs/p"}, {"type": "null"}], "$defs": {"p": POINT}}, [{"x": 1}, None], [{}, 1]),
        ({"oneOf": [{"type": "integer"}, {"type": "string", "maxLength": 1}]}, [1, "a"], ["ab", True]),
        ({"allOf": [POINT, {"properties": {"y": {"type": "null"}}}]}, [{"x": 1, "y": None}], [{"y": None}]),
        ({"allOf": [{"type": "string"}, {"maxLength": 2}]}, ["ab"], ["abc", 1]),
        ({"allOf": [{"$ref": "#/$defs/p"}, {"$ref": "#/$defs/p"}], "$defs": {"p": POINT}}, [{"x": 1}], [{}]),
        ({**POINT, "anyOf": [{"required": ["x"]}, {"maxProperties": 3}]}, [{"x": 1}], [{}]),
        ({"type": "object", "additionalProperties": {"type": "boolean"}}, [{}, {"k": True}], [{"k": 1}]),
        ({"type": "object", "additionalProperties": False}, [{}], [{"k": 1}]),
        ({"type": "object", "properties": {}}, [{}], [{"k": 1}]),
        ({"type": "object", "required": ["k"]}, [{"k": [1, {"a": None}]}], [{}]),
        ({"patternProperties": {"^[a-z]$": {"type": "integer"}}}, [{"a": 1}], [{"aa": 1}, {"a": "1"}]),
        ({"type": "object", "propertyNames": {"enum": ["k"]}}, [{"k": 1}], [{"l": 1}]),
        ({"type": "object", "minProperties": 1, "additionalProperties": {"const": 1}}, [{"k": 1}], [{}]),
        ({"type": "array", "items": {"type": "null"}, "minItems": 1, "maxItems": 2}, [[None]], [[], [None] * 3]),
        ({"type": "array", "maxItems": 0}, [[]], [[1]]),
        ({"type": "array", "prefixItems": [{"const": 1}, {"const": 2}]}, [[], [1, 2]], [[2], [1, 2, 3]]),
        ({"type": "array", "items": False}, [[]], [[1]]),
        ({"type": "string", "minLength": 2, "maxLength": 3}, ["ab", 'a"\n'], ["a", "abcd"]),
        ({"type": "string", "pattern": "^[ab]+$", "maxLength": 4}, ["ab", "bbbb"], ["c", "", "aaaaa"]),
        ({"type": "string", "pattern": "x", "maxLength": 1}, ["x"], ["", "ax", "xa", "a"]),
        ({"type": "string", "pattern": "x", "minLength": 2, "maxLength": 2}, ["ax", "xa"], ["", "a"]),
        ({"type": "string", "pattern": "^[ab]{0,5}c*$", "maxLength": 2}, ["a", "ac", ""], ["aab", "aca"]),
        ({"format": "date"}, ["2024-02-29"], ["2024-13-01", "24-01-01"]),
        ({"type": "string", "format": "date-time"}, ["2024-01-05T15:30:00Z", "2024-01-05T15:30:00"], ["15:30"]),
        ({"type": "string", "format": "email"}, ["a.b@c.org"], ["a", "a@b"]),
        ({"type": "string", "format": "uuid"}, ["123e4567-e89b-12d3-a456-426614174000"], ["123"]),
        ({"type": "string", "format": "ipv4"}, ["192.168.0.1"], ["256.1.1.1"]),
        ({"type": "string", "format": "uri"}, ["https://a.org/x?y=1#z", "mailto:a@b.c"], ["a b"]),
        ({"type": "string", "format": "one of their own"}, ["whatever"], [1]),
        ({"maxItems": 1}, [[], [1]], [[1, 2], "x"]),
        ({"description": "anything"}, [1, "a", None, [1], {"a": {"b": []}}], []),
        (True, [1, "a"], []),
    ],
)
def test_keywords(schema: Any, good: list[Any], bad: list[Any]) -> None:
    read = grammar(schema)
    for value in good:
        assert read.accepts(compact(value)), value
        assert Draft202012Validator(schema).is_valid(value)
    for value in bad:
        assert not read.accepts(compact(value)), value


NODE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {"name": {"const": "n"}, "next": {"$ref": "#/$defs/node"}, "all": {"type": "array"}},
            "required": ["name"],
        }
    },
    "$ref": "#/$defs/node",
}


def test_a_schema_that_refers_to_itself_is_followed_three_times() -> None:
    value: dict[str, Any] = {"name": "n"}
    for depth in (1, 2, 3):
        assert grammar(NODE).accepts(compact(value)), depth
        value = {"name": "n", "next": value}
    assert not grammar(NODE).accepts(compact(value))


def test_lists_of_itself_and_the_root_as_reference() -> None:
    tree = {"type": "object", "properties": {"in": {"type": "array", "items": {"$ref": "#"}}}, "required": ["in"]}
    assert grammar(tree).accepts('{"in":[{"in":[]},{"in":[]}]}')
    either = {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"$ref": "#"}, "minItems": 1}]}
    assert grammar(either).accepts("[1,[2]]")


def exploding(names: int = 6) -> dict[str, Any]:
    parts = {f"p{n}": {"$ref": f"#/$defs/d{n}"} for n in range(names)}
    return {"$defs": {f"d{n}": {"type": "object", "properties": parts} for n in range(names)}, "$ref": "#/$defs/d0"}


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (
            {"$ref": "#/$defs/a", "$defs": {"a": {"properties": {"a": {"$ref": "#"}}, "required": ["a"]}}},
            "without an end",
        ),
        ({"$ref": "#"}, "without an end"),
        ({"$ref": "http://example.org/schema"}, "leads out of the schema"),
        ({"$ref": "#/$defs/none"}, "leads nowhere"),
        ({"$dynamicRef": "#x"}, "only `\\$ref`"),
        (
            {"properties": {"x": {"type": "string", "minLength": 5, "maxLength": 2}}, "required": ["x"]},
            r"it\.x: `minLen",
        ),
        ({"required": ["x"], "additionalProperties": False}, "it.x: nothing fits it"),
        ({"allOf": [{"type": "string"}, {"type": "integer"}]}, "at the same time"),
        ({"enum": []}, "no value of its `enum`"),
        ({"type": "integer", "enum": ["a"]}, "no value of its `enum`"),
        ({"type": "integer", "minimum": 5, "maximum": 4}, "no integer"),
        ({"anyOf": []}, "it offers nothing"),
        (False, "nothing fits it"),
        (exploding(), "too large"),
        ({"enum": ["x" * 1000 + str(n) for n in range(300)]}, None),
    ],
)
def test_what_no_value_can_fit_is_refused_with_the_place(schema: Any, why: str | None) -> None:
    if why is None:
        assert len(grammar(schema).text) > 200_000  # which `grammar_of` refuses
        return
    with pytest.raises(Uncompilable, match=why):
        grammar(schema)


def test_deep_nesting_is_refused() -> None:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(200):
        schema = {"type": "object", "properties": {"x": schema}, "required": ["x"]}
    with pytest.raises(Uncompilable, match="nested too deeply"):
        grammar(schema)


def test_a_part_that_need_not_be_there_takes_nothing_down() -> None:
    schema = {"properties": {"a": {"enum": []}, "b": {"const": 1}}}
    assert grammar(schema).accepts('{"b":1}')
    assert not grammar(schema).accepts('{"a":1}')
    assert grammar({"anyOf": [{"enum": []}, {"const": 1}]}).accepts("1")
    assert grammar({"type": "array", "items": {"enum": []}}).accepts("[]")


def test_tuples_of_older_drafts() -> None:
    read = grammar({"type": "array", "items": [{"const": 1}], "minItems": 1})
    assert read.accepts("[1]")
    assert not any(read.accepts(text) for text in ("[]", "[2]"))


def test_a_pattern_that_no_grammar_can_say_leaves_the_string_free() -> None:
    assert grammar({"type": "string", "pattern": "^(?!x)", "maxLength": 3}).accepts('"xyz"')


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_what_is_drawn_for_a_format_has_it(name: str) -> None:
    read, rng = grammar({"type": "string", "format": name}), random.Random(name)
    checker = FormatChecker(formats=[name] if name in FormatChecker.checkers else [])
    for _ in range(50):
        value = json.loads(read.draw(rng))
        if name not in ("date", "time", "date-time"):  # which know which months are short, or want a zone
            checker.check(value, name)


_NAMES = st.sampled_from(["a", "b", 'q"', "é"])
_LEAVES = st.one_of(
    st.sampled_from([{}, True, {"type": "boolean"}, {"type": "null"}, {"type": ["string", "null"]}, {"const": [1]}]),
    st.builds(lambda n: {"enum": ["x", 1, None, n]}, st.integers()),
    st.builds(
        lambda a, b: {"type": "integer", "minimum": a, "maximum": a + b}, st.integers(-50, 50), st.integers(0, 900)
    ),
    st.builds(lambda a: {"type": "number", "exclusiveMinimum": a}, st.integers(-5, 5)),
    st.builds(
        lambda a, b: {"type": "string", "minLength": a, "maxLength": a + b}, st.integers(0, 3), st.integers(0, 9)
    ),
    st.sampled_from(["^[a-c]{1,3}$", "x", r"^\d+(\.\d+)?$"]).map(lambda p: {"type": "string", "pattern": p}),
    st.sampled_from(["#", "#/$defs/d"]).map(lambda path: {"$ref": path}),
)


def _nested(inner: Any) -> Any:
    objects = st.builds(
        lambda properties, required, extra: {
            "type": "object",
            "properties": properties,
            "required": [name for name in required if name in properties],
            **extra,
        },
        st.dictionaries(_NAMES, inner, max_size=3),
        st.lists(_NAMES, max_size=2, unique=True),
        st.sampled_from([{}, {"additionalProperties": False}, {"additionalProperties": {"type": "integer"}}]),
    )
    arrays = st.builds(lambda items, low: {"type": "array", "items": items, "minItems": low}, inner, st.integers(0, 2))
    unions = st.builds(
        lambda key, parts: {key: parts}, st.sampled_from(["anyOf", "allOf"]), st.lists(inner, min_size=1)
    )
    return objects | arrays | unions | st.builds(lambda value: {"additionalProperties": value}, inner)


_SCHEMAS = st.recursive(_LEAVES, _nested, max_leaves=8)


@settings(max_examples=150)
@given(_SCHEMAS, _SCHEMAS, st.integers(0, 999))
@example({"allOf": [{"type": "object", "properties": {"a": {}}}, {"additionalProperties": {"type": "boolean"}}]}, {}, 0)
@example({"allOf": [{"type": "string", "pattern": "x"}, {"type": "string", "maxLength": 1}]}, {}, 0)
def test_what_is_drawn_validates_or_the_schema_is_refused(schema: Any, other: Any, seed: int) -> None:
    """Only where a decimal meets an excluded bound, or a pattern another one or an enum, is anything left to find."""
    if not isinstance(schema, dict):
        return
    schema = {**schema, "$defs": {"d": other}}
    try:
        read = grammar(schema)
    except Uncompilable:
        return
    rng = random.Random(seed)
    for _ in range(3):
        value = json.loads(read.draw(rng, 0.4))
        try:
            errors = list(Draft202012Validator(schema).iter_errors(value))
        except RecursionError:
            return  # the oracle follows a reference in circles
        said = {leaf.validator for leaf in leaves(errors)}
        assert not said or said & {"exclusiveMinimum", "pattern"}, (value, errors)


def leaves(errors: list[Any]) -> list[Any]:
    """The innermost of errors inside errors."""
    return [leaf for error in errors for leaf in (leaves(list(error.context)) if error.context else [error])]
