"""Calls as LiteLLM's callbacks tell them, as records; the real LiteLLM tells them in tests/test_litellm_logger.py."""

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.plugins.litellm_logger_records import PROXIED, logged_of
from tutelage.proxy.intake_form import record_in
from tutelage.traffic.imported import Skip

Json = dict[str, Any]
TOOL: Json = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
ASKED: list[Json] = [{"role": "user", "content": "hello"}]


def told(body: Json | None = None, headers: Json | None = None, litellm: Json | None = None, **payload: Any) -> Json:
    """The `kwargs` of a callback; with a body, LiteLLM's proxy was asked."""
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7, "cost": 0.1, "prompt_tokens_details": None}
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi", "audio": None}}
    known = {
        "id": "chatcmpl-1",
        "litellm_call_id": "c-1",
        "call_type": "acompletion",
        "status": "success",
        "model": "openai/gpt-x",
        "messages": ASKED,
        "model_parameters": {"temperature": 0.5, "stream": True, "api_base": "http://x", "extra_headers": {"k": "v"}},
        "response": {"id": "chatcmpl-1", "model": "gpt-x-1", "choices": [choice], "usage": usage},
        "startTime": 1_800_000_000.5,
        "endTime": 1_800_000_001.5,
        "completionStartTime": 1_800_000_001.0,
    }
    request = {"proxy_server_request": {"body": body, "headers": headers or {}}} if body is not None else {}
    return {"standard_logging_object": known | payload, "litellm_params": request | (litellm or {})}


def record(said: Json) -> Json:
    found = logged_of(said)
    assert not isinstance(found, Skip), found
    record_in(msgspec.json.encode(found), "someone", "plugin:litellm")  # the intake takes it
    return found


def test_a_call_of_the_library() -> None:
    found = record(told())
    assert found["request"] == {"model": "openai/gpt-x", "temperature": 0.5, "messages": ASKED}
    assert found["response"]["choices"][0]["message"] == {"role": "assistant", "content": "hi"}
    assert found["response"]["usage"] == {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    assert (found["id"], found["started_at"], found["status"]) == ("c-1", 1_800_000_000.5, 200)
    assert (found["latency_ms"], found["first_byte_ms"]) == (1000.0, 500.0)


def test_a_call_of_the_proxy_is_what_the_agent_sent() -> None:
    echoed = {"role": "assistant", "content": "x", "provider_specific_fields": {"refusal": None}}
    body = {
        "model": "desk",
        "messages": [*ASKED, echoed],
        "tools": [TOOL],
        "tool_choice": "auto",
        "api_key": "sk-secret",
    }
    headers = {"X-Tutelage-Trajectory": "run 1", "x-tutelage-parent": "run 0", "x-tutelage-pattern": "désk"}
    metadata = {"requester_metadata": {"order": "17", "headers": {"cookie": "c"}}, "user_api_key_hash": "h"}
    found = record(told(body, headers, {"litellm_session_id": "thread 7"}, metadata=metadata))
    messages = [*ASKED, {"role": "assistant", "content": "x"}]
    asked = {"model": "desk", "messages": messages, "tools": [TOOL], "tool_choice": "auto", "metadata": {"order": "17"}}
    assert found["request"] == asked
    names = [found[name] for name in ("trajectory", "parent", "conversation", "pattern")]
    assert names == ["run 1", "run 0", "thread 7", "d%C3%A9sk"]


def test_metadata_that_names_the_conversation_wins_over_litellm_s_session() -> None:
    metadata = {"requester_metadata": {"tutelage_conversation": "mine", "session_id": "s"}}
    found = record(told({"messages": ASKED}, metadata=metadata))
    assert found["conversation"] == ""
    assert found["request"]["metadata"]["tutelage_conversation"] == "mine"
    assert (
        record(told({"messages": ASKED}, metadata={"requester_metadata": {"session_id": "s"}}))["conversation"] == "s"
    )


def test_a_failure_keeps_status_and_reason() -> None:
    information = {"error_code": "429", "error_message": "slow down"}
    found = record(told(status="failure", response=None, error_str="slow down", error_information=information))
    assert (found["status"], found["error"], "response" in found) == (429, "slow down", False)
    found = record(told(status="failure", response=None, error_str=None))
    assert (found["status"], found["error"]) == (500, "no_answer_recorded")


ANTHROPIC_TOOL = {"name": "f", "input_schema": {}}


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({}, "no standard logging payload"),
        (told(call_type="aembedding"), "no chat completion"),
        (told(messages=None), "no messages"),
        (told(messages=[{"role": "user", "content": "redacted-by-litellm"}]), "redacted"),
        (told({"messages": ASKED}, messages=[{"role": "user", "content": "redacted-by-litellm"}]), "redacted"),
        (told(model_parameters={"tools": [ANTHROPIC_TOOL]}), "tools are no functions"),
    ],
)
def test_what_is_not_recorded_and_why(said: Json, words: str) -> None:
    found = logged_of(said)
    assert isinstance(found, Skip)
    assert words in found.reason


def test_a_call_that_went_through_tutelage_is_recorded_once() -> None:
    headers = {"additional_headers": {"llm_provider-x-tutelage-call-id": "0199"}}
    assert logged_of(told(), SimpleNamespace(_hidden_params=headers)) is PROXIED
    assert logged_of(told(hidden_params=headers)) is PROXIED


anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
payload = st.dictionaries(st.sampled_from(sorted(told()["standard_logging_object"])), anything, max_size=4)


@given(payload, anything, anything)
def test_odd_payloads_give_a_record_or_a_reason(odd: Json, body: Any, metadata: Any) -> None:
    found = logged_of(told(body, None, {"metadata": metadata}, **odd, metadata=metadata))
    assert isinstance(found, Skip | dict)
