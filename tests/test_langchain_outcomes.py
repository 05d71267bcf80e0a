"""What is said of a graph at its end, as a table; and which call a failed tool is said about."""

import asyncio
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langgraph.errors import GraphInterrupt, GraphRecursionError, ParentCommand
from langgraph.types import Command

from tutelage.plugins.langchain_outcomes import answered, at_end, is_control_flow, is_interrupt
from tutelage.plugins.langchain_runs import Frame
from tutelage.plugins.run_outcomes import Tools


def result(*tool_ids: str, finish: str = "stop") -> LLMResult:
    calls: Any = [{"name": "f", "args": {}, "id": tool_id, "type": "tool_call"} for tool_id in tool_ids]
    message = AIMessage("x", tool_calls=calls, response_metadata={"finish_reason": finish})
    return LLMResult(generations=[[ChatGeneration(message=message)]])


def said(frame: Frame, error: BaseException | None = None) -> dict[str, Any]:
    return {one.metric: one.value for one in at_end(frame, error)}


def whole(**fields: Any) -> Frame:
    return Frame("run", **{"calls": 1, "finish": "stop", **fields})


@pytest.mark.parametrize(
    ("frame", "error", "expected"),
    [
        (whole(), None, {"success": True}),
        (whole(finish=""), None, {"success": True}),
        (whole(), ValueError("no"), {"success": False}),
        (whole(), GraphRecursionError("no"), {"success": False}),
        (whole(), asyncio.CancelledError(), {"outcome": "cancelled"}),
        (whole(), KeyboardInterrupt(), {"outcome": "cancelled"}),
        (whole(paused=True), None, {"interrupts": 1, "outcome": "interrupted"}),
        (whole(paused=True, interrupts=2), None, {"interrupts": 3, "outcome": "interrupted"}),
        (whole(interrupts=1), None, {"interrupts": 1, "success": True}),
        (whole(waiting_tools=1), None, {"outcome": "tools_not_run"}),
        (whole(finish="length"), None, {"outcome": "cut_off:length"}),
        (whole(finish="content_filter"), None, {"outcome": "cut_off:content_filter"}),
        (whole(ended_on_failure=True, tool_errors=2), None, {"tool_errors": 2, "outcome": "after_tool_error"}),
        (whole(tool_errors=1, retries=1), None, {"tool_errors": 1, "retries": 1, "success": True}),
        (Frame("run"), None, {}),
        (Frame("run"), ValueError("before any call"), {}),
    ],
)
def test_the_table(frame: Frame, error: BaseException | None, expected: dict[str, Any]) -> None:
    assert said(frame, error) == expected


def test_a_run_without_a_name_is_spoken_of_by_its_last_call() -> None:
    frame = Frame("", calls=1, last_call="call 7")
    [one] = at_end(frame, ValueError("no"))
    assert (one.trajectory, one.call_id, one.comment) == ("", "call 7", "ValueError: no")
    [one] = at_end(whole(last_call="call 7"), None)
    assert (one.trajectory, one.call_id) == ("run", "")


def test_answers_move_the_run_on() -> None:
    frame, tools = Frame("run"), Tools()
    tools.asked("call 1", answered(frame, result("a", "b", finish="tool_calls"), "call 1"))
    assert (frame.calls, frame.waiting_tools) == (1, 2)
    for _ in range(2):
        tools.started(frame, "f")
    assert frame.waiting_tools == 0
    error = tools.failed(frame, "f", "b", "ValueError: no")
    assert error is not None
    assert (error.metric, error.value, error.call_id) == ("tool_error", True, "call 1")
    assert tools.failed(frame, "f", "unknown", "x") is None
    unnamed = tools.failed(Frame("run", last_call="call 9"), "f", "", "x")
    assert unnamed is not None
    assert unnamed.call_id == "call 9"
    answered(frame, result("c", finish="tool_calls"), "call 2")
    assert frame.ended_on_failure
    tools.started(frame, "f")
    tools.started(frame, "g")
    assert (frame.tool_errors, frame.retries) == (2, 1)
    answered(frame, result(), "")
    assert (frame.ended_on_failure, frame.last_call, frame.calls) == (False, "call 2", 3)
    assert said(frame) == {"tool_errors": 2, "retries": 1, "success": True}


def test_an_answer_without_a_message_is_an_answer() -> None:
    frame = Frame("run")
    assert answered(frame, LLMResult(generations=[]), "") == []
    assert frame.calls == 1


def test_what_steers_a_graph_is_no_error() -> None:
    assert all(is_control_flow(one) for one in (GraphInterrupt(), ParentCommand(Command())))
    assert [is_interrupt(one) for one in (GraphInterrupt(), ParentCommand(Command()))] == [True, False]
    assert not is_control_flow(GraphRecursionError())
    assert not is_control_flow(ValueError())
