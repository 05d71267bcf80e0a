"""LangChain's own conformance suite for chat models with `ChatOpenAI`, at the base URL in CONFORMANCE_URL.

No test of this project: tests/test_conformance_langchain.py runs it twice, at the teacher and at the proxy.
"""

import os
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from conformance.openai_scenarios import PIXEL
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests, chat_models  # type: ignore[import-not-found]
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

DETAILS = ["audio_input", "audio_output", "reasoning_output", "cache_read_input"]


@pytest.fixture(autouse=True)
def pictures_from_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite fetches its picture, sound and PDF from the network. Any bytes do: the teacher tells their number."""
    fetched = SimpleNamespace(content=PIXEL.encode())
    monkeypatch.setattr(chat_models, "httpx", SimpleNamespace(get=lambda *_, **__: fetched))
    monkeypatch.setattr(chat_models, "_get_base64_from_url", lambda _: PIXEL)


class Abilities(ChatModelIntegrationTests):
    """What the teacher can do. The suite wants token counts of streams, which must be asked for."""

    chat_model_class = ChatOpenAI  # type: ignore[assignment]
    supports_audio_inputs = supports_anthropic_inputs = True
    supports_json_mode = True  # type: ignore[assignment]
    supports_image_inputs = supports_image_urls = True  # type: ignore[assignment]
    supports_pdf_inputs = supports_image_tool_message = supports_pdf_tool_message = True  # type: ignore[assignment]
    model_override_value = "gpt-other"  # type: ignore[assignment]
    fields: ClassVar[dict[str, Any]] = {"stream_usage": True}

    @property
    def chat_model_params(self) -> dict[str, Any]:
        url = os.environ["CONFORMANCE_URL"]
        return {"model": "gpt-conformance", "base_url": url, "api_key": "sk-x", **self.fields}


class TestChatCompletions(Abilities):
    """`ChatOpenAI` as it comes."""

    supported_usage_metadata_details: ClassVar[dict[str, list[str]]] = {"invoke": DETAILS, "stream": DETAILS}  # type: ignore[assignment]

    def _counted(self, *, stream: bool = False) -> Any:
        return model(stream_usage=True, streaming=stream).invoke("Count with all details")

    invoke_with_audio_input = invoke_with_audio_output = _counted
    invoke_with_reasoning_output = invoke_with_cache_read_input = _counted


class TestResponses(Abilities):
    """`ChatOpenAI` on `/v1/responses`, which it takes by itself for some models and tools."""

    fields: ClassVar[dict[str, Any]] = {"use_responses_api": True}


def model(**fields: Any) -> BaseChatModel:
    return ChatOpenAI(model="gpt-conformance", base_url=os.environ["CONFORMANCE_URL"], api_key="sk-x", **fields)  # type: ignore[arg-type]


def test_streams_without_counts_show_none() -> None:
    chunks = list(model().stream("Hello"))
    assert len(chunks) > 3
    assert all(not chunk.usage_metadata for chunk in chunks)


def test_response_headers_are_there() -> None:
    answer = model(include_response_headers=True).invoke("Hello")
    assert answer.response_metadata["headers"]["x-ratelimit-limit-requests"] == "500"


@tool
def weather(city: str) -> str:
    """Tell the weather."""
    return f"rain in {city}"


@pytest.mark.parametrize("streaming", [False, True])
async def test_an_agent_in_langgraph(streaming: bool) -> None:
    thinking = model(streaming=streaming).bind_tools([weather])

    async def think(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await thinking.ainvoke(state["messages"])]}

    graph = StateGraph(MessagesState).add_node("think", think).add_node("tools", ToolNode([weather]))
    graph.add_edge(START, "think").add_conditional_edges("think", tools_condition).add_edge("tools", "think")
    asked: Any = {"messages": [HumanMessage("Tell for each of Oslo, 東京.")]}
    told: Any = [chunk async for chunk in graph.compile().astream(asked, stream_mode="messages")]
    results = [message.content for message, _ in told if isinstance(message, ToolMessage)]
    assert sorted(results) == ["rain in city of Oslo", "rain in city of 東京"]
    said = "".join(str(message.content) for message, _ in told if not isinstance(message, ToolMessage))
    assert "rain in city of Oslo" in said
