"""The benchmark of first decisions: whose runs are taught, what is asked, and what counts as right."""

import json
from typing import Any

import pytest

from benchmarks.ha_assist import TEST, Rule, chosen_of, of_one_agent, once
from tutelage.distill.curate import held_out

LINES = ["You are a house.", "Devices:", "⟨records⟩"]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "on",
            "parameters": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
        },
    }
]


def canonical(calls: Any) -> str:
    return json.dumps([[call["function"]["name"], json.loads(call["function"]["arguments"])] for call in calls or []])


def calling(name: str) -> list[dict[str, Any]]:
    return [{"id": "c", "type": "function", "function": {"name": "on", "arguments": json.dumps({"name": name})}}]


def item(
    number: int, sentence: str, name: str = "lamp", success: bool = True, prompt: str = LINES[0]
) -> dict[str, Any]:
    system = f"{prompt}\nDevices:\n- name: lamp\n  area: hall\n- name: fan {number % 2}\n  area: attic\n"
    answer = {"role": "assistant", "content": "", "tool_calls": calling(name)}
    return {
        "trajectory_id": f"t{number}",
        "task_id": sentence,
        "domain": "house",
        "teacher": "teacher",
        "trajectory_success": success,
        "tools": TOOLS,
        "messages": [{"role": "system", "content": system}, {"role": "user", "content": sentence}, answer],
        "calls": [{"i": 2}],
    }


def rule(**accepted: dict[str, int]) -> Rule:
    return Rule(canonical, {f"house|{task}": {"accepted_first": firsts} for task, firsts in accepted.items()})


def test_a_decision_is_right_when_a_run_that_ended_well_took_it() -> None:
    ours = rule(lamp={canonical(calling("lamp")): 2}, talk={"[]": 1}, none={})
    assert ours.judge(item(1, "lamp"), calling("lamp")) == (True, "")
    assert ours.judge(item(1, "lamp"), calling("fan")) == (False, "other arguments")
    assert ours.judge(item(1, "lamp"), None) == (False, "no call")
    assert ours.judge(item(1, "talk"), calling("lamp")) == (False, "call where none was needed")
    assert ours.judge(item(1, "none"), None) == (False, "no run ended well")


@pytest.mark.parametrize(("times", "success", "right"), [(2, True, True), (1, True, False), (1, False, True)])
def test_a_teachers_own_run_is_no_witness_for_itself(times: int, success: bool, right: bool) -> None:
    ours = rule(lamp={canonical(calling("lamp")): times})
    assert ours.teacher(item(1, "lamp", success=success)) is right


def test_the_agent_is_that_of_the_commonest_prompt() -> None:
    runs = [item(1, "a"), item(2, "b"), item(3, "c", prompt="You are a garden.")]
    found, lines = of_one_agent(runs)
    assert [one["trajectory_id"] for one in found] == ["t1", "t2"]
    assert lines == LINES


def test_no_sentence_is_taught_and_asked() -> None:
    sentences = [f"turn on lamp number {number} please" for number in range(60)]
    runs = [
        item(3 * at + turn, sentence, name=f"lamp {at}") for at, sentence in enumerate(sentences) for turn in range(3)
    ]
    chosen = chosen_of(runs, LINES)
    taught = {one.session for one in chosen.train}
    asked = {one.session for one in chosen.held_out}
    assert taught
    assert not taught & asked
    assert asked == {sentence for sentence in sentences if held_out(sentence, TEST)}
    assert chosen.dropped["duplicate"] or chosen.dropped["near_duplicate"]


def test_a_request_is_asked_once() -> None:
    runs = [item(1, "a"), item(2, "a"), item(3, "a"), item(4, "b")]
    assert [one["trajectory_id"] for one in once(runs)] == ["t1", "t2", "t4"]
    assert [one["trajectory_id"] for one in once(runs, per_task=1)] == ["t1", "t4"]
