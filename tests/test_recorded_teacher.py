import asyncio
from typing import Any

import httpx
import msgspec

from tutelage.proxy.recorded import RecordedTrajectory
from tutelage.proxy.recorded_teacher import RecordedTeacher
from tutelage.traffic.sse import assemble_chat

TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"a": 1, "b": 2}}}]
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}


def run(answer: str, teacher: str = "m") -> RecordedTrajectory:
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c", "content": "1"},
        {"role": "assistant", "content": answer},
    ]
    raw = {"trajectory_id": "r", "teacher": teacher, "tools": TOOLS, "messages": messages}
    return msgspec.convert({**raw, "calls": [{"i": 1, "usage": [7, 2]}, {"i": 3}]}, RecordedTrajectory)


def ask(
    teacher: RecordedTeacher, body: Any, method: str = "POST", path: str = "/v1/chat/completions"
) -> httpx.Response:
    async def go() -> httpx.Response:
        transport = httpx.ASGITransport(app=teacher)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
            return await client.request(
                method, path, content=body if isinstance(body, bytes) else msgspec.json.encode(body)
            )

    return asyncio.run(go())


def request(one: RecordedTrajectory, turn: int, **changes: Any) -> dict[str, Any]:
    return {**one.request(one.calls[turn]), **changes}


def test_it_gives_the_recorded_answers() -> None:
    one = run("b")
    teacher = RecordedTeacher([one])
    reply = ask(teacher, request(one, 0)).json()
    assert reply["choices"][0]["message"]["tool_calls"] == [CALL]
    assert reply["choices"][0]["finish_reason"] == "tool_calls"
    assert reply["usage"]["total_tokens"] == 9
    last = ask(teacher, request(one, 1)).json()
    assert last["choices"][0]["message"]["content"] == "b"
    assert last["choices"][0]["finish_reason"] == "stop"
    assert teacher.calls == 2


def test_the_form_of_a_request_does_not_matter() -> None:
    one = run("b")
    odd = b'{"temperature":0.5, "tools":[{"function":{"parameters":{"b":2,"a":1.0},"name":"f"},"type":"function"}],'
    odd += b'"messages":[{"content":[{"type":"text","text":"a"}],"role":"user"}]}'
    assert ask(RecordedTeacher([one]), odd).status_code == 200


def test_streams() -> None:
    one = run("b")
    reply = ask(RecordedTeacher([one]), request(one, 0, stream=True, stream_options={"include_usage": True}))
    assert reply.headers["content-type"] == "text/event-stream"
    whole = assemble_chat(reply.content)
    assert whole["choices"][0]["message"]["tool_calls"] == [CALL]
    assert whole["usage"]["prompt_tokens"] == 7
    bare = assemble_chat(ask(RecordedTeacher([one]), request(one, 0, stream=True)).content)
    assert bare.get("usage") is None


def test_several_answers_come_in_turn_those_of_the_model_first() -> None:
    runs = [run("b"), run("c"), run("d", "other")]
    teacher = RecordedTeacher(runs)

    def answers(model: str, count: int) -> list[str]:
        bodies = [ask(teacher, request(runs[0], 1, model=model)).json() for _ in range(count)]
        return [body["choices"][0]["message"]["content"] for body in bodies]

    assert answers("m", 3) == ["b", "c", "b"]
    assert answers("other", 2) == ["d", "d"]
    assert answers("unheard-of", 4) == ["b", "c", "d", "b"]


def test_unknown_conversations_tools_and_paths() -> None:
    one = run("b")
    teacher = RecordedTeacher([one])
    for body in (request(one, 0, tools=[]), request(one, 0, messages=[{"role": "user", "content": "z"}])):
        reply = ask(teacher, body)
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "unknown_chain")
    assert ask(teacher, b"{oops").status_code == 400
    assert ask(teacher, {"messages": 5}).status_code == 400
    assert ask(teacher, b"", "GET", "/v1/nothing").json()["error"]["code"] == "unknown_path"
    models = ask(teacher, b"", "GET", "/v1/models").json()
    assert [model["id"] for model in models["data"]] == ["m"]
    assert ask(teacher, b"", "GET", "/health").json() == {"status": "ok", "calls": 2}


def test_latency() -> None:
    one = run("b")
    assert ask(RecordedTeacher([one], latency_ms=80), request(one, 0)).elapsed.total_seconds() >= 0.08
