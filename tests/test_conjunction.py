"""Two schemas as one: nothing is forbidden that both allow."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tutelage.serving.conjunction import conjunction
from tutelage.serving.gbnf import Impossible

BOOLEAN = {"type": "boolean"}


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (True, {"type": "string"}, {"type": "string"}),
        ({"type": "string"}, True, {"type": "string"}),
        ({"type": "number"}, {"type": ["integer", "string"]}, {"type": ["integer"]}),
        ({"type": ["integer", "null"]}, {"type": "number"}, {"type": ["integer"]}),
        ({"enum": [1, 2, "a"]}, {"enum": ["a", 1.0]}, {"enum": [1, "a"]}),
        ({"minimum": 1, "maxLength": 5}, {"minimum": 3, "maxLength": 9}, {"minimum": 3, "maxLength": 5}),
        ({"required": ["a"]}, {"required": ["b", "a"]}, {"required": ["a", "b"]}),
        (
            {"properties": {"a": {"minimum": 1}, "b": True}},
            {"properties": {"a": {"maximum": 2}, "b": True}},
            {"properties": {"a": {"allOf": [{"minimum": 1}, {"maximum": 2}]}, "b": True}},
        ),
        (
            {"properties": {"a": {"minimum": 1}, "x-b": {}}},
            {"patternProperties": {"^x-": {}}, "additionalProperties": BOOLEAN},
            {
                "properties": {"a": {"allOf": [{"minimum": 1}, BOOLEAN]}, "x-b": {}},
                "patternProperties": {"^x-": {}},
                "additionalProperties": BOOLEAN,
            },
        ),
        (
            {"properties": {"a": {}}, "additionalProperties": BOOLEAN},
            {"additionalProperties": False},
            {"properties": {}, "additionalProperties": False},
        ),
        ({"anyOf": [{"const": 1}]}, {"anyOf": [True]}, {"anyOf": [{"allOf": [{"const": 1}, True]}]}),
        ({"title": "one", "pattern": "a"}, {"title": "other", "pattern": "b"}, {"title": "one", "pattern": "a"}),
    ],
)
def test_keywords(one: Any, other: Any, both: Any) -> None:
    assert conjunction(one, other) == both


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (False, True),
        ({}, False),
        ({"type": "string"}, {"type": "null"}),
        ({"const": 1}, {"const": True}),
        ({"properties": {"a": {}}, "required": ["a"]}, {"additionalProperties": False}),
    ],
)
def test_contradictions(one: Any, other: Any) -> None:
    with pytest.raises(Impossible):
        conjunction(one, other)


_PART = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["integer", "number", ["string", "integer"], "string"]),
        "enum": st.lists(st.sampled_from([1, 2, 2.5, "a", "bb"]), min_size=1, unique=True),
        "minimum": st.integers(0, 3),
        "maximum": st.integers(1, 4),
        "maxLength": st.integers(0, 2),
        "anyOf": st.lists(st.sampled_from([{"const": 1}, {"type": "string"}, {"minimum": 2}]), min_size=1),
    },
)


@given(_PART, _PART, st.sampled_from([0, 1, 2, 2.5, 5, "", "a", "bb"]))
def test_a_value_fits_the_conjunction_when_it_fits_both(one: Any, other: Any, value: Any) -> None:
    fits = all(Draft202012Validator(part).is_valid(value) for part in (one, other))
    try:
        both = conjunction(one, other)
    except Impossible:
        assert not fits
        return
    assert Draft202012Validator(both).is_valid(value) is fits
