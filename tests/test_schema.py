"""The JSON Schema subset: what fits, where it breaks, and one way to write what means the same."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.traffic.schema import canonical_arguments, canonical_text, check, equal, fitted

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
ADDRESS = {
    "type": "object",
    "properties": {"zip": {"type": "string"}},
    "required": ["zip"],
    "additionalProperties": False,
}
TREE = {
    "type": "object",
    "properties": {"children": {"type": "array", "items": {"$ref": "#"}}},
    "required": ["children"],
}


@pytest.mark.parametrize(
    ("value", "schema", "where"),
    [
        (5, {"type": "integer"}, ""),
        (5.0, {"type": "integer"}, ""),
        (5.5, {"type": "integer"}, "$"),
        ("5", {"type": "integer"}, "$"),
        (True, {"type": "integer"}, "$"),
        (1, {"type": "boolean"}, "$"),
        (None, {"type": ["string", "null"]}, ""),
        (None, {"type": "string", "nullable": True}, ""),
        (None, {"type": "string"}, "$"),
        ("red", {"enum": ["red", "green"]}, ""),
        ("Red", {"enum": ["red", "green"]}, "$"),
        (True, {"enum": [1]}, "$"),
        (1.0, {"const": 1}, ""),
        ({}, {"required": ["room"]}, "$.room"),
        ({"x": 1}, {"properties": {}, "additionalProperties": False}, "$.x"),
        ({"x": 1}, {"additionalProperties": {"type": "string"}}, "$.x"),
        ({"a": [{"zip": "1"}, {"zip": 2}]}, {"properties": {"a": {"items": ADDRESS}}}, "$.a[1].zip"),
        (11, {"maximum": 10}, "$"),
        (0, {"exclusiveMinimum": 0}, "$"),
        (10, {"exclusiveMaximum": 10}, "$"),
        (5, {"minimum": 5, "maximum": 5}, ""),
        (5, {"exclusiveMinimum": True, "minimum": 5}, ""),
        ("ab", {"minLength": 3}, "$"),
        ([1, 2], {"maxItems": 1}, "$"),
        ("x", {"anyOf": [{"type": "integer"}, {"type": "null"}]}, "$"),
        (None, {"anyOf": [ADDRESS, {"type": "null"}]}, ""),
        (3, {"oneOf": [{"type": "integer"}, {"type": "number"}]}, "$"),
        (3, {"allOf": [{"minimum": 1}, {"maximum": 2}]}, "$"),
        ({"to": {}}, {"properties": {"to": {"$ref": "#/$defs/A"}}, "$defs": {"A": ADDRESS}}, "$.to.zip"),
        ({"children": [{"children": []}, {}]}, TREE, "$.children[1].children"),
        ("anything", {"$ref": "#/nowhere"}, ""),
        ("anything", {"$ref": "#"}, ""),
        (1, False, "$"),
        (1, True, ""),
        (1, {"type": "tuple"}, ""),
    ],
)
def test_check(value: Any, schema: Any, where: str) -> None:
    assert check(value, schema) == where


def test_endless_nesting_is_refused() -> None:
    value: dict[str, Any] = {"children": []}
    for _ in range(100):
        value = {"children": [value]}
    assert check(value, TREE).startswith("$.children[0]")


def test_absurd_depth_is_a_difference_not_a_crash() -> None:
    one: list[Any] = []
    other: list[Any] = []
    for _ in range(100_000):
        one, other = [one], [other]
    assert not equal(one, other)


def test_a_reference_loop_ends() -> None:
    loop = {"anyOf": [{"$ref": "#"}, {"$ref": "#"}], "oneOf": [{"$ref": "#"}]}
    assert check("anything", loop) == ""
    assert check(5, {"type": "string", "anyOf": [{"$ref": "#"}]}) == "$"


@given(JSON)
def test_equal_is_equality_of_json(value: Any) -> None:
    assert equal(value, value)
    assert not equal(value, [value])


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [(1, 1.0, True), (True, 1, False), (0, False, False), ("5", 5, False), (None, 0, False), ([1, 2], [2, 1], False)],
)
def test_equal_knows_types(one: Any, other: Any, same: bool) -> None:
    assert equal(one, other) is same
    assert equal({"k": [one]}, {"k": [other]}) is same


LIGHT = {
    "type": "object",
    "properties": {
        "room": {"type": "string"},
        "level": {"type": "number", "default": 100},
        "mode": {"enum": [" warm ", "cold"]},
        "until": {"type": ["string", "null"], "default": None},
        "note": {"type": "string"},
    },
    "required": ["room"],
}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"room": "hall"}, {"room": "hall", "level": 100.0}, True),
        ({"room": "hall"}, {"room": "hall", "level": 10}, False),
        ({"room": "hall", "until": None}, {"room": "hall"}, True),
        ({"room": "hall", "note": None}, {"room": "hall"}, False),
        ({"room": " hall\n"}, {"room": "hall"}, True),
        ({"room": "cafe\u0301"}, {"room": "caf\u00e9"}, True),
        ({"room": "hall", "mode": "warm"}, {"room": "hall", "mode": " warm "}, False),
        ({"room": "1.5"}, {"room": "15"}, False),
        ({"room": "-5"}, {"room": "5"}, False),
        ({"room": "20240105"}, {"room": "2024-01-05"}, False),
        ({"room": "Hall"}, {"room": "hall"}, False),
        ({"room": "2024-01-05T10:00:00Z"}, {"room": "2024-01-05 11:00+01:00"}, True),
        ({"room": "2024-01-05T10:00:00Z"}, {"room": "2024-01-05T10:00:00"}, False),
    ],
)
def test_one_way_to_write_arguments(one: Any, other: Any, same: bool) -> None:
    assert equal(canonical_arguments(one, LIGHT), canonical_arguments(other, LIGHT)) is same


def test_defaults_reach_into_parts() -> None:
    inner = {"type": "object", "properties": {"unit": {"type": "string", "default": "C"}}}
    schema = {"properties": {"a": {"anyOf": [inner, {"type": "null"}]}, "b": {"items": {"$ref": "#/$defs/I"}}}}
    schema["$defs"] = {"I": inner}
    assert canonical_arguments({"a": {}, "b": [{}]}, schema) == {"a": {"unit": "C"}, "b": [{"unit": "C"}]}


@given(JSON)
def test_canonical_arguments_is_stable(value: Any) -> None:
    once = canonical_arguments(value, LIGHT)
    assert equal(canonical_arguments(once, LIGHT), once)


@given(st.text())
def test_canonical_text_is_stable(text: str) -> None:
    assert canonical_text(canonical_text(text)) == canonical_text(text)


@pytest.mark.parametrize("text", ["2024-13-45T99:99", "0001-01-01T00:00+14:00", "9999-12-31T23:59-12:00"])
def test_impossible_times_stay_text(text: str) -> None:
    assert canonical_text(text) == text


LISTS = {
    "type": "object",
    "properties": {
        "domain": {"type": "array", "items": {"type": "string"}},
        "inner": {"type": "object", "properties": {"sizes": {"type": "array", "items": {"type": "integer"}}}},
        "either": {"type": ["array", "string"]},
    },
}


def test_a_lone_value_where_only_an_array_may_stand_is_put_into_one() -> None:
    lone = {"domain": "fan", "inner": {"sizes": 3}, "either": "x", "other": 1}
    assert fitted(lone, LISTS) == {"domain": ["fan"], "inner": {"sizes": [3]}, "either": "x", "other": 1}
    assert equal(canonical_arguments(lone, LISTS), canonical_arguments(fitted(lone, LISTS), LISTS))


def test_a_value_that_would_be_no_sound_item_stays() -> None:
    assert fitted({"domain": 3, "inner": {"sizes": None}}, LISTS) == {"domain": 3, "inner": {"sizes": None}}
    assert fitted({"domain": ["fan"]}, LISTS) == {"domain": ["fan"]}
    assert fitted("x", True) == "x"
