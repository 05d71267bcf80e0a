"""The chat model behind the proxy: its settings, and that names reach the request whatever the client library is."""

import json
from typing import Any

import httpx
import openai
import pytest
from langchain_openai import ChatOpenAI

from tutelage.plugins.langchain_model import chat_model
from tutelage.plugins.tags import CURRENT, Announced, Tag

BASE: Any = openai.DefaultHttpxClient.__mro__[2]
FAMILY: Any = __import__(BASE.__module__.partition(".")[0])
"""httpx or httpx2, whichever the client library needs."""
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
}


def test_it_is_set_up_for_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUTELAGE_URL", "http://desk.test:8400")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-agent")
    model = chat_model("gpt-5-mini", max_retries=5)
    assert isinstance(model, ChatOpenAI)
    assert (model.model_name, model.openai_api_base) == ("gpt-5-mini", "http://desk.test:8400/v1")
    assert (model.stream_usage, model.include_response_headers, model.use_responses_api) == (True, True, False)
    assert model.max_retries == 5
    assert chat_model("m", stream_usage=False, base_url="http://x.test/v1").stream_usage is False


def test_an_odd_address_is_said_at_once() -> None:
    with pytest.raises(ValueError, match="address of a Tutelage server"):
        chat_model("m", server="desk")


def test_names_reach_the_request_through_a_client_of_ones_own() -> None:
    seen: list[Any] = []

    def answer(request: Any) -> Any:
        seen.append(request)
        return FAMILY.Response(200, content=json.dumps(ANSWER).encode(), headers={"content-type": "application/json"})

    own = FAMILY.Client(transport=FAMILY.MockTransport(answer))
    model = chat_model("m", server="http://desk.test", api_key="k", http_client=own)
    CURRENT.set(Announced(Tag("run", pattern="desk")))
    try:
        assert model.invoke("hello").content == "hi"
    finally:
        CURRENT.set(None)
    assert model.invoke("hello").content == "hi"
    tagged, other = (httpx.Headers(dict(request.headers)) for request in seen)
    assert (tagged["x-tutelage-trajectory"], tagged["x-tutelage-pattern"]) == ("run", "desk")
    assert "x-tutelage-trajectory" not in other
    assert tagged["authorization"] == "Bearer k"
