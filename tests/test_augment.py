import json
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.distill.augment import NO_TOOL, augmented, renamed, without_tool
from tutelage.distill.curate import CallRef, Trajectory
from tutelage.traffic.actions import action_of, validate_action


def tool(name: str, *arguments: str, **schema: Any) -> dict[str, Any]:
    properties = {argument: {"type": "string", "description": f"the {argument}"} for argument in arguments}
    parameters = {
        "type": "object",
        "properties": properties,
        "required": list(arguments),
        "additionalProperties": False,
    }
    return {
        "type": "function",
        "function": {"name": name, "description": f"{name}, not get_order", "parameters": parameters | schema},
    }


TOOLS = [tool("get_order", "order_id"), tool("sendMail", "to", "text"), tool("track", "id")]


def call(name: str, **arguments: str) -> dict[str, Any]:
    return {"id": "c", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}


def session(number: int = 0, tools: list[dict[str, Any]] = TOOLS) -> Trajectory:
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "Use get_order before sendMail. Keep track."},
        {"role": "user", "content": "where is get_order 7?"},
        {"role": "assistant", "content": None, "tool_calls": [call("get_order", order_id="7")]},
        {"role": "tool", "tool_call_id": "c", "name": "get_order", "content": '{"order_id": "7"}'},
        {"role": "assistant", "content": "It is on its way."},
    ]
    calls = (CallRef(f"k{number}", 2, "p", "teacher", "m", 1.0), CallRef(f"l{number}", 4, "p", "teacher", "m", 2.0))
    return Trajectory(f"t{number}", f"s{number}", "a", True, "rule", tools, messages, calls)


def names(item: Trajectory) -> list[str]:
    return [entry["function"]["name"] for entry in item.tools]


def test_everything_is_renamed_alike():
    made = renamed(session(), 3, random.Random(1))
    assert made
    assert made.trajectory_id == "t0#renamed-3"
    assert [ref.call_id for ref in made.calls] == ["k0#renamed-3", "l0#renamed-3"]
    assert set(names(made)).isdisjoint(names(session()))
    function = made.messages[2]["tool_calls"][0]["function"]
    assert made.messages[3]["name"] == function["name"] in names(made)
    assert validate_action(action_of(made.messages[2]), made.tools) == ""
    assert list(json.loads(function["arguments"]).values()) == ["7"]
    assert "order_id" not in json.loads(function["arguments"])
    assert f"Use {function['name']} before " in made.messages[0]["content"]
    assert "sendMail" not in made.messages[0]["content"]
    assert made.messages[0]["content"].endswith("Keep track."), "a word that is a name as well stays a word"
    assert made.messages[1] == session().messages[1], "what the user said stays"
    told = next(entry["function"] for entry in made.tools if entry["function"]["name"] == function["name"])
    assert function["name"] in told["description"]
    assert "order_id" not in json.dumps(told)


def test_arguments_behind_references_keep_their_names():
    tools = [tool("get_order", "order_id", **{"$defs": {"x": {}}})]
    made = renamed(session(tools=tools), 0, random.Random(1))
    assert made
    assert json.loads(made.messages[2]["tool_calls"][0]["function"]["arguments"]) == {"order_id": "7"}
    assert validate_action(action_of(made.messages[2]), made.tools) == ""


def test_a_call_that_the_tools_do_not_explain_makes_no_lesson():
    strange = session(tools=TOOLS[1:])
    assert renamed(strange, 0, random.Random(1)) is None
    broken = session()
    broken.messages[2]["tool_calls"][0]["function"]["arguments"] = "{not json"
    assert renamed(broken, 0, random.Random(1)) is None


def test_without_the_tool_the_answer_is_that_there_is_none():
    made = without_tool(session(), 2, random.Random(1))
    assert made
    assert sorted(names(made)) == ["sendMail", "track"]
    assert made.messages[:2] == session().messages[:2]
    assert made.messages[2]["content"] in NO_TOOL
    assert [(ref.call_id, ref.index) for ref in made.calls] == [("k0#no-tool-2", 2)]


@pytest.mark.parametrize("tools", [TOOLS[:1], []])
def test_no_lesson_where_no_tool_would_be_left(tools: list[dict[str, Any]]):
    assert without_tool(session(tools=tools), 0, random.Random(1)) is None


def test_no_lesson_about_a_tool_that_was_used_before():
    item = session()
    assert without_tool(replace(item, calls=item.calls[1:]), 0, random.Random(1)) is None


def test_one_in_ten_lacks_its_tool_and_all_is_repeatable():
    some = [session(number) for number in range(40)]
    made = augmented(some, 0.5, seed=3)
    assert len(made) == 20
    assert sum("#no-tool" in item.trajectory_id for item in made) == 2
    assert made == augmented(some, 0.5, seed=3)
    assert made != augmented(some, 0.5, seed=4)
    assert len({item.trajectory_id for item in augmented(some, 2.0, seed=3)}) == 80


def test_nothing_is_made_of_sessions_without_tools():
    assert augmented([session(tools=[])] * 5, 1.0, seed=1) == []
    assert augmented([session()], 0.0, seed=1) == []


@given(st.lists(st.text("abz_-AB9é", min_size=1, max_size=12), min_size=1, max_size=8, unique=True), st.integers())
def test_new_names_are_new_and_different(known: list[str], seed: int):
    item = session(tools=[tool(name, *known) for name in known])
    item.messages[2]["tool_calls"] = [call(known[0], **dict.fromkeys(known, "v"))]
    made = renamed(item, 0, random.Random(seed))
    assert made
    assert len(set(names(made))) == len(known)
    assert set(names(made)).isdisjoint(known)
    assert validate_action(action_of(made.messages[2]), made.tools) == ""
