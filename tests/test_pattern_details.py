"""What `patterns show` tells of a pattern."""

from typing import Any

from tutelage.traffic.pattern_details import LONGEST_TEXT, examples_of, skeleton_lines, tools_of, volume_of
from tutelage.traffic.patterns import PatternEntry
from tutelage.traffic.skeleton import GAP


def test_volatile_parts_are_marked() -> None:
    lines = ("Be brief.", "It is ⟨time⟩.", GAP, "For ⟨*⟩ only.")
    entry = PatternEntry(pattern_id="p", agent_id="a", name="n", version=1, role="user", agent_key="k", skeleton=lines)
    assert [(line.text, line.volatile) for line in skeleton_lines(entry)] == list(
        zip(lines, (False, True, True, True), strict=True)
    )


def test_tools_examples_and_days(control_world: Any) -> None:
    control_world.play(9)
    control_world.now += 86_400.0
    control_world.play(2, route="student", student="s@1")
    long = {"role": "assistant", "content": "x" * 1_000}
    control_world.play(1, answer=long, route="teacher")
    store, pattern = control_world.plane.store, control_world.pattern
    (tool,) = tools_of(store, pattern)
    assert (tool.name, tool.arguments) == ("set_status", ("parcel", "status"))
    newest, before, _ = examples_of(store, pattern)
    assert newest.answer == "x" * LONGEST_TEXT + "… (1000 characters)"
    assert (newest.action, before.action) == ("(text)", "set_status")
    assert before.last_message == "Parcel P00011 has left."
    assert "P00011" in before.answer
    days = volume_of(store, [pattern])
    assert (days[0].teacher_calls, days[0].student_calls) == (1, 2)
    assert len(days) == 2
    assert days[0].day > days[1].day
    assert days[0].prompt_tokens == 300


def test_a_pattern_without_calls_shows_nothing(control_world: Any) -> None:
    store = control_world.plane.store
    assert (tools_of(store, "p_x"), examples_of(store, "p_x"), volume_of(store, ["p_x"])) == ([], [], [])
