"""The check of the finished answer: every keyword counts, nothing is fetched, broken schemas are refused before."""

import json
from typing import Any

import pytest

from tutelage.serving.render import InvalidOutput
from tutelage.serving.schemas import Uncompilable
from tutelage.serving.validation import check_calls, check_value, require_valid


@pytest.mark.parametrize(
    ("schema", "good", "bad", "path"),
    [
        ({"properties": {"x": {"pattern": "^a"}}}, {"x": "ab"}, {"x": "b"}, "$.x"),
        ({"items": {"multipleOf": 5}}, [5, 10], [5, 7], "$[1]"),
        ({"uniqueItems": True}, [1, 2], [1, 1], "$"),
        ({"not": {"const": 1}}, 2, 1, "$"),
        ({"format": "date"}, "2024-02-29", "2023-02-29", "$"),
        ({"$schema": "http://json-schema.org/draft-04/schema#", "minimum": 3, "exclusiveMinimum": True}, 4, 3, "$"),
        ({"if": {"required": ["a"]}, "then": {"required": ["b"]}}, {"a": 1, "b": 1}, {"a": 1}, "$"),
    ],
)
def test_what_a_grammar_does_not_say(schema: Any, good: Any, bad: Any, path: str) -> None:
    check_value(good, schema)
    with pytest.raises(InvalidOutput) as error:
        check_value(bad, schema)
    assert error.value.reason == f"schema:{path}"


def test_calls_are_checked_against_the_schema_of_their_tool() -> None:
    tools = [
        {"type": "function", "function": {"name": "a", "parameters": {"properties": {"n": {"multipleOf": 2}}}}},
        {"type": "function", "function": {"name": "b"}},
    ]

    def call(name: str, arguments: Any) -> dict[str, Any]:
        return {"function": {"name": name, "arguments": json.dumps(arguments)}}

    check_calls([call("a", {"n": 4}), call("b", {"n": 3})], tools)
    with pytest.raises(InvalidOutput, match=r"schema:\$\.n"):
        check_calls([call("a", {"n": 3})], tools)


@pytest.mark.parametrize(
    "schema", [{"type": "float"}, {"required": True}, {"properties": ["a"]}, {"minLength": "3"}, 5]
)
def test_what_is_no_schema_is_refused_with_the_place(schema: Any) -> None:
    with pytest.raises(Uncompilable, match=r"^book: it is no JSON schema, .* at \$"):
        require_valid("book", schema)


def test_no_reference_is_fetched() -> None:
    for path in ("http://127.0.0.1:9/none", "#/$defs/none"):
        with pytest.raises(InvalidOutput):
            check_value(1, {"$ref": path})
