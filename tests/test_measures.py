"""The parts of an examination, each on the calls where it can be told."""

import json
from typing import Any

import pytest

from tutelage.distill.curate import CallRef, Message, Trajectory
from tutelage.distill.measures import Answered, Question, agreement, measure, measures, reasons
from tutelage.traffic.compare import compare
from tutelage.traffic.shares import share_of

TOOLS = [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in ("a", "b")]


def call(name: str, /, **arguments: Any) -> Message:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"role": "assistant", "content": None, "tool_calls": [{"id": "x", "type": "function", "function": function}]}


def text(said: str) -> Message:
    return {"role": "assistant", "content": said}


def answered(teacher: Message, student: Message | None, session: str = "s") -> Answered:
    calls = (CallRef(f"c{session}", 1, "p", "teacher", "m", 1.0),)
    item = Trajectory(session, session, "a", True, "", TOOLS, [{"role": "user", "content": "x"}, teacher], calls)
    verdict = compare(teacher, student, TOOLS)
    return Answered(Question(item, calls[0]), student, verdict.loss, verdict.reason)


ANSWERS = [
    answered(call("a", x=1, y=2), call("a", x=1, y=3), "s1"),
    answered(call("a", x=1), call("b", x=1), "s2"),
    answered(call("a", x=1), text("I will not"), "s3"),
    answered(text("Paris"), text("Paris"), "s4"),
    answered(text("The code is 12."), text("The code is 13."), "s5"),
    answered(text("No."), call("b"), "s6"),
    answered(text("No."), None, "s7"),
]


@pytest.mark.parametrize(
    ("name", "share", "calls"),
    [
        ("acts", 2 / 3, 3),
        ("holds_back", 2 / 4, 4),
        ("tools", 1 / 2, 2),
        ("arguments", 1 / 2, 2),
        ("text", 1 / 2, 2),
    ],
)
def test_each_measure_has_its_own_calls(name: str, share: float, calls: int) -> None:
    found = measures(ANSWERS)[name]
    assert found.share == pytest.approx(share)
    assert found.calls == calls
    assert found.low <= share <= found.high


def test_agreement_and_the_reasons_of_losses() -> None:
    assert agreement(ANSWERS).share == pytest.approx(1 / 7)
    assert reasons(ANSWERS) == {
        "arguments:a.y": 1,
        "tools": 1,
        "kind:tools/text": 1,
        "numbers": 1,
        "kind:text/tools": 1,
        "missing": 1,
    }


def test_an_argument_that_only_one_side_gives_is_not_equal() -> None:
    assert measures([answered(call("a", x=1), call("a", x=1, z=5))])["arguments"].share == 0.5
    assert measures([answered(call("a"), call("a"))])["arguments"].share is None


def test_the_interval_counts_sessions() -> None:
    many = measure([("s1", 1.0)] * 50 + [("s2", 0.0)] * 50)
    assert (many.share, many.calls, many.sessions) == (0.5, 100, 2)
    assert (many.low, many.high) == (share_of(1, 2).low, share_of(1, 2).high)
    assert measure([]).share is None
