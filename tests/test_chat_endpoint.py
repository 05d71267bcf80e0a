"""The contract with servers that know chats only: what is asked, what is dropped, how their errors are told."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tutelage.serving.chat_endpoint import ChatEndpoint, Refusal
from tutelage.serving.engine import ContextTooLong, EngineError
from tutelage.serving.schedule import QueueFull
from tutelage.traffic.errors import BadInput, TutelageError
from tutelage.traffic.sse import frames_of

BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
MESSAGE = {"role": "assistant", "content": "Hello."}
WHOLE: dict[str, Any] = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": MESSAGE, "logprobs": None, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}


def streamed(completion: dict[str, Any] = WHOLE, **headers: str) -> httpx.Response:
    content = b"".join(frames_of(completion, include_usage=True))
    return httpx.Response(200, content=content, headers={"content-type": "text/event-stream", **headers})


def refused(status: int, message: str) -> httpx.Response:
    return httpx.Response(status, json={"error": {"message": message}})


class Script(httpx.BaseTransport):
    """Answers with `act`, and notes the bodies of what it was asked."""

    def __init__(self, act: Callable[[dict[str, Any]], httpx.Response]) -> None:
        self.act, self.asked, self.keys = act, [], set[str]()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.keys.add(request.headers.get("authorization", ""))
        body = json.loads(request.read() or b"{}")
        self.asked.append(body)
        return self.act(body)


def endpoint(act: Callable[[dict[str, Any]], httpx.Response], **options: Any) -> tuple[ChatEndpoint, Script]:
    script = Script(act)
    return ChatEndpoint("http://chat.test/v1/", transport=script, **options), script


def test_a_stream_is_put_together_and_what_a_server_refuses_is_not_asked_for_again() -> None:
    def act(body: dict[str, Any]) -> httpx.Response:
        return refused(400, "A student does not know `logprobs`.") if "logprobs" in body else streamed()

    one, script = endpoint(act, key="k")
    for _ in range(2):
        made = one.complete(BODY)
        assert made is not None
        assert made.body["choices"][0]["message"] == MESSAGE
        assert made.body["usage"]["completion_tokens"] == 2
        assert made.score is None
    assert ["logprobs" in body for body in script.asked] == [True, False, False]
    assert all(body["stream"] and body["model"] == "m" for body in script.asked)
    assert script.keys == {"Bearer k"}


def test_logprobs_and_scores_are_kept_where_they_come() -> None:
    told = {"content": [{"token": "Hello", "logprob": -0.5}, {"token": ".", "logprob": -1.5}]}
    choice = {**WHOLE["choices"][0], "logprobs": told}
    one, _ = endpoint(lambda body: streamed({**WHOLE, "choices": [choice]}, **{"x-tutelage-confidence": "-0.25"}))
    made = one.complete(BODY)
    assert made is not None
    assert (made.body["choices"][0]["logprobs"], made.score) == (told, -0.25)


def test_a_server_without_streams_answers_in_one_piece() -> None:
    one, _ = endpoint(lambda body: httpx.Response(200, json=WHOLE))
    made = one.complete(BODY)
    assert made is not None
    assert made.body == WHOLE


def test_who_stops_gets_nothing() -> None:
    one, _ = endpoint(lambda body: streamed())
    assert one.complete(BODY, lambda: True) is None


@pytest.mark.parametrize(
    ("response", "kind", "said"),
    [
        (refused(400, "m does not support tools"), Refusal, "400: m does not support tools"),
        (refused(429, "busy"), QueueFull, "busy"),
        (refused(400, "This model's maximum Context Length is 5"), ContextTooLong, "Context Length"),
        (httpx.Response(502, text="Bad gateway"), Refusal, "502: Bad gateway"),
        (httpx.Response(500, json={"error": "out of memory"}), Refusal, "500: out of memory"),
        (httpx.Response(200, text="<html>"), EngineError, "no chat completion: b'<html>'"),
        (httpx.Response(200, json={"choices": []}), EngineError, "no chat completion"),
        (httpx.Response(200, json={"error": {"message": "torn"}}), EngineError, "torn"),
        (streamed({**WHOLE, "choices": [{**WHOLE["choices"][0], "finish_reason": None}]}), EngineError, "ended before"),
    ],
)
def test_errors_are_told_as_what_they_are(response: httpx.Response, kind: type[Exception], said: str) -> None:
    one, _ = endpoint(lambda body: response)
    with pytest.raises(kind, match=said):
        one.complete(BODY)


def test_a_server_that_is_gone_or_closed_is_an_error_of_the_engine() -> None:
    def down(body: dict[str, Any]) -> httpx.Response:
        raise httpx.ConnectError("refused")

    one, _ = endpoint(down)
    with pytest.raises(EngineError, match="broke off: refused"):
        one.complete(BODY)
    with pytest.raises(TutelageError, match="does not answer: refused"):
        one.require([])
    one.close()
    with pytest.raises(EngineError, match="broke off"):
        one.complete(BODY)


def test_only_models_that_the_server_has_are_served() -> None:
    listed = httpx.Response(200, json={"data": [{"id": "desk:latest"}, {"id": "lamp-1"}]})
    one, _ = endpoint(lambda body: listed, models={"lamp@1": "lamp-1"})
    one.require(["lamp@1", "desk"])
    assert (one.model_of("lamp@1"), one.model_of("desk")) == ("lamp-1", "desk")
    with pytest.raises(BadInput, match=r"has no model 'desk@2'. It has: desk:latest, lamp-1. Say in serving"):
        one.require(["desk@2"])
    for response in (httpx.Response(404), httpx.Response(200, text="none")):
        endpoint(lambda body, response=response: response)[0].require(["any"])
    with pytest.raises(TutelageError, match="refuses: 401: no key"):
        endpoint(lambda body: refused(401, "no key"))[0].require([])
