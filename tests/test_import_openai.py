"""Stored completions with the messages that they answer."""

from typing import Any

import pytest

from tutelage.traffic.import_openai import looks_like, read
from tutelage.traffic.imported import Exchange, Skip

USER, HELLO = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}
ROW: dict[str, Any] = {
    "object": "chat.completion",
    "id": "chatcmpl-1",
    "created": 1_800_000_000,
    "model": "gpt-x-2026",
    "choices": [{"index": 0, "message": {**HELLO, "tool_calls": None}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12},
    "temperature": 0.5,
    "tools": None,
    "metadata": {},
    "messages": [{"id": "chatcmpl-1-0", **USER, "content_parts": None}],
}


@pytest.mark.parametrize(
    "given",
    [
        {"messages": ROW["messages"]},
        {"messages": {"object": "list", "data": ROW["messages"], "has_more": False}},
        {"messages": None, "input": [USER]},
        {"messages": [{"role": "user", "content": None, "content_parts": "hi"}]},
    ],
)
def test_a_stored_completion(given: dict[str, Any]) -> None:
    row = {name: value for name, value in {**ROW, **given}.items() if name != "messages" or value}
    assert looks_like(row)
    [call] = read(row)
    assert isinstance(call, Exchange)
    assert call.request == {"model": "gpt-x-2026", "temperature": 0.5, "messages": [USER]}
    assert (call.answer, call.key, call.upstream_id, call.at) == (HELLO, "chatcmpl-1", "chatcmpl-1", 1.8e9)
    assert call.usage == ROW["usage"]


def test_an_answer_without_its_input_is_left_out_and_says_what_to_do() -> None:
    [skip] = read({name: value for name, value in ROW.items() if name != "messages"})
    assert isinstance(skip, Skip)
    assert "/messages" in skip.reason
