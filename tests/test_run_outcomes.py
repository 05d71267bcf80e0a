"""What is said of a run at its end where no framework is asked; the rest of the table is LangChain's
(tests/test_langchain_outcomes.py)."""

from typing import Any

import pytest

from tutelage.plugins.run_outcomes import Progress, Tools, answered, at_end


def said(progress: Progress, failure: str = "", cancelled: bool = False) -> dict[str, Any]:
    return {one.metric: one.value for one in at_end(progress, failure, cancelled)}


@pytest.mark.parametrize(
    ("fields", "end", "expected"),
    [
        ({}, (), {"success": True}),
        ({}, ("ValueError: no",), {"success": False}),
        ({}, ("", True), {"outcome": "cancelled"}),
        ({}, ("CancelledError: ", True), {"outcome": "cancelled"}),
        ({"stopped": "guardrail:rude"}, (), {"outcome": "guardrail:rude"}),
        ({"stopped": "no_answer", "waiting_tools": 1}, (), {"outcome": "no_answer"}),
        ({"paused": True, "stopped": "x"}, (), {"interrupts": 1, "outcome": "interrupted"}),
        ({"paused": True}, ("ValueError: no",), {"success": False}),
        ({"calls": 0}, ("ValueError: before any call",), {}),
    ],
)
def test_the_table(fields: dict[str, Any], end: tuple[Any, ...], expected: dict[str, Any]) -> None:
    assert said(Progress("run", **{"calls": 1, "finish": "stop", **fields}), *end) == expected


def test_answers_and_tools_move_a_run_on() -> None:
    progress, tools = Progress("run"), Tools()
    answered(progress, 1, "tool_calls", "call 1")
    tools.asked("call 1", ["a"])
    tools.started(progress, "f")
    error = tools.failed(progress, "f", "a", "no")
    assert error is not None
    assert (error.call_id, error.comment) == ("call 1", "f: no")
    answered(progress, 0, "stop", "")
    assert said(progress) == {"tool_errors": 1, "outcome": "after_tool_error"}
    answered(progress, 0, "stop", "")
    assert (progress.calls, progress.last_call, said(progress)["success"]) == (3, "call 1", True)


def test_the_memory_of_tools_is_bounded() -> None:
    tools = Tools(most=3)
    for number in range(10):
        tools.asked(f"call {number}", [f"tool {number}"])
    found = [tools.failed(Progress("run"), "f", f"tool {number}", "") for number in range(10)]
    assert [one.call_id for one in found if one] == ["call 7", "call 8", "call 9"]
    tools.asked("", ["nameless"])
    assert tools.failed(Progress("run"), "f", "nameless", "") is None
