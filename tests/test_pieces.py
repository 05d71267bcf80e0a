"""Frames that hold one piece, and those that say more."""

import json
from typing import Any

import pytest

from tutelage.traffic.pieces import piece


def frame(delta: dict[str, Any], **fields: Any) -> bytes:
    choice = {"index": 1, "delta": delta, "finish_reason": None, "logprobs": None}
    body = {"id": "c", "object": "chat.completion.chunk", "choices": [choice | fields.pop("choice", {})], "usage": None}
    return json.dumps(body | fields).encode()


def test_text_and_arguments() -> None:
    found = piece(frame({"content": "é"}, obfuscation="xx"))
    assert found is not None
    assert (found.index, found.delta.content, found.delta.tool_calls) == (1, "é", None)
    found = piece(frame({"tool_calls": [{"index": 2, "function": {"arguments": '{"'}}]}))
    assert found is not None
    assert found.delta.tool_calls is not None
    assert [(one.index, one.function.arguments) for one in found.delta.tool_calls] == [(2, '{"')]


@pytest.mark.parametrize(
    "event",
    [
        b"[DONE]",
        b"{",
        frame({"role": "assistant", "content": ""}),
        frame({"content": "x"}, usage={"total_tokens": 1}),
        frame({"content": "x"}, error={"message": "?"}),
        frame({"content": "x"}, choice={"finish_reason": "stop"}),
        frame({"content": "x"}, choice={"logprobs": {}}),
        frame({"content": "x"}, choices=[]),
        frame({"content": [1]}),
        frame({"content": "\ud800"}),
        frame({"reasoning_content": "x"}),
        frame({"tool_calls": [{"index": 0, "id": "a", "function": {"arguments": ""}}]}),
        frame({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": ""}}]}),
        frame({"tool_calls": [{"function": {"arguments": ""}}]}),
    ],
)
def test_whatever_says_more_is_left_alone(event: bytes) -> None:
    assert piece(event) is None
