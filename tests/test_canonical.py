"""Canonical form and the names made from it."""

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.traffic.canonical import (
    ROOT,
    canonical,
    canonical_message,
    canonical_tools,
    chain,
    loads,
    mend,
    message_id,
    toolset_id,
)
from tutelage.traffic.errors import BadInput

any_text = st.text(st.characters(codec=None)).map(mend)
numbers = st.integers() | st.floats(allow_nan=False) | st.integers(-(10**60), 10**60)
values = st.recursive(
    st.none() | st.booleans() | numbers | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=20,
)


def shuffled(value: Any, seed: int) -> Any:
    """The same JSON value with the members of its objects in another order."""
    if isinstance(value, dict):
        items = list(value.items())
        random.Random(seed).shuffle(items)
        return {key: shuffled(item, seed + 1) for key, item in items}
    return [shuffled(item, seed + 1) for item in value] if isinstance(value, list) else value


@given(values, st.integers())
def test_the_order_of_members_does_not_count(value: Any, seed: int) -> None:
    assert canonical(shuffled(value, seed)) == canonical(value)


@given(values)
def test_canonical_text_reads_back_as_the_same_value(value: Any) -> None:
    text = canonical(value)
    assert loads(text) == value
    assert canonical(loads(text)) == text


@given(numbers, numbers)
def test_numbers_are_equal_exactly_if_their_values_are(one: float, other: float) -> None:
    assert (canonical(one) == canonical(other)) == (one == other)


@given(any_text, any_text)
def test_texts_are_equal_exactly_if_all_characters_are(one: str, other: str) -> None:
    assert (canonical(one) == canonical(other)) == (one == other)


@given(values)
def test_spelling_of_a_json_text_does_not_count(value: Any) -> None:
    assert canonical(loads(json.dumps(value, indent=3))) == canonical(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"b": 1.0, "a": [True, None, -0.0]}, b'{"a":[true,null,0],"b":1}'),
        (1e22, b"10000000000000000000000"),
        (2**70, b"1180591620717411303424"),
        (0.1, b"0.1"),
        (1.5e-7, b"1.5e-07"),
        (float("inf"), b"Infinity"),
        (float("nan"), b"NaN"),
        ("é\u2028\x7f\n\x01/", '"é\u2028\x7f\\n\\u0001/"'.encode()),
        ("\ud800", b'"\\ud800"'),
        ("\\ud800", b'"\\\\ud800"'),
        ({"\U0001f600": 1, "\uffee": 2}, '{"\uffee":2,"\U0001f600":1}'.encode()),
        ((1, 2), b"[1,2]"),
    ],
)
def test_the_form_is_pinned(value: Any, expected: bytes) -> None:
    assert canonical(value) == expected


def test_composed_and_decomposed_letters_stay_different() -> None:
    assert canonical("é") != canonical("e\u0301")


def test_the_halves_of_a_surrogate_pair_are_its_character() -> None:
    assert canonical("\ud83d\ude00") == canonical("\U0001f600") == '"\U0001f600"'.encode()
    assert mend("\ude00\ud83d") == "\ude00\ud83d"


def test_true_is_not_one() -> None:
    assert canonical(True) != canonical(1)


def test_what_json_cannot_hold_is_a_programming_error() -> None:
    with pytest.raises(TypeError):
        canonical({"x": b"bytes"})


def test_too_deep_nesting_is_bad_input() -> None:
    value: Any = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(BadInput, match="deep"):
        canonical(value)
    while value:  # A structure as deep as this is taken apart by hand, or its release overflows the stack.
        value = value[0]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"a": 1}', {"a": 1}),
        (b'"\\ud800"', "\ud800"),
        (b"[1e400]", [float("inf")]),
        (b"-Infinity", float("-inf")),
        (b"\xef\xbb\xbf{}", {}),
        (b'{"a":1,"a":2}', {"a": 2}),
        ('"\ud800"', "\ud800"),
    ],
)
def test_loads_reads_texts_of_the_wild(body: bytes | str, expected: Any) -> None:
    assert loads(body) == expected


@pytest.mark.parametrize("body", [b"", b"{", b'"\xff"', b"[" * 100_000, b"9" * 5000, b"nul", b'["a" "b"]', b"[]x"])
def test_loads_refuses_what_is_no_json(body: bytes) -> None:
    with pytest.raises(BadInput, match="Expected a JSON text"):
        loads(body)


@given(st.binary(max_size=60))
def test_loads_never_fails_otherwise(body: bytes) -> None:
    try:
        canonical(loads(body))
    except BadInput:
        assert body != b"{}"


