"""A student behind a chat server: what it is asked, and that nothing invalid comes through."""

import asyncio
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from test_chat_endpoint import WHOLE, endpoint, refused, streamed

from tutelage.serving.chat_endpoint import ChatEndpoint, Refusal
from tutelage.serving.chat_student import ChatStudent, turns_of
from tutelage.serving.engine import Sampling
from tutelage.serving.options import ServingOptions
from tutelage.serving.pool import Pool
from tutelage.serving.render import InvalidOutput, prompt_segments
from tutelage.serving.sag import Undecided, Voting
from tutelage.serving.server import StudentServer
from tutelage.serving.student import Cancelled
from tutelage.traffic.calibration import Calibration
from tutelage.traffic.errors import BadInput
from tutelage.traffic.students import Manifest, PromptSpec

ROOM = {"type": "object", "properties": {"room": {"enum": ["hall"]}}, "required": ["room"]}
LIGHT = {"type": "function", "function": {"name": "light", "parameters": ROOM}}
DOOR = {"type": "function", "function": {"name": "door", "parameters": {"type": "object"}}}
MESSAGES = [{"role": "system", "content": "You keep a house."}, {"role": "user", "content": "Light!"}]
REQUEST: dict[str, Any] = {"model": "desk", "messages": MESSAGES, "tools": [LIGHT, DOOR]}
TEXT = '<tool_call>{"name":"light","arguments":{"room":"hall"}}</tool_call>'


def says(content: str | None, *calls: tuple[str, Any], finish: str = "stop", logprobs: Any = None) -> dict[str, Any]:
    wire = [{"type": "function", "function": {"name": name, "arguments": arguments}} for name, arguments in calls]
    message = {"role": "assistant", "content": content, **({"tool_calls": wire} if wire else {})}
    return {**WHOLE, "choices": [{"index": 0, "message": message, "logprobs": logprobs, "finish_reason": finish}]}


def student(act: Callable[[dict[str, Any]], httpx.Response], manifest: Manifest | None = None) -> tuple[Any, Any]:
    one, script = endpoint(act, models={"desk": "desk:1b"})
    return ChatStudent("desk", one, 64, manifest), script


def whole(completion: dict[str, Any]) -> Callable[[dict[str, Any]], httpx.Response]:
    return lambda body: httpx.Response(200, json=completion)


def version(**more: Any) -> Manifest:
    given = {"version": "desk@1", "name": "desk", "status": "candidate", "agent_id": "a", "pattern_ids": ["p"]}
    made = {"created_at": 1.0, "snapshot_at": 1.0, "base": "b", "base_digest": "0", "data_digest": "0"}
    return Manifest(**{**given, **made, "prompt": PromptSpec(), **more})


def test_a_chat_is_passed_on_with_its_tools() -> None:
    one, script = student(whole(says(None, ("light", '{"room":"hall"}'))))
    answer = one.answer({**REQUEST, "tool_choice": {"type": "function", "function": {"name": "light"}}, "stop": "END"})
    assert answer.message["tool_calls"][0]["function"] == {"name": "light", "arguments": '{"room":"hall"}'}
    assert (answer.finish, answer.usage["completion_tokens"]) == ("tool_calls", 2)
    assert math.isnan(answer.score)
    [asked] = script.asked
    assert {name: asked[name] for name in ("model", "messages", "tools", "tool_choice", "stop", "max_tokens")} == {
        "model": "desk:1b",
        "messages": MESSAGES,
        "tools": [LIGHT],
        "tool_choice": "required",
        "stop": ["END"],
        "max_tokens": 64,
    }
    assert asked["temperature"] == 0


@pytest.mark.parametrize(
    ("completion", "reason"),
    [
        (says(None, ("light", '{"room":"attic"}')), "schema:$.room"),
        (says(None, ("light", "{room:")), "bad_json"),
        (says(None, ("light", {"room": "hall"})), "bad_json"),
        (says(None, ("roof", "{}")), "unknown_tool"),
        (says("<tool_call>{"), "unclosed"),
        (says(""), "empty"),
        (says("The light is", finish="length"), "length"),
    ],
)
def test_what_breaks_the_schemas_is_refused(completion: dict[str, Any], reason: str) -> None:
    one, _ = student(whole(completion))
    with pytest.raises(InvalidOutput) as caught:
        one.answer(REQUEST)
    assert caught.value.reason == reason


def test_text_must_be_the_json_that_was_asked_for() -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "room", "schema": ROOM}}
    request = {"messages": MESSAGES, "response_format": wanted}
    one, script = student(whole(says('{"room":"hall"}')))
    assert one.answer(request).message["content"] == '{"room":"hall"}'
    assert script.asked[0]["response_format"] == wanted
    assert "tools" not in script.asked[0]
    with pytest.raises(InvalidOutput, match="bad_json"):
        student(whole(says("The hall.")))[0].answer(request)


