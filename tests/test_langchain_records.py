"""LangChain's calls in OpenAI's form: what `ChatOpenAI` would have sent and got."""

from typing import Any

import pytest
from langchain_core.messages import AIMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, Generation, LLMResult
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from tutelage.plugins.langchain_records import Untranslatable, answer_id, finish_of, message_of, request_of, response_of


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return city


ANTHROPIC_TOOL = {"name": "weather", "description": "d", "input_schema": {"type": "object", "properties": {}}}
CALL: Any = {"name": "weather", "args": {"city": "Rome"}, "id": "call_1", "type": "tool_call"}
MESSAGES = [
    SystemMessage("Be kind."),
    HumanMessage("weather? ☃"),
    AIMessage("", tool_calls=[CALL]),
    ToolMessage("sunny", tool_call_id="call_1", status="error"),
    AIMessage("It is sunny.", name="met"),
]


def test_a_request_is_what_chat_openai_sends() -> None:
    model = ChatOpenAI(model="gpt-5-mini", api_key=SecretStr("x"), temperature=0.5, max_retries=0)
    bound: Any = model.bind_tools([weather], tool_choice="weather", parallel_tool_calls=False)
    payload = model._get_request_payload(MESSAGES, **bound.kwargs)
    invocation = model._get_invocation_params(**bound.kwargs)
    made = request_of(MESSAGES, invocation, {})
    assert made == {name: value for name, value in payload.items() if name not in ("stream",)}


def test_other_providers_words_are_translated() -> None:
    invocation = {
        "model_name": "claude-5",
        "tools": [ANTHROPIC_TOOL],
        "tool_choice": {"type": "any"},
        "max_tokens": 50,
        "_type": "anthropic-chat",
        "thinking": {"type": "enabled"},
    }
    content: Any = [
        {"type": "text", "text": "Let me look."},
        {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Rome"}},
    ]
    made = request_of([AIMessage(content, tool_calls=[CALL])], invocation, {})
    assert (made["model"], made["max_tokens"], made["tool_choice"]) == ("claude-5", 50, "required")
    assert made["tools"][0]["function"]["name"] == "weather"
    assert made["messages"][0]["content"] == "Let me look."
    assert made["messages"][0]["tool_calls"][0]["function"]["name"] == "weather"
    assert set(made) == {"model", "messages", "tools", "tool_choice", "max_tokens"}
    named = {**invocation, "tool_choice": {"type": "tool", "name": "weather"}}
    assert request_of(MESSAGES, named, {})["tool_choice"]["function"] == {"name": "weather"}
    assert request_of(MESSAGES, {**invocation, "tool_choice": "any"}, {})["tool_choice"] == "required"
    assert request_of(MESSAGES, {}, {"ls_model_name": "m"})["model"] == "m"


@pytest.mark.parametrize(
    "invocation", [{"tools": [{"googleSearch": {}}]}, {"tools": [weather], "tool_choice": {"mode": "ANY"}}]
)
def test_what_has_no_equivalent_is_not_recorded(invocation: dict[str, Any]) -> None:
    with pytest.raises(Untranslatable):
        request_of(MESSAGES, invocation, {})


def result(*messages: AIMessage) -> LLMResult:
    return LLMResult(generations=[[ChatGeneration(message=message) for message in messages]])


def test_an_answer_has_message_reason_and_usage() -> None:
    usage: Any = {
        "input_tokens": 10,
        "output_tokens": 4,
        "total_tokens": 14,
        "input_token_details": {"cache_read": 8},
        "output_token_details": {"reasoning": 2},
    }
    metadata = {"id": "chatcmpl-1", "model_name": "gpt-5-mini-0101", "finish_reason": "tool_calls"}
    answer = AIMessage("", tool_calls=[CALL], usage_metadata=usage, response_metadata=metadata, name="met")
    body = response_of(result(answer, AIMessage("other")))
    assert (body["id"], body["model"], len(body["choices"])) == ("chatcmpl-1", "gpt-5-mini-0101", 2)
    choice = body["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"] == {key: value for key, value in message_of(answer).items() if key != "name"}
    assert body["usage"] == {
        "prompt_tokens": 10,
        "completion_tokens": 4,
        "total_tokens": 14,
        "prompt_tokens_details": {"cached_tokens": 8},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }


def test_what_nobody_said_is_left_out() -> None:
    body = response_of(result(AIMessage("hello", id="lc_run--1")))
    assert body["id"] is None
    assert "usage" not in body
    assert body["choices"][0]["finish_reason"] == "stop"
    assert answer_id(AIMessage("x", id="chatcmpl-7")) == "chatcmpl-7"
    assert answer_id(AIMessage("x", id="run-7")) == ""


@pytest.mark.parametrize("empty", [LLMResult(generations=[]), LLMResult(generations=[[Generation(text="x")]])])
def test_no_message_is_no_answer(empty: LLMResult) -> None:
    with pytest.raises(Untranslatable, match="without a message"):
        response_of(empty)


@pytest.mark.parametrize(
    ("said", "finish"),
    [
        ({"finish_reason": "stop"}, "stop"),
        ({"stop_reason": "end_turn"}, "stop"),
        ({"stop_reason": "max_tokens"}, "length"),
        ({"stop_reason": "tool_use"}, "tool_calls"),
        ({"finish_reason": "SAFETY"}, "safety"),
        ({"done_reason": "stop"}, "stop"),
        ({}, ""),
    ],
)
def test_reasons_are_openai_s(said: dict[str, Any], finish: str) -> None:
    assert finish_of(AIMessage("x", response_metadata=said)) == finish


def test_odd_messages_are_kept_or_refused_but_never_break() -> None:
    assert message_of(ChatMessage(content="x", role="critic"))["content"] == "x"
    odd: Any = [{"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}, "text"]
    assert message_of(HumanMessage(odd))["role"] == "user"