def call(arguments: Any = '{"a": 1, "b": 2}', **more: Any) -> dict[str, Any]:
    return {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": arguments}, **more}


def test_an_answer_and_its_echo_are_the_same() -> None:
    answer = {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "annotations": [],
        "audio": None,
        "function_call": None,
        "reasoning_content": "Let me think.",
        "tool_calls": [call(index=0)],
    }
    echo = {"role": "assistant", "content": "", "tool_calls": [call('{"b":2,"a":1.0}')]}
    assert canonical_message(answer) == canonical_message(echo)
    assert message_id(ROOT, answer) == message_id(ROOT, echo)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"content": "x"}, {"content": [{"type": "text", "text": "x"}]}),
        ({"content": "x"}, {"content": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]}),
        ({"content": None}, {}),
        ({"content": "x", "tool_calls": []}, {"content": "x"}),
        ({"tool_calls": [call()]}, {"tool_calls": [{**call(), "type": None}]}),
        ({"tool_calls": [call({"b": 2, "a": 1})]}, {"tool_calls": [call()]}),
        (
            {"content": "", "function_call": {"name": "f", "arguments": "{}"}},
            {"function_call": {"name": "f", "arguments": "{ }"}},
        ),
        ({"audio": {"id": "audio_1", "data": "UklG", "transcript": "hi"}}, {"audio": {"id": "audio_1"}}),
    ],
)
def test_ways_to_say_the_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert canonical_message({"role": "assistant", **one}) == canonical_message({"role": "assistant", **other})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"content": "x"}, {"content": "x "}),
        ({"content": ""}, {"content": None}),
        ({"content": "x", "name": "a"}, {"content": "x", "name": "b"}),
        ({"content": "xy"}, {"content": [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]}),
        ({"tool_calls": [call('{"a": 1}')]}, {"tool_calls": [call('{"a": "1"}')]}),
        ({"tool_calls": [call('"x"')]}, {"tool_calls": [call("x")]}),
        ({"tool_calls": [call('{"a": 1')]}, {"tool_calls": [call('{"a":1')]}),
        ({"tool_calls": [call("")]}, {"tool_calls": [call("{}")]}),
        ({"tool_calls": [call(), call()]}, {"tool_calls": [call()]}),
        ({"tool_calls": [call()]}, {"tool_calls": [{**call(), "id": "call_2"}]}),
        ({"content": "x", "role": "tool"}, {"content": "x", "role": "user"}),
    ],
)
def test_what_counts(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert canonical_message({"role": "assistant", **one}) != canonical_message({"role": "assistant", **other})


@given(values)
def test_any_value_can_stand_where_a_message_should(value: Any) -> None:
    assert len(message_id(ROOT, value)) == 32
    assert len(message_id(ROOT, {"role": value, "content": value, "tool_calls": value, "audio": value})) == 32
    assert len(message_id(ROOT, {"content": [value], "tool_calls": [value], "function_call": value})) == 32


messages = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant", "tool"]), "content": any_text}),
    max_size=6,
)


@given(messages, st.integers(0, 6))
def test_the_chain_of_a_prefix_is_the_prefix_of_the_chain(conversation: list[Any], length: int) -> None:
    assert chain(conversation[:length]) == chain(conversation)[:length]


@given(messages, st.integers(0, 5))
def test_a_change_changes_every_name_from_there_on(conversation: list[Any], place: int) -> None:
    changed = [dict(message) for message in conversation]
    if place >= len(changed):
        return
    changed[place]["content"] += "!"
    old, new = chain(conversation), chain(changed)
    assert old[:place] == new[:place]
    assert not set(old[place:]) & set(new[place:])


def test_names_are_pinned() -> None:
    """If this fails, the form has changed: raise CANONICAL_VERSION and write a migration."""
    names = chain([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}])
    assert names == PINNED
    assert toolset_id([TOOL]) == PINNED_TOOLS


PINNED = ["58f1ad344f3094a0dd0c7a8a6c1e3874", "358c483a80c5b0e7d5c23e96f9e07f05"]
PINNED_TOOLS = "363fa5388095a2c21c0111aef5ad558a"
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


def test_the_order_of_tools_does_not_count() -> None:
    other = {"type": "function", "function": {"name": "a", "strict": None}}
    assert toolset_id([TOOL, other]) == toolset_id([{"type": "function", "function": {"name": "a"}}, TOOL])
    assert [tool["function"]["name"] for tool in loads(canonical_tools([TOOL, other]))] == ["a", "f"]
    assert toolset_id([TOOL]) != toolset_id([TOOL, TOOL])


def test_no_tools_have_no_name() -> None:
    assert toolset_id(None) == toolset_id([]) == ""


@given(values)
def test_any_value_can_stand_where_tools_should(value: Any) -> None:
    assert len(toolset_id(value)) in (0, 32)
    assert len(toolset_id([value, {"function": value}, {"name": value}])) == 32
