"""The runners, against servers that are transports."""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import pytest

from tutelage.proxy.shadow import AUDIT, SHADOW, Endpoint, Label, Runner, Task, question

TOOLS = [{"type": "function", "function": {"name": "go", "parameters": {"type": "object", "properties": {}}}}]
GO = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "go", "arguments": "{}"}}],
}
STOP = {"role": "assistant", "content": "I will not."}


class Box:
    """A label source with a fixed list of tasks."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.open = list(tasks)
        self.labels: list[Label] = []

    def tasks(self, kind: str, limit: int) -> Sequence[Task]:
        return [task for task in self.open if task.kind == kind][:limit]

    def deliver(self, label: Label) -> None:
        self.labels.append(label)
        self.open.remove(label.task)


def task(kind: str = SHADOW, number: int = 1, **fields: Any) -> Task:
    request = {"model": "teacher-1", "messages": [{"role": "user", "content": "go"}], "tools": TOOLS, "stream": True}
    given: dict[str, Any] = {"answer": GO} | fields
    return Task(kind, f"c{number}", "p", f"t{number}", "s@1", request, **given)


def completion(message: dict[str, Any], finish: str = "stop") -> httpx.Response:
    body = {
        "choices": [{"message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3},
    }
    return httpx.Response(200, json=body)


def error(status: int, code: str = "", message: str = "no") -> httpx.Response:
    return httpx.Response(status, json={"error": {"message": message, "code": code}})


def work(box: Box, kind: str, handler: Callable[[httpx.Request], Any], rounds: int = 1, **options: Any) -> Runner:
    async def run() -> Runner:
        async with httpx.AsyncClient(transport=httpx.MockTransport(handler)) as client:
            endpoint = options.pop("endpoint", Endpoint("http://asked.test/v1", timeout_s=0.3))
            runner = Runner(kind, box, lambda _model: endpoint, client, clock=lambda: 100.0, **options)
            for _ in range(rounds):
                await runner.round()
            return runner

    return asyncio.run(run())


def test_the_student_gets_the_logged_request_under_its_own_name() -> None:
    seen: list[dict[str, Any]] = []

    def handler(request: httpx.Request) -> httpx.Response:
        assert str(request.url) == "http://asked.test/v1/chat/completions"
        assert "authorization" not in request.headers
        told = [request.headers.get(name) for name in ("x-tutelage-pattern", "x-tutelage-copy")]
        assert told == ["p", "shadow"]  # so that it votes as in service, and answers however unsure it is
        seen.append(json.loads(request.content))
        return completion(GO, "tool_calls")

    box = Box([task()])
    runner = work(box, SHADOW, handler)
    assert seen == [{"model": "s@1", "messages": [{"role": "user", "content": "go"}], "tools": TOOLS}]
    (label,) = box.labels
    assert (label.loss, label.usage, label.at) == (0.0, (7, 3), 100.0)
    assert (runner.status.done, runner.status.problem) == (1, "")


def test_the_audit_asks_the_teacher_with_the_control_planes_key() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == "Bearer key"
        assert not {"x-tutelage-pattern", "x-tutelage-copy"} & set(request.headers)  # a teacher is told nothing
        assert json.loads(request.content)["model"] == "teacher-1"
        return completion(STOP)

    box = Box([task(AUDIT)])
    work(box, AUDIT, handler, endpoint=Endpoint("http://asked.test/v1", {"authorization": "Bearer key"}))
    assert box.labels[0].loss == 1.0  # the student acted, the teacher would not have
    assert box.labels[0].reply == STOP


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (error(422, "invalid_output"), "invalid_output"),
        (error(500), "http_500"),
        (error(503, "deadline_exceeded"), "deadline_exceeded"),
        (error(400, "context_length_exceeded"), "context_length_exceeded"),
        (completion(GO, "length"), "length"),
        (httpx.Response(200, text="<html>"), "unparsable"),
        (httpx.Response(200, json={"choices": []}), "unparsable"),
    ],
)
def test_a_student_that_fails_has_lost(response: httpx.Response, reason: str) -> None:
    box = Box([task()])
    work(box, SHADOW, lambda _: response)
    assert [(label.loss, label.reason) for label in box.labels] == [(1.0, reason)]


def test_the_score_that_the_student_tells_is_in_the_label() -> None:
    box = Box([task(), task(number=2)])
    told = iter([{"x-tutelage-confidence": "-0.25"}, {}])

    def handler(request: httpx.Request) -> httpx.Response:
        answer = completion(GO, "tool_calls")
        return httpx.Response(200, content=answer.content, headers=next(told))

    work(box, SHADOW, handler, concurrency=1)
    assert {label.score for label in box.labels} == {-0.25, None}


def test_a_student_that_is_silent_has_lost() -> None:
    async def handler(_: httpx.Request) -> httpx.Response:
        await asyncio.sleep(5)
        return completion(GO)

    box = Box([task()])
    work(box, SHADOW, handler)
    assert box.labels[0].reason == "timeout"


@pytest.mark.parametrize("status", [404, 429, 503])
def test_a_server_that_cannot_answer_now_is_asked_again(status: int) -> None:
    box = Box([task(number=number) for number in range(3)])
    runner = work(box, SHADOW, lambda _: error(status, message="loading"), rounds=4)
    assert box.labels == []
    assert "loading" in runner.status.problem
    assert runner.status.since == 100.0


def test_a_server_that_is_away_is_no_loss_and_the_work_goes_on_when_it_is_back() -> None:
    away = True

    def handler(request: httpx.Request) -> httpx.Response:
        if away:
            raise httpx.ConnectError("refused", request=request)
        return completion(GO)

    box = Box([task(number=number) for number in range(9)])
    runner = work(box, SHADOW, handler, rounds=5)
    assert box.labels == []
    assert "cannot be reached" in runner.status.problem
    away = False
    assert work(box, SHADOW, handler).status.problem == ""
    assert [label.loss for label in box.labels] == [0.0] * 9


def test_a_student_that_dies_on_a_call_again_and_again_has_lost() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise httpx.RemoteProtocolError("closed", request=request)

    box = Box([task()])
    work(box, SHADOW, handler, rounds=2)
    assert box.labels == []
    work(box, SHADOW, handler, rounds=3)
    assert box.labels[0].reason == "connection_broken"


@pytest.mark.parametrize("status", [401, 403])
def test_audits_without_a_key_say_so_and_label_nothing(status: int) -> None:
    box = Box([task(AUDIT)])
    runner = work(box, AUDIT, lambda _: error(status), rounds=5)
    assert box.labels == []
    assert "key" in runner.status.problem


@pytest.mark.parametrize("status", [429, 500, 502])
def test_a_teacher_in_trouble_is_not_the_students_fault(status: int) -> None:
    box = Box([task(AUDIT)])
    work(box, AUDIT, lambda _: error(status), rounds=5)
    assert box.labels == []


def test_a_request_that_the_teacher_keeps_refusing_is_no_pass() -> None:
    box = Box([task(AUDIT)])
    work(box, AUDIT, lambda _: error(400), rounds=3)
    assert [(label.loss, label.reason) for label in box.labels] == [(1.0, "teacher_http_400")]


def test_a_fallback_is_a_label_without_asking_anybody() -> None:
    def handler(_: httpx.Request) -> httpx.Response:
        raise AssertionError("nobody must be asked")

    box = Box([task(AUDIT, failure="fallback:timeout", answer=None)])
    work(box, AUDIT, handler)
    assert [(label.loss, label.reason) for label in box.labels] == [(1.0, "fallback:timeout")]


def test_no_more_than_so_many_at_a_time() -> None:
    running = most = 0

    async def handler(_: httpx.Request) -> httpx.Response:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        return completion(GO)

    box = Box([task(number=number) for number in range(12)])
    work(box, SHADOW, handler, concurrency=3)
    assert most == 3
    assert len(box.labels) == 12


def test_a_lone_surrogate_can_be_asked() -> None:
    broken = task()
    broken.request["messages"] = [{"role": "user", "content": "\ud83d"}]
    box = Box([broken])
    work(box, SHADOW, lambda request: completion(GO) if b"\\ud83d" in request.content else error(400))
    assert box.labels[0].loss == 0.0


def test_the_question_is_asked_in_one_piece() -> None:
    assert "stream" not in question(task())