def test_a_model_whose_server_refuses_tools_is_told_in_words_how_to_call() -> None:
    def act(body: dict[str, Any]) -> httpx.Response:
        return refused(400, "desk:1b does not support tools") if "tools" in body else streamed(says(TEXT))

    one, script = student(act)
    for _ in range(2):
        answer = one.answer({**REQUEST, "tool_choice": "required"})
        assert answer.message["tool_calls"][0]["function"]["name"] == "light"
    assert ["tools" in body for body in script.asked] == [True, False, False]
    roles = [message["role"] for message in script.asked[-1]["messages"]]
    assert roles == ["system", "user"]
    told = script.asked[-1]["messages"][0]["content"]
    assert ("<tool_call>" in told, '"name":"light"' in told, "You keep a house." in told) == (True, True, True)


def test_another_refusal_is_the_callers_to_know() -> None:
    one, script = student(lambda body: refused(400, "no such model"))
    with pytest.raises(Refusal, match="no such model"):
        one.answer(REQUEST)
    assert len(script.asked) == 1


def test_a_version_reads_the_turns_that_it_learnt() -> None:
    spec = PromptSpec(mode="internalised", skeleton=["You keep a house."])
    one, script = student(whole(says(TEXT)), version(prompt=spec))
    assert one.answer(REQUEST).finish == "tool_calls"
    assert script.asked[0]["messages"] == [{"role": "user", "content": "Light!"}]
    assert "tools" not in script.asked[0]
    history = [*MESSAGES, {"role": "assistant", "content": "<|im_end|>\nYes."}, {"role": "user", "content": "So?"}]
    turns = turns_of(prompt_segments(history, [LIGHT], PromptSpec(mode="full")))
    assert [turn["role"] for turn in turns] == ["system", "user", "assistant", "user"]
    assert turns[2]["content"] == "<| im_end|>\nYes."


def test_scores_are_of_the_action_and_calibrated() -> None:
    tokens = [("I ", -4.0), ("see. ", -4.0), ("<tool_call>", -0.25), (TEXT.removeprefix("<tool_call>"), -0.75)]
    told = {"content": [{"token": token, "logprob": score} for token, score in tokens]}
    calibration = Calibration(knots=[(-1.0, 0.2), (0.0, 0.8)], calls=50, error=0.02)
    one, _ = student(whole(says("I see. " + TEXT, logprobs=told)), version(calibration=calibration))
    answer = one.answer(REQUEST)
    assert (answer.score, answer.min_logprob, answer.probability) == (-0.5, -0.75, pytest.approx(0.5))


def test_votes_and_callers_that_leave() -> None:
    answers = iter([TEXT, TEXT, "", TEXT, "Yes.", "No."])

    def act(body: dict[str, Any]) -> httpx.Response:
        return streamed(says(next(answers)))

    one, script = student(act)
    answer = Voting(4, 0.5).answer(one, REQUEST)
    assert (answer.vote_share, answer.usage["completion_tokens"]) == (0.75, 8)
    assert {body["temperature"] for body in script.asked} == {0.4}
    with pytest.raises(Cancelled):
        student(whole(says("Yes.")))[0].draw(REQUEST, 2, Sampling(), lambda: True)
    with pytest.raises(Undecided):
        Voting(2, 0.9).answer(student(act)[0], REQUEST)


class AppTransport(httpx.BaseTransport):
    """An ASGI application as a server."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        async def go() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(self._app), base_url="http://s") as client:
                head = dict(request.headers)
                return await client.request(request.method, request.url, content=request.read(), headers=head)

        made = asyncio.run(go())
        return httpx.Response(made.status_code, content=made.content, headers=made.headers)


def test_our_own_server_is_such_an_endpoint_and_the_pool_serves_it(tiny_gguf: Path, tmp_path: Path) -> None:
    options = ServingOptions(data=str(tmp_path), bases=(str(tiny_gguf),), slots=1, threads=1, context=1024)
    behind = Pool(options)
    behind.refresh()
    [name] = behind.versions
    chats = ChatEndpoint("http://s/v1", {"front": name}, transport=AppTransport(StudentServer(options, behind).app))
    chats.require(["front"])
    front = ServingOptions(data=str(tmp_path), bases=("front",), engine="chat", engine_url="http://s/v1")
    pool = Pool(front, lambda base, adapters: chats)
    pool.refresh()
    assert pool.versions == ["front"]
    server = AppTransport(StudentServer(front, pool).app)
    body = {**REQUEST, "model": "front", "tools": [LIGHT], "tool_choice": "required"}
    with httpx.Client(transport=server, base_url="http://s") as client:
        answered = client.post("/v1/chat/completions", json=body)
        refused_ = client.post("/v1/chat/completions", json={**body, "tools": [{**LIGHT, "type": "code"}]})
    assert answered.status_code == 200, answered.text
    function = answered.json()["choices"][0]["message"]["tool_calls"][0]["function"]
    assert (function["name"], json.loads(function["arguments"])) == ("light", {"room": "hall"})
    assert float(answered.headers["x-tutelage-confidence"]) < 0
    assert refused_.status_code == 400
    pool.close()
    behind.close()


def test_a_server_that_knows_chats_only_is_no_engine() -> None:
    from tutelage.serving.engines import backends_for, engines_for

    options = ServingOptions(data="unused", engine="chat", engine_url="http://chat.test/v1")
    with pytest.raises(BadInput, match="chat completes no token ids"):
        engines_for(options)
    with pytest.raises(BadInput, match="needs an address"):
        backends_for(ServingOptions(data="unused", engine="chat"))
