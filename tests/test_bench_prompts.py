"""The benchmark of prompt lengths: whose calls are counted, and that the three forms are what they say."""

from typing import Any

from benchmarks.prompts import BARE, FULL, LEARNT, agents, learnt, lengths, medians

RULE = "You are a house. " + "Always be kind to those who live in it. " * 5
TOOLS = [{"type": "function", "function": {"name": "on", "parameters": {"type": "object", "properties": {}}}}]


def run(number: int, success: bool = True, domain: str = "house") -> dict[str, Any]:
    system = f"{RULE}\nDevices:\n- name: lamp {number}\n  area: hall\n- name: fan\n  area: attic\n"
    call = {"id": "c", "type": "function", "function": {"name": "on", "arguments": "{}"}}
    messages = [
        {"role": "system", "content": system},
        {"role": "user", "content": "on"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "done"},
        {"role": "assistant", "content": "It is on."},
    ]
    calls = [{"i": 2}, {"i": 4}]
    facts = {"trajectory_id": f"{domain}{number}", "domain": domain, "trajectory_success": success}
    return {**facts, "tools": TOOLS, "messages": messages, "calls": calls}


def letters(text: str) -> list[int]:
    return [ord(letter) for letter in text]


def test_successful_sessions_by_agent() -> None:
    found = agents([run(1), run(2, success=False), run(3, domain="garden")])
    assert {name: [item.trajectory_id for item in items] for name, items in found.items()} == {
        "house": ["house1"],
        "garden": ["garden3"],
    }
    assert [call.index for call in found["house"][0].trainable] == [2, 4]


def test_what_is_constant_is_read_in_the_whole_form_only() -> None:
    sessions = agents(run(number) for number in range(4))["house"]
    found = lengths(sessions, learnt(sessions), letters)
    assert all(len(counts) == 8 for counts in found.values())
    middle = medians(found)
    # The rule, the tools and the heading go; how a list of devices is written is learnt.
    assert middle[FULL] - middle[BARE] > len(RULE) + len('{"name": "on"}')
    assert middle[LEARNT] < middle[BARE]
