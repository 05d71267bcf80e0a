"""What a request allows, read once for the grammar and for the check."""

from typing import Any

import pytest

from tutelage.serving.expected import CALLS_LIMIT, Expected, expected
from tutelage.traffic.errors import BadInput

TOOLS = [{"type": "function", "function": {"name": name}} for name in ("a", "b")]
NAMED = {"type": "function", "function": {"name": "b"}}


def allowed(mode: str, *names: str) -> dict[str, Any]:
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}


@pytest.mark.parametrize(
    ("choice", "names", "must_call"),
    [
        (None, ["a", "b"], False),
        ("auto", ["a", "b"], False),
        ("required", ["a", "b"], True),
        ("none", [], False),
        (NAMED, ["b"], True),
        (allowed("auto", "a"), ["a"], False),
        (allowed("required", "a", "b"), ["a", "b"], True),
    ],
)
def test_tool_choice(choice: Any, names: list[str], must_call: bool) -> None:
    wanted = expected(TOOLS, choice)
    assert [tool["function"]["name"] for tool in wanted.tools] == names
    assert wanted.must_call is must_call


@pytest.mark.parametrize(
    ("tools", "choice", "why"),
    [
        (TOOLS, "always", "Expected `tool_choice`"),
        (TOOLS, {"type": "function"}, "Expected `tool_choice`"),
        (TOOLS, {"type": "custom", "custom": {"name": "a"}}, "Expected `tool_choice`"),
        (TOOLS, {"type": "function", "function": {"name": "c"}}, "names 'c'; the tools offered are: a, b"),
        (TOOLS, allowed("auto", "c"), "names 'c'"),
        ([], NAMED, "the tools offered are: none"),
        ([], "required", "`tools` offers none"),
        ([{"function": {}}], None, "a `name` in each function"),
    ],
)
def test_what_no_request_may_ask_for(tools: Any, choice: Any, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        expected(tools, choice)


def test_parallel_calls() -> None:
    assert expected(TOOLS).most_calls == CALLS_LIMIT
    assert expected(TOOLS, parallel=False).most_calls == 1


def test_response_format() -> None:
    schema = {"type": "object", "properties": {}}
    assert expected([], response_format=None).content is None
    assert expected([], response_format={"type": "text"}).content is None
    assert expected([], response_format={"type": "json_object"}).content == {"type": "object"}
    assert expected([], response_format={"type": "json_schema", "json_schema": {"schema": schema}}).content == schema
    for wrong in ({"type": "xml"}, {"type": "json_schema"}, {"type": "json_schema", "json_schema": "x"}, 3):
        with pytest.raises(BadInput, match="Expected `response_format`"):
            expected([], response_format=wrong)


def message(*names: str) -> dict[str, Any]:
    return {"content": "x", "tool_calls": [{"function": {"name": name, "arguments": "{}"}} for name in names]}


@pytest.mark.parametrize(
    ("wanted", "names", "reason"),
    [
        (Expected(), (), ""),
        (expected(TOOLS), ("a", "b"), ""),
        (expected(TOOLS, "required"), (), "no_call"),
        (expected(TOOLS, "none"), ("a",), "tool_not_allowed"),
        (expected(TOOLS, NAMED), ("a",), "tool_not_allowed"),
        (expected(TOOLS, NAMED), ("b",), ""),
        (expected(TOOLS, parallel=False), ("a", "b"), "too_many_calls"),
    ],
)
def test_the_finished_answer_is_held_to_it(wanted: Expected, names: tuple[str, ...], reason: str) -> None:
    assert wanted.breach(message(*names)) == reason
