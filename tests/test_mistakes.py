"""Answers that are better not learnt, and repairs that are."""

import json
from typing import Any

import pytest

from tutelage.distill.curate import CallRef, Trajectory
from tutelage.distill.mistakes import has_failed, inconsistent, repairs


def session(number: int, text: str, tool: str) -> Trajectory:
    function = {"name": tool, "arguments": "{}"}
    answer = {"role": "assistant", "tool_calls": [{"id": f"c{number}", "type": "function", "function": function}]}
    if not tool:
        answer = {"role": "assistant", "content": f"answer {number}"}
    calls = (CallRef(f"k{number}", 1, "p", "teacher", "m", float(number)),)
    messages = [{"role": "user", "content": text}, answer]
    return Trajectory(f"t{number}", f"s{number}", "a", True, "rule", [], messages, calls)


@pytest.mark.parametrize(
    ("tools", "wrong"),
    [
        (["on", "on", "off"], ["t2"]),
        (["on", "off"], []),
        (["on", "off", "dim"], []),
        (["on", "on", "off", "off"], []),
        (["on", "on", "on", ""], ["t3"]),
        (["", "", ""], []),
    ],
)
def test_the_majority_decides(tools: list[str], wrong: list[str]) -> None:
    items = [session(number, "lamp on", tool) for number, tool in enumerate(tools)]
    assert [item.trajectory_id for item in inconsistent(items)] == wrong


def test_other_questions_have_other_answers() -> None:
    items = [session(1, "a", "on"), session(2, "a", "on"), session(3, "a", "on"), session(4, "b", "off")]
    assert inconsistent(items) == []
    varying_away = inconsistent(items, lambda messages: "same")
    assert [item.trajectory_id for item in varying_away] == ["t4"]


@pytest.mark.parametrize(
    ("content", "failed"),
    [
        ("Error: no such order", True),
        ("ValueError: No events found.", True),
        (json.dumps({"error": "not found"}), True),
        (json.dumps({"success": False}), True),
        (json.dumps({"status": 404}), True),
        (json.dumps({"error": None, "items": []}), False),
        (json.dumps({"success": True, "text": "no error"}), False),
        ("The error was corrected", False),
        ("", False),
    ],
)
def test_failures(content: str, failed: bool) -> None:
    assert has_failed({"role": "tool", "content": content}) == failed


def test_repairs_are_counted() -> None:
    def step(result: str) -> list[dict[str, Any]]:
        return [{"role": "assistant", "tool_calls": [{"id": "c"}]}, {"role": "tool", "content": result}]

    done = {"role": "assistant", "content": "done"}
    assert repairs([*step("Error: x"), *step("ok"), done]) == 1
    assert repairs([*step("Error: x"), done]) == 0
    assert repairs([*step("Error: x"), *step("Error: y"), *step("ok"), done]) == 2
