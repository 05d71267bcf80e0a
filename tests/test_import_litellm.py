"""LiteLLM's payloads, as its loggers write them."""

from typing import Any

import pytest

from tutelage.traffic.errors import BadInput
from tutelage.traffic.import_litellm import looks_like, read
from tutelage.traffic.imported import Exchange, Skip

USER, HELLO = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}
ROW: dict[str, Any] = {
    "id": "chatcmpl-1",
    "trace_id": "trace",
    "litellm_call_id": "call",
    "call_type": "acompletion",
    "status": "success",
    "startTime": 1_800_000_000.0,
    "endTime": 1_800_000_002.0,
    "completionStartTime": 1_800_000_001.0,
    "model": "gpt-x-2026",
    "model_group": "gpt-x",
    "model_parameters": {"temperature": 0.5, "tools": [{"type": "function", "function": {"name": "f"}}], "stop": None},
    "messages": [USER],
    "response": {
        "id": "chatcmpl-1",
        "model": "gpt-x-2026",
        "choices": [{"finish_reason": "stop", "message": {**HELLO, "tool_calls": None}}],
    },
    "prompt_tokens": 10,
    "completion_tokens": 2,
}


def test_a_payload() -> None:
    assert looks_like(ROW)
    [call] = read(ROW)
    assert isinstance(call, Exchange)
    assert call.request == {
        "model": "gpt-x",
        "temperature": 0.5,
        "tools": ROW["model_parameters"]["tools"],
        "messages": [USER],
    }
    assert (call.answer, call.key, call.at, call.status) == (HELLO, "chatcmpl-1", 1.8e9, 200)
    assert (call.latency_ms, call.first_byte_ms, call.finish_reason) == (2_000.0, 1_000.0, "stop")
    assert call.usage["total_tokens"] == 12
    assert (call.model, call.session) == ("gpt-x-2026", "trace")


@pytest.mark.parametrize(("code", "status"), [("429", 429), ("x", 500), (None, 500), ("99", 500)])
def test_a_failure(code: Any, status: int) -> None:
    row = {
        **ROW,
        "status": "failure",
        "response": None,
        "error_str": "slow down",
        "error_information": {"error_code": code},
    }
    [call] = read(row)
    assert isinstance(call, Exchange)
    assert (call.answer, call.status, call.error) == (None, status, "slow down")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"call_type": "aembedding"}, "a aembedding, which is no chat completion"),
        ({"messages": [{"role": "user", "content": "redacted-by-litellm"}]}, "redacted"),
    ],
)
def test_what_is_left_out(change: dict[str, Any], words: str) -> None:
    [skip] = read({**ROW, **change})
    assert isinstance(skip, Skip)
    assert words in skip.reason


def test_without_messages() -> None:
    with pytest.raises(BadInput, match="no messages"):
        list(read({**ROW, "messages": None}))
