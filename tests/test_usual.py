"""The short way to canonical bytes gives what the long way gives, or nothing."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.traffic.canonical import canonical_message
from tutelage.traffic.usual import usual


def short(message: Any) -> bytes | None:
    found = usual(json.dumps(message).encode())
    return found and found.canonical()


def call(arguments: Any = '{"b": 1, "a": [true, null, "é"]}', **fields: Any) -> dict[str, Any]:
    return {"id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}} | fields


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": 'hi \u2028 \x7f \\ " / \u00e9 \U0001f600'},
        {"role": "tool", "tool_call_id": "c1", "content": "", "name": ""},
        {"content": None},
        {},
        {"role": "assistant", "content": "", "tool_calls": [call()], "refusal": None, "annotations": [], "audio": None},
        {
            "role": "assistant",
            "content": "x",
            "tool_calls": [call(index=3), call("7", id=None), call('"x"', type=None)],
        },
        {"role": "assistant", "content": "", "tool_calls": []},
        {"role": "assistant", "tool_calls": [call(None), {"function": {}}, call("[" + "9" * 40 + "]")]},
    ],
)
def test_usual_messages_take_the_short_way(message: dict[str, Any]) -> None:
    assert short(message) == canonical_message(message)


@pytest.mark.parametrize(
    "message",
    [
        7,
        {"role": "user", "content": [{"type": "text", "text": "x"}]},
        {"role": "user", "content": "\ud800"},
        {"role": "user", "content": "x", "more": 1},
        {"role": "assistant", "tool_calls": [call('{"a": 1.0}')]},
        {"role": "assistant", "tool_calls": [call("{oops")]},
        {"role": "assistant", "tool_calls": [call({"a": 1})]},
        {"role": "assistant", "tool_calls": [call(more=1)]},
        {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}},
    ],
)
def test_unusual_ones_do_not(message: Any) -> None:
    assert short(message) is None


texts = st.none() | st.text(max_size=5) | st.sampled_from(['{"b": 1, "a": "x"}', "[1]", '{"a": 0.5}', "7", "{", ""])
calls = st.fixed_dictionaries(
    {"function": st.fixed_dictionaries({}, optional={"name": texts, "arguments": texts})},
    optional={"id": texts, "type": texts, "index": st.none() | st.integers(0, 9)},
)
messages = st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from(["user", "assistant", "tool", None]),
        "content": texts,
        "name": texts,
        "tool_call_id": texts,
        "tool_calls": st.none() | st.lists(calls, max_size=3),
        "refusal": texts,
        "annotations": st.none() | st.just([]) | st.just([{"a": 1}]),
    },
)


@given(messages)
def test_both_ways_agree(message: dict[str, Any]) -> None:
    assert short(message) in (None, canonical_message(message))
