"""The bridge's HTTP side with an engine that is passed in; the real one is tried in tests/test_litellm_teacher.py."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import BaseModel

from tutelage.plugins.litellm_bridge import Bridge
from tutelage.plugins.litellm_options import BridgeModel, BridgeOptions

NAME = "anthropic/claude-x"
OPTIONS = BridgeOptions((BridgeModel(NAME, "http://claude.test", "CLAUDE_KEY"), BridgeModel("a/b")), key_env="BRIDGE")
ENVIRON = {"BRIDGE": "bridge-key", "CLAUDE_KEY": "claude-key-1234 "}


class Response(BaseModel, extra="allow"):
    """Any answer of LiteLLM."""


class Parts:
    """A stream of LiteLLM: parts, and exceptions to be raised in their place."""

    def __init__(self, *parts: dict[str, Any] | Exception) -> None:
        self._parts, self.closed = parts, False
        self._hidden_params = {"additional_headers": {"llm_provider-request-id": "req_9"}}

    async def __aiter__(self) -> AsyncIterator[Response]:
        for part in self._parts:
            if isinstance(part, Exception):
                raise part
            yield Response.model_validate(part)

    async def aclose(self) -> None:
        self.closed = True


class Engine:
    """Answers with `made`, or raises it; keeps what it was asked."""

    def __init__(self, made: Any = None) -> None:
        self.made, self.asked, self.cancelled = made, {}, False

    async def acompletion(self, **arguments: Any) -> Any:
        self.asked = arguments
        try:
            if self.made is None:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        if isinstance(self.made, Exception):
            raise self.made
        return self.made

    aembedding = acompletion


async def call(
    engine: Engine, method: str, path: str, body: Any = None, key: str = "bridge-key", leave: bool = False
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of one request; status 0 where nothing was answered."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    events = [{"type": "http.request", "body": raw[:5], "more_body": True}, {"type": "http.request", "body": raw[5:]}]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if events:
            return events.pop(0)
        if not leave:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def send(event: dict[str, Any]) -> None:
        sent.append(event)

    scope = {"type": "http", "method": method, "path": path, "headers": [(b"authorization", f"Bearer {key}".encode())]}
    await Bridge(OPTIONS, engine, ENVIRON)(scope, receive, send)
    if not sent:
        return 0, {}, b""
    assert [event.get("more_body") for event in sent[1:]][-1] is False
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, b"".join(event["body"] for event in sent[1:])


def chat(engine: Engine, **body: Any) -> tuple[int, dict[str, str], bytes]:
    body = {"model": NAME, "messages": [{"role": "user", "content": "hi"}], **body}
    return asyncio.run(call(engine, "POST", "/v1/chat/completions", body))


def test_an_answer_and_what_was_asked() -> None:
    engine = Engine(Response.model_validate({"id": "i", "choices": [{"message": {"role": "assistant"}}]}))
    status, headers, body = chat(engine, temperature=0)
    assert (status, headers["content-type"]) == (200, "application/json")
    assert json.loads(body)["choices"][0]["message"]["content"] is None
    assert engine.asked == {
        "model": NAME,
        "messages": [{"role": "user", "content": "hi"}],
        "temperature": 0,
        "api_base": "http://claude.test",
        "api_key": "claude-key-1234",
        "timeout": 600.0,
        "max_retries": 0,
        "drop_params": False,
        "_skip_mcp_handler": True,
    }


def test_a_model_without_a_key_variable_leaves_the_key_to_litellm() -> None:
    engine = Engine(Response.model_validate({"choices": []}))
    assert chat(engine, model="a/b")[0] == 200
    assert "api_key" not in engine.asked
    assert "api_base" not in engine.asked


def test_a_stream() -> None:
    parts = Parts(
        {"id": "i", "model": "claude-x", "choices": [{"index": 0, "delta": {"content": "a"}}]},
        {"id": "i", "model": "other", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"id": "i", "choices": [{"index": 0, "delta": {}}], "usage": {"total_tokens": 3}},
    )
    status, headers, body = chat(Engine(parts), stream=True)
    assert status == 200
    assert headers["content-type"].startswith("text/event-stream")
    assert headers["x-request-id"] == "req_9"
    frames = body.decode().split("\n\n")
    assert frames[-2:] == ["data: [DONE]", ""]
    events = [json.loads(frame.removeprefix("data: ")) for frame in frames[:-2]]
    assert [event["model"] for event in events] == ["claude-x"] * 3
    assert events[-1]["choices"] == []
    assert parts.closed


class Overloaded(Exception):
    status_code, message = 529, "no room for claude-key-1234"


def test_a_stream_that_fails_at_once_has_a_status() -> None:
    parts = Parts(Overloaded())
    status, headers, body = chat(Engine(parts), stream=True)
    assert (status, headers["content-type"]) == (529, "application/json")
    assert json.loads(body)["error"]["message"] == "no room for ***"
    assert parts.closed


def test_a_stream_that_fails_later_ends_with_an_error_event() -> None:
    parts = Parts({"id": "i", "choices": [{"index": 0, "delta": {"content": "a"}}]}, Overloaded())
    status, _, body = chat(Engine(parts), stream=True)
    assert status == 200
    assert json.loads(body.decode().split("\n\n")[1].removeprefix("data: "))["error"]["message"].startswith("no room")
    assert b"[DONE]" not in body


@pytest.mark.parametrize("stream", [False, True])
def test_who_hangs_up_ends_the_call(stream: bool) -> None:
    engine = Engine()
    body = {"model": NAME, "messages": [], "stream": stream}
    assert asyncio.run(call(engine, "POST", "/v1/chat/completions", body, leave=True))[0] == 0
    assert engine.cancelled


def test_embeddings() -> None:
    engine = Engine(Response.model_validate({"data": [{"embedding": [1.0]}]}))
    body = {"model": NAME, "input": "a", "encoding_format": "float"}
    status, _, made = asyncio.run(call(engine, "POST", "/v1/embeddings", body))
    assert (status, json.loads(made)["data"][0]["embedding"]) == (200, [1.0])
    assert engine.asked["input"] == "a"


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"{", 400, "JSON"),
        ([], 400, "JSON object"),
        ({"messages": []}, 400, "`model`"),
        ({"model": "gpt-5"}, 404, NAME),
        ({"model": NAME, "api_base": "http://evil.test"}, 400, "api_base"),
    ],
)
def test_requests_that_cannot_be_asked(body: Any, status: int, words: str) -> None:
    engine = Engine()
    got, _, text = asyncio.run(call(engine, "POST", "/v1/chat/completions", body))
    assert got == status
    assert words in json.loads(text)["error"]["message"]
    assert engine.asked == {}


def test_other_paths() -> None:
    assert asyncio.run(call(Engine(), "POST", "/v1/responses", {}))[0] == 404
    status, _, body = asyncio.run(call(Engine(), "GET", "/v1/models"))
    assert (status, [model["id"] for model in json.loads(body)["data"]]) == (200, [NAME, "a/b"])


def test_without_the_key_only_health_answers() -> None:
    assert asyncio.run(call(Engine(), "GET", "/health", key=""))[0] == 200
    for key in ("", "guess", "bridge-key-and-more", "ключ".encode().decode("latin-1")):
        assert asyncio.run(call(Engine(), "GET", "/v1/models", key=key))[0] == 401


def test_a_fault_of_its_own_is_no_silence() -> None:
    status, _, body = chat(Engine(object()))
    assert (status, json.loads(body)["error"]["code"]) == (500, "upstream_error")
