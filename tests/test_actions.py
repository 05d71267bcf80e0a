"""Messages read as actions, and actions checked against the tools on offer."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.traffic.actions import ToolCall, action_of, validate_action

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "set_light",
            "parameters": {
                "type": "object",
                "properties": {"room": {"type": "string"}, "level": {"type": "integer", "maximum": 100}},
                "required": ["room"],
                "additionalProperties": False,
            },
        },
    },
    {"type": "function", "function": {"name": "ping"}},
]


def call(name: str, arguments: Any) -> dict[str, Any]:
    return {"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}}


def test_tools_win_over_text() -> None:
    action = action_of({"role": "assistant", "content": "On it.", "tool_calls": [call("ping", "{}")]})
    assert action.kind == "tools"
    assert action.calls == (ToolCall("ping", {}, "{}"),)
    assert action.text == "On it."


@pytest.mark.parametrize(
    ("message", "kind", "text"),
    [
        ({"content": "Hello"}, "text", "Hello"),
        ({"content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]}, "text", "Hello"),
        ({"content": None, "refusal": "I cannot."}, "refusal", "I cannot."),
        ({"content": "Yes", "refusal": None, "tool_calls": []}, "text", "Yes"),
        ({"content": " \n"}, "invalid", ""),
        ({}, "invalid", ""),
        ({"content": 5}, "invalid", ""),
        ({"content": [None, {"type": "image_url"}, {"type": "text", "text": 3}]}, "invalid", ""),
    ],
)
def test_kinds(message: dict[str, Any], kind: str, text: str) -> None:
    action = action_of(message)
    assert (action.kind, action.text) == (kind, text)


@pytest.mark.parametrize("wire", [[None], [{}], [{"function": {}}], [{"function": {"name": 3}}], {"a": 1}, "x"])
def test_malformed_calls_are_invalid(wire: Any) -> None:
    assert action_of({"tool_calls": wire}).kind == "invalid"


def test_old_function_call_field() -> None:
    action = action_of({"content": None, "function_call": {"name": "ping", "arguments": ""}})
    assert action.calls == (ToolCall("ping", {}, ""),)


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("set_light", '{"room": "hall"}', ""),
        ("set_light", {"room": "hall"}, ""),
        ("ping", "", ""),
        ("ping", '{"anything": 1}', ""),
        ("set_lights", '{"room": "hall"}', "unknown_tool"),
        ("set_light", '{"room": "hall"', "bad_json"),
        ("set_light", '["hall"]', "bad_json"),
        ("set_light", "{}", "schema:$.room"),
        ("set_light", '{"room": "hall", "level": 101}', "schema:$.level"),
        ("set_light", '{"room": "hall", "level": "50"}', "schema:$.level"),
        ("set_light", '{"room": "hall", "colour": "red"}', "schema:$.colour"),
    ],
)
def test_validation(name: str, arguments: Any, reason: str) -> None:
    assert validate_action(action_of({"tool_calls": [call(name, arguments)]}), TOOLS) == reason


def test_every_call_is_checked() -> None:
    message = {"tool_calls": [call("ping", "{}"), call("set_light", "{}")]}
    assert validate_action(action_of(message), TOOLS) == "schema:$.room"
    assert validate_action(action_of({"tool_calls": [call("ping", "{}")]}), None) == "unknown_tool"
    assert validate_action(action_of({}), TOOLS) == "empty"
    assert validate_action(action_of({"content": "text"}), []) == ""


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["function", "name", "arguments", "type", "text", "x"]), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["content", "tool_calls", "refusal", "function_call"]), JSON))
def test_nothing_makes_it_raise(message: dict[str, Any]) -> None:
    action = action_of(message)
    assert action.kind in ("tools", "text", "refusal", "invalid")
    assert isinstance(validate_action(action, TOOLS), str)
