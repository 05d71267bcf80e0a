"""Choices in the making; what whole streams make of them is in test_sse.py."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tutelage.traffic.growing import Calls, Choice, index_of, joined
from tutelage.traffic.pieces import Piece, piece


def grown(delta: str) -> Piece:
    found = piece(b'{"choices": [{"index": 0, "delta": ' + delta.encode() + b"}]}")
    assert found is not None
    return found


def test_a_piece_goes_on_with_what_has_begun_or_is_refused() -> None:
    choice = Choice()
    begun = {
        "tool_calls": [{"index": 1, "id": "a", "function": {"name": "f", "arguments": "["}}, {"index": 2, "id": "b"}]
    }
    choice.add({"index": 0, "delta": {"role": "assistant", "content": None}})
    assert not choice.grow(grown('{"tool_calls": [{"index": 1, "function": {"arguments": "x"}}]}'))
    choice.add({"index": 0, "delta": begun})
    assert choice.grow(grown('{"content": "hel"}'))
    assert choice.grow(grown('{"content": "lo"}'))
    assert choice.grow(grown('{"tool_calls": [{"index": 1, "function": {"arguments": "]"}}]}'))
    assert not choice.grow(grown('{"tool_calls": [{"index": 2, "function": {"arguments": "x"}}]}'))
    assert not choice.grow(grown('{"tool_calls": [{"index": 3, "function": {"arguments": "x"}}]}'))
    message = choice.whole(0)["message"]
    assert message["content"] == "hello"
    assert [call.get("function") for call in message["tool_calls"]] == [{"name": "f", "arguments": "[]"}, None]


def test_a_piece_says_the_same_as_the_delta_that_it_is() -> None:
    start: dict[str, Any] = {"role": "assistant", "tool_calls": [{"index": 0, "id": "a", "function": {"name": "f"}}]}
    for delta in ({"content": "x"}, {"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]}, {}):
        one, other = Choice(), Choice()
        for choice in (one, other):
            choice.add({"delta": start})
        other.add({"delta": delta})
        assert one.grow(grown(str(delta).replace("'", '"')))
        assert one.whole(0) == other.whole(0)


@given(st.lists(st.text(max_size=5), min_size=1))
def test_texts_join(texts: list[str]) -> None:
    found = None
    for text in [None, *texts, None]:
        found = joined(found, text)
    assert found == "".join(texts)


def test_lists_and_objects_join_and_anything_else_is_replaced() -> None:
    assert joined([1], [2]) == [1, 2]
    assert joined({"a": "x", "b": 1}, {"a": "y", "b": 2}) == {"a": "xy", "b": 2}
    assert joined("\ud83d", "\ude00") == "\U0001f600"


def test_no_calls_is_not_an_empty_list_of_calls() -> None:
    calls = Calls()
    assert calls.whole() is None
    calls.add([])
    assert calls.whole() == []
    assert index_of({"index": "1"}) is None
