"""The slices that a mean hides: what belongs to them, and what raises the alarm."""

import json
import random
from typing import Any

import msgspec
import pytest

from tutelage.proxy.nulls import Compared, Nulls, watch
from tutelage.traffic.tool_policy import ToolPolicy, ToolRule

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "book",
            "parameters": {
                "type": "object",
                "properties": {
                    "day": {"type": "string"},
                    "note": {"type": "string"},
                    "seats": {"type": "integer", "default": 1},
                    "trace": {"type": "string"},
                },
            },
        },
    }
]
POLICY = ToolPolicy(rules={"book": ToolRule(ignore=("trace",))})


def book(**arguments: Any) -> dict[str, Any]:
    call = {"id": "c", "type": "function", "function": {"name": "book", "arguments": json.dumps(arguments)}}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def say(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def slices(teacher: dict[str, Any], student: dict[str, Any] | None, reason: str = "") -> dict[str, float]:
    return watch([Compared(teacher, student, TOOLS, reason)], POLICY)


def test_an_invented_field_is_lost_and_an_empty_one_is_kept() -> None:
    found = slices(book(day="mon"), book(day="mon", note="window"))
    assert found["empty:book.note"] == 1.0
    assert slices(book(day="mon"), book(day="mon"))["empty:book.note"] == 0.0
    assert "empty:book.note" not in slices(book(day="mon", note="x"), book(day="mon", note="x"))


@pytest.mark.parametrize("nothing", [None, "", "  ", "unknown", "N/A", "null", [], {}])
def test_ways_to_leave_a_field_empty(nothing: Any) -> None:
    assert slices(book(note=nothing), book(note="window"))["empty:book.note"] == 1.0
    assert slices(book(note="window"), book(note=nothing))["more:empty"] > 0


def test_a_default_is_as_good_as_nothing_and_ignored_fields_are_not_watched() -> None:
    found = slices(book(day="mon"), book(day="mon", seats=1, trace="abc"))
    assert found["empty:book.seats"] == 0.0
    assert not any("trace" in name for name in found)
    assert slices(book(day="mon"), book(day="mon", seats=2))["empty:book.seats"] == 1.0


def test_acting_where_the_teacher_does_not() -> None:
    assert slices(say("It is done."), book(day="mon"))["no_tool"] == 1.0
    assert slices(say("It is done."), say("Done."))["no_tool"] == 0.0
    assert slices(book(day="mon"), say("Done."))["more:no_tool"] == 1.0
    assert "no_tool" not in watch([Compared(say("a"), say("b"), [])], POLICY)


@pytest.mark.parametrize(
    ("text", "refuses", "unsure"),
    [
        ("I'm sorry, but I can’t help with that.", True, False),
        ("I cannot assist with this request.", True, False),
        ("I don't know the order's state.", False, True),
        ("The total cannot be determined from this.", False, True),
        ("I can help you with that!", False, False),
        ("You know that I never refuse.", False, False),
    ],
)
def test_refusals_and_doubts_in_texts(text: str, refuses: bool, unsure: bool) -> None:
    found = slices(say(text), say("Tuesday at noon."))
    assert ("refusal" in found, "unsure" in found) == (refuses, unsure)
    assert all(found[name] == 1.0 for name in ("refusal", "unsure") if name in found)
    back = slices(say("Tuesday at noon."), say(text))
    assert (back["more:refusal"], back["more:unsure"]) == (refuses, unsure)


def test_a_refusal_of_the_api_counts_too() -> None:
    refusal = {"role": "assistant", "content": None, "refusal": "No."}
    assert slices(refusal, say("Sure."))["refusal"] == 1.0


@pytest.mark.parametrize(
    "reason", ["invalid:schema:day", "invalid_output", "length", "fallback:student_invalid_output"]
)
def test_invalid_answers_are_a_slice_of_their_own(reason: str) -> None:
    assert slices(book(day="mon"), None, reason) == {"more:invalid": 1.0}


def test_a_missing_answer_belongs_to_no_slice_but_that() -> None:
    assert slices(book(day="mon"), None, "timeout") == {"more:invalid": 0.0}
    assert watch([Compared({"role": "assistant"}, say("x"), TOOLS)], POLICY) == {}


def test_a_session_is_the_mean_over_its_calls() -> None:
    calls = [Compared(book(), book(note="x"), TOOLS), Compared(book(), book(), TOOLS)]
    assert watch(calls, POLICY)["empty:book.note"] == 0.5


def test_the_second_call_of_a_tool_is_compared_with_the_second() -> None:
    def two(**second: Any) -> dict[str, Any]:
        return {"role": "assistant", "tool_calls": book(note="x")["tool_calls"] + book(**second)["tool_calls"]}

    assert slices(two(), two(note="y"))["empty:book.note"] == 1.0
    assert slices(two(), book(note="x")).get("empty:book.note") is None


def test_inventing_in_a_rare_case_alarms_though_the_mean_is_fine() -> None:
    state, n = Nulls(), 0
    while not state.alarmed:
        n += 1
        state = state.update({"empty:book.note": 1.0} if n % 25 == 0 else {"more:no_tool": 0.0})
    assert state.alarmed == "empty:book.note"
    assert n / 25 <= 12


def test_a_student_as_careful_as_the_teacher_raises_no_alarm() -> None:
    """Within the limits, in eight slices, over 2,000 sessions: the bound is 2,000 / 10,000, and the truth far below."""
    rng, alarms = random.Random(4), 0
    for _ in range(10):
        state = Nulls()
        for _ in range(2_000):
            found = {f"empty:book.{i}": float(rng.random() < 0.1) for i in range(8) if rng.random() < 0.1}
            state = state.update(found | {"more:refusal": float(rng.random() < 0.01)})
        alarms += bool(state.alarmed)
    assert alarms <= 1


def test_later_slices_need_more() -> None:
    state = Nulls()
    for number in range(4):
        state = state.update({f"empty:book.{number}": 0.0})
    assert [guard.demote for guard in state.guards.values()] == [1e4 * i * (i + 1) for i in (1, 2, 3, 4)]
    assert sum(1e4 / guard.demote for guard in state.guards.values()) < 1
    assert msgspec.json.decode(msgspec.json.encode(state), type=Nulls) == state
    assert state.facts() == {}
    assert state.update({"more:refusal": 1.0}).facts()["more:refusal"]["limit"] == 0.02
