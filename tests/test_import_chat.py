"""Conversations as for fine-tuning, and pairs of a request and its response."""

from typing import Any

import pytest

from tutelage.traffic.errors import BadInput
from tutelage.traffic.import_chat import looks_like, read
from tutelage.traffic.imported import Exchange, Skip

USER, HELLO = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}
THANKS, BYE = {"role": "user", "content": "thanks"}, {"role": "assistant", "content": "bye"}
BODY = {"id": "c1", "model": "m-1", "created": 7, "choices": [{"message": HELLO, "finish_reason": "length"}]}


def test_each_answer_of_a_conversation_is_a_call() -> None:
    noted = {"id": "k", "created": 100, "label": 1}
    row: dict[str, Any] = {"messages": [USER, HELLO, THANKS, BYE], "tools": [{"x": 1}], **noted}
    assert looks_like(row)
    first, second = [call for call in read(row) if isinstance(call, Exchange)]
    assert first.request == {"tools": [{"x": 1}], "messages": [USER]}
    assert second.request["messages"] == [USER, HELLO, THANKS]
    assert (first.answer, second.answer) == (HELLO, BYE)
    assert (first.key, second.key, first.at, second.at) == ("k/0", "k/1", 100.0, 101.0)


@pytest.mark.parametrize(
    "row",
    [
        {"request": {"model": "m", "messages": [USER]}, "response": BODY},
        {"messages": [USER], "model": "m", "response": BODY},
    ],
)
def test_a_pair(row: dict[str, Any]) -> None:
    assert looks_like(row)
    [call] = read(row)
    assert isinstance(call, Exchange)
    assert call.request == {"model": "m", "messages": [USER]}
    assert (call.answer, call.finish_reason, call.model, call.at) == (HELLO, "length", "m-1", 7.0)


def test_a_failed_pair() -> None:
    [call] = read({"request": {"messages": [USER]}, "response": {"error": {"message": "no"}}})
    assert isinstance(call, Exchange)
    assert (call.answer, call.status, call.error) == (None, 500, "no")


def test_what_is_left_out() -> None:
    [skip] = read({"messages": [USER]})
    assert isinstance(skip, Skip)
    with pytest.raises(BadInput):
        list(read({"messages": "[1]"}))
