"""Answers without any model: the commonest one, and the nearest neighbour's with its values moved over."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.distill.curate import CallRef, Message, Trajectory
from tutelage.distill.floors import Neighbours, commonest
from tutelage.distill.measures import Question


def call(name: str, /, **arguments: Any) -> Message:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"role": "assistant", "content": None, "tool_calls": [{"id": "x", "type": "function", "function": function}]}


def session(said: str, answer: Message, system: str = "You help.", pattern: str = "p") -> Trajectory:
    messages = [{"role": "system", "content": system}, {"role": "user", "content": said}, answer]
    calls = (CallRef(f"c {said}", 2, pattern, "teacher", "m", 1.0),)
    return Trajectory(f"t {said}", "s", "a", True, "rule", [], messages, calls)


def question(said: str, **fields: Any) -> Question:
    item = session(said, {"role": "assistant", "content": ""}, **fields)
    return Question(item, item.calls[0])


def arguments(message: Message | None) -> dict[str, Any]:
    assert message is not None
    return json.loads(message["tool_calls"][0]["function"]["arguments"])


TRAIN = [
    session("where is PA-17?", call("track", id="PA-17")),
    session("please cancel PA-4 at once", call("cancel", id="PA-4", hurry=True)),
    session("turn the lamp in the kitchen to 40 percent", call("light", room="kitchen", level=40)),
    session("my name is Ann Lee, thanks", call("greet", name="Ann Lee")),
]


@pytest.mark.parametrize(
    ("said", "tool", "expected"),
    [
        ("where is PC-2301?", "track", {"id": "PC-2301"}),
        ("please cancel PX-99 at once", "cancel", {"id": "PX-99", "hurry": True}),
        ("turn the lamp in the bedroom to 75 percent", "light", {"room": "bedroom", "level": 75}),
        ("turn the lamp in the hall to 7.5 percent", "light", {"room": "hall", "level": 7.5}),
        ("my name is Bob Fox, thanks", "greet", {"name": "Bob Fox"}),
        ("where is it?", "track", {"id": "PA-17"}),
    ],
)
def test_the_nearest_answer_with_the_values_of_the_new_prompt(said: str, tool: str, expected: dict[str, Any]) -> None:
    found = Neighbours(TRAIN).answer(question(said))
    assert found is not None
    assert found["tool_calls"][0]["function"]["name"] == tool
    assert arguments(found) == expected


def test_values_from_the_system_prompt_are_moved_too() -> None:
    train = [session("which day?", call("book", day="Monday"), system="Customer: 12. Today is Monday, sunny.")]
    found = Neighbours(train).answer(question("which day?", system="Customer: 99. Today is Friday, sunny."))
    assert arguments(found) == {"day": "Friday"}


def test_running_text_changes_its_ids_and_keeps_its_words() -> None:
    train = [session("where is PA-17?", {"role": "assistant", "content": "PA-17 is on its way."})]
    found = Neighbours(train).answer(question("where is PB-5?"))
    assert found == {"role": "assistant", "content": "PB-5 is on its way."}


def test_neighbours_come_from_the_same_pattern() -> None:
    assert Neighbours(TRAIN).answer(question("where is PA-17?", pattern="other")) is None
    assert Neighbours([]).answer(question("where is PA-17?")) is None


def test_the_step_of_a_session_counts() -> None:
    done: Message = {"role": "assistant", "content": "Done."}
    item = session("where is PA-17?", call("track", id="PA-17"))
    messages = [*item.messages, {"role": "tool", "tool_call_id": "x", "content": "ok"}, done]
    calls = (*item.calls, CallRef("c2", 4, "p", "teacher", "m", 2.0))
    later = Trajectory("t2", "s", "a", True, "rule", [], messages, calls)
    assert Neighbours([later]).answer(Question(later, calls[1])) == done
    assert arguments(Neighbours([later]).answer(Question(later, calls[0]))) == {"id": "PA-17"}


def test_the_commonest_answer_by_pattern() -> None:
    train = [*TRAIN, session("again PA-17", call("track", id="PA-17")), session("x", call("stop"), pattern="q")]
    found = commonest(train)
    assert arguments(found["p"]) == {"id": "PA-17"}
    assert found["q"]["tool_calls"][0]["function"]["name"] == "stop"


@given(st.text(max_size=60), st.dictionaries(st.text(max_size=5), st.text(max_size=8) | st.integers(), max_size=3))
def test_whatever_is_said_the_answer_stays_valid(said: str, values: dict[str, Any]) -> None:
    train = [session(said + " " + " ".join(map(str, values.values())), call("f", **values))]
    found = arguments(Neighbours(train).answer(question(said)))
    assert set(found) == set(values)
    assert all(isinstance(found[name], str) == isinstance(value, str) for name, value in values.items())
