"""The student server's HTTP contract, with a scripted student behind the pool's interface."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import httpx
import pytest

from tutelage.serving.engine import ContextTooLong, EngineError
from tutelage.serving.options import ServingOptions
from tutelage.serving.render import InvalidOutput
from tutelage.serving.schemas import Uncompilable
from tutelage.serving.server import StudentServer
from tutelage.serving.student import Answer, Cancelled
from tutelage.traffic.errors import BadInput, UnknownName
from tutelage.traffic.sse import assemble_chat

USAGE = {
    "prompt_tokens": 5,
    "completion_tokens": 2,
    "total_tokens": 7,
    "prompt_tokens_details": {"cached_tokens": 3},
}
CALLS = [{"id": "call_1", "type": "function", "function": {"name": "ping", "arguments": "{}"}}]
ANSWER = Answer(
    {"role": "assistant", "content": None, "tool_calls": CALLS}, USAGE, -0.125, -0.5, "tool_calls", 0.25, 0.5
)
BODY: dict[str, Any] = {"model": "s@1", "messages": [{"role": "user", "content": "hi"}]}


class ScriptedPool:
    """One version, `s@1`, that does what the test says."""

    versions = ("s@1",)

    def __init__(self, act: Callable[[Callable[[], bool]], Answer]) -> None:
        self.problems: dict[str, str] = {}
        self.act, self.refreshed, self.closed = act, threading.Event(), False

    def get(self, version: str) -> "ScriptedPool":
        if version != "s@1":
            raise UnknownName(f"There is no student version {version!r}.")
        return self

    def answer(self, request: dict[str, Any], should_stop: Callable[[], bool]) -> Answer:
        return self.act(should_stop)

    def lane(self, version: str) -> str:
        return ""

    def refresh(self) -> list[str]:
        self.refreshed.set()
        return list(self.versions)

    def close(self) -> None:
        self.closed = True


def server(act: Callable[[Callable[[], bool]], Answer], **options: Any) -> StudentServer:
    return StudentServer(ServingOptions(data="unused", **options), cast(Any, ScriptedPool(act)))


def ask(app: StudentServer, body: Any = BODY, **kwargs: Any) -> httpx.Response:
    async def go() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app.app), base_url="http://s") as client:
            if isinstance(body, bytes):
                return await client.post("/v1/chat/completions", content=body, **kwargs)
            return await client.post("/v1/chat/completions", json=body, **kwargs)

    return asyncio.run(go())


def get(app: StudentServer, path: str, method: str = "GET") -> httpx.Response:
    async def go() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app.app), base_url="http://s") as client:
            return await client.request(method, path)

    return asyncio.run(go())


async def hung_up(app: StudentServer, after: asyncio.Event) -> None:
    """A call whose caller goes away: after the event, or after a moment where nobody sets it."""
    messages = [{"type": "http.request", "body": httpx.Request("POST", "http://s", json=BODY).content}]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        with suppress(TimeoutError):
            await asyncio.wait_for(after.wait(), 0.2)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        return None

    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": [], "query_string": b""}
    await app.app(scope, receive, send)


def failing(error: Exception) -> Callable[[Any], Answer]:
    def act(should_stop: Any) -> Answer:
        raise error

    return act


def test_a_plain_answer() -> None:
    response = ask(server(lambda stop: ANSWER))
    body = response.json()
    assert response.status_code == 200
    assert response.headers["x-tutelage-confidence"] == "-0.125000"
    assert (body["object"], body["model"], body["usage"]) == ("chat.completion", "s@1", USAGE)
    assert body["choices"][0]["message"]["tool_calls"] == CALLS
    assert body["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("usage", [True, False])
def test_a_stream_holds_the_same_answer(usage: bool) -> None:
    response = ask(server(lambda stop: ANSWER), {**BODY, "stream": True, "stream_options": {"include_usage": usage}})
    assert response.headers["content-type"].startswith("text/event-stream")
    assert "x-tutelage-confidence" in response.headers
    whole = assemble_chat(response.content)
    assert whole["choices"][0]["message"]["tool_calls"] == CALLS
    assert (whole.get("usage") == USAGE) is usage


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (InvalidOutput("unknown_tool", "<tool_call>"), 422, "invalid_output"),
        (ContextTooLong("too long"), 400, "context_length_exceeded"),
        (BadInput("an image"), 400, "unsupported_content"),
        (Uncompilable("a.x: why"), 400, "schema_unsupported"),
        (EngineError("grammar"), 500, "engine_error"),
        (ZeroDivisionError(), 500, "internal_error"),
        (Cancelled(), 503, "deadline_exceeded"),
    ],
)
def test_failures_have_openais_form(error: Exception, status: int, code: str) -> None:
    response = ask(server(failing(error)))
    assert response.status_code == status
    assert response.json()["error"]["code"] == code
    assert set(response.json()["error"]) >= {"message", "type", "param", "code"}


def test_invalid_output_says_why_and_what() -> None:
    error = ask(server(failing(InvalidOutput("unknown_tool", "<tool_call>x")))).json()["error"]
    assert (error["reason"], error["output"]) == ("unknown_tool", "<tool_call>x")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "invalid_json"),
        ([], 400, "invalid_request"),
        ({"model": "s@1"}, 400, "invalid_request"),
        ({"model": "s@1", "messages": []}, 400, "invalid_request"),
        ({**BODY, "tools": [{"type": "web_search"}]}, 400, "unsupported_content"),
        ({**BODY, "n": 2}, 400, "unsupported_content"),
        ({**BODY, "logprobs": True}, 400, "unsupported_content"),
        ({**BODY, "functions": [{"name": "f"}]}, 400, "unsupported_content"),
        ({**BODY, "max_tokens": 0}, 400, "invalid_request"),
        ({**BODY, "max_completion_tokens": "9"}, 400, "invalid_request"),
        ({**BODY, "stop": [1]}, 400, "invalid_request"),
        ({**BODY, "model": "z@1"}, 404, "model_not_found"),
    ],
)
def test_bad_requests(body: Any, status: int, code: str) -> None:
    response = ask(server(lambda stop: ANSWER), body)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


def test_a_full_queue_refuses_at_once() -> None:
    release, busy = threading.Event(), threading.Semaphore(0)

    def slow(stop: Any) -> Answer:
        busy.release()
        release.wait(20)
        return ANSWER

    app = server(slow, slots=1, queue=1)

    async def go() -> list[int]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app.app), base_url="http://s") as client:
            first = [asyncio.create_task(client.post("/v1/chat/completions", json=BODY)) for _ in range(2)]
            await asyncio.to_thread(busy.acquire)
            for _ in range(500):
                if (await client.get("/health")).json()["waiting"] == 1:
                    break
                await asyncio.sleep(0.01)
            refused = await client.post("/v1/chat/completions", json=BODY)
            assert refused.headers["retry-after"] == "1"
            assert refused.json()["error"]["code"] == "queue_full"
            release.set()
            return [refused.status_code, *[(await task).status_code for task in first]]

    assert asyncio.run(go()) == [429, 200, 200]


def test_the_deadline_stops_the_writing() -> None:
    def endless(should_stop: Callable[[], bool]) -> Answer:
        while not should_stop():
            threading.Event().wait(0.005)
        raise Cancelled

    response = ask(server(endless), headers={"x-tutelage-timeout-ms": "40"})
    assert response.status_code == 503
    assert "0.04 s" in response.json()["error"]["message"]
    assert response.json()["error"]["code"] == "deadline_exceeded"


def test_time_spent_in_the_queue_is_no_fault_of_the_student() -> None:
    """One slot: the second call begins when its own time is nearly over."""

    def endless(should_stop: Callable[[], bool]) -> Answer:
        while not should_stop():
            threading.Event().wait(0.005)
        raise Cancelled

    app = server(endless, slots=1, queue=4)

    async def go() -> list[str]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app.app), base_url="http://s") as client:
            limit = {"x-tutelage-timeout-ms": "300"}
            asked = [client.post("/v1/chat/completions", json=BODY, headers=limit) for _ in range(2)]
            return [answer.json()["error"]["code"] for answer in await asyncio.gather(*asked)]

    assert "queue_timeout" in asyncio.run(go())


def test_a_caller_that_hangs_up_stops_the_writing() -> None:
    stopped, started = threading.Event(), threading.Event()

    def endless(should_stop: Callable[[], bool]) -> Answer:
        started.set()
        while not should_stop():
            threading.Event().wait(0.005)
        stopped.set()
        raise Cancelled

    app = server(endless)

    async def go() -> None:
        began = asyncio.Event()
        waiting = asyncio.create_task(hung_up(app, began))
        await asyncio.to_thread(started.wait, 20)
        began.set()
        await waiting

    asyncio.run(go())
    assert stopped.is_set()
    assert 'tutelage_student_answers_total{code="cancelled",model="s@1"} 1.0' in get(app, "/metrics").text


def test_a_caller_that_hangs_up_while_it_waits_is_never_answered() -> None:
    release, busy, answers = threading.Event(), threading.Semaphore(0), []

    def slow(stop: Any) -> Answer:
        busy.release()
        release.wait(20)
        answers.append(1)
        return ANSWER

    app = server(slow, slots=1)

    async def go() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app.app), base_url="http://s") as client:
            first = asyncio.create_task(client.post("/v1/chat/completions", json=BODY))
            await asyncio.to_thread(busy.acquire)
            await hung_up(app, asyncio.Event())
            assert (await client.get("/health")).json()["waiting"] == 0
            release.set()
            await first

    asyncio.run(go())
    assert answers == [1]


def test_models_health_metrics_and_refresh() -> None:
    app = server(lambda stop: ANSWER)
    ask(app)
    ask(app, {**BODY, "model": "z@1"})
    assert [model["id"] for model in get(app, "/v1/models").json()["data"]] == ["s@1"]
    health = {"status": "ok", "students": ["s@1"], "running": 0, "waiting": 0, "problems": []}
    assert get(app, "/health").json() == health
    assert get(app, "/admin/refresh", "POST").json() == {"students": ["s@1"]}
    text = get(app, "/metrics").text
    for line in (
        'tutelage_student_answers_total{code="ok",model="s@1"} 1.0',
        'tutelage_student_answers_total{code="model_not_found",model=""} 1.0',
        'tutelage_student_tokens_total{direction="prompt",model="s@1"} 5.0',
        'tutelage_student_tokens_total{direction="cached",model="s@1"} 3.0',
        "tutelage_student_queue_seconds_count 1.0",
        "tutelage_student_prefill_seconds_sum 0.25",
        "tutelage_student_decode_seconds_sum 0.5",
        "tutelage_student_running 0.0",
        "tutelage_student_waiting 0.0",
        "tutelage_student_models 1.0",
    ):
        assert line in text, line


def test_health_says_what_cannot_be_served() -> None:
    pool = ScriptedPool(lambda stop: ANSWER)
    pool.problems = {"b@2": "its adapter is broken"}
    health = get(StudentServer(ServingOptions(data="unused"), cast(Any, pool)), "/health").json()
    assert (health["status"], health["problems"]) == ("degraded", ["b@2: its adapter is broken"])


def test_the_register_is_watched_while_it_runs() -> None:
    pool = ScriptedPool(lambda stop: ANSWER)
    app = StudentServer(ServingOptions(data="unused"), cast(Any, pool))

    async def go() -> None:
        async with app.app.router.lifespan_context(app.app):
            assert await asyncio.to_thread(pool.refreshed.wait, 20)

    asyncio.run(go())
    assert pool.closed
