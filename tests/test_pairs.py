"""Two actions side by side, line by line."""

from typing import Any

import pytest
from hypothesis import given
from test_compare import MESSAGE, POLICY, READ, TOOLS, acts, heat, says

from tutelage.proxy.pairs import LONGEST, diff, in_short
from tutelage.traffic.actions import action_of
from tutelage.traffic.compare import compare


def lines(theirs: Any, ours: Any) -> list[tuple[Any, ...]]:
    return [
        (line.tool, line.path, line.compared_as, line.given_by, line.why) for line in diff(theirs, ours, TOOLS, POLICY)
    ]


@pytest.mark.parametrize(
    ("theirs", "ours", "expected"),
    [
        (says("It is on."), says("It is 5."), [("", "", "text", "both", "numbers")]),
        (says("On."), None, [("", "", "text", "teacher", "")]),
        (
            heat(degrees=5, trace_id="a"),
            heat(degrees=6, trace_id="b", room="x"),
            [
                ("set_temperature", "degrees", "value", "both", "value"),
                ("set_temperature", "room", "value", "student", "extra"),
                ("set_temperature", "trace_id", "ignored", "both", ""),
                ("set_temperature", "unit", "value", "both", ""),
            ],
        ),
        (
            acts(("lock", {}), ("lock", {"d": 1})),
            acts(("lock", {}), (READ, {})),
            [
                ("lock", "", "value", "both", ""),
                ("lock", "", "call", "teacher", "missing"),
                (READ, "", "call", "student", "extra"),
            ],
        ),
        (acts(("lock", "{")), acts(("lock", {})), [("lock", "", "value", "both", "unparsable")]),
    ],
)
def test_lines(theirs: Any, ours: Any, expected: list[tuple[Any, ...]]) -> None:
    assert lines(theirs, ours) == expected


@given(MESSAGE, MESSAGE)
def test_a_loss_between_whole_actions_always_has_a_line(one: dict[str, Any], other: dict[str, Any]) -> None:
    verdict = compare(one, other, TOOLS, POLICY)
    shown = list(diff(one, other, TOOLS, POLICY))
    if verdict.loss == 0:
        assert not any(line.why for line in shown)
    elif not verdict.reason.startswith(("kind", "order", "invalid")):
        assert any(line.why for line in shown)


def test_an_action_in_short() -> None:
    assert in_short(action_of(heat(degrees=5, room="a"))) == 'set_temperature(degrees=5, room="a")'
    assert in_short(action_of(says("One\n two"))) == "One two"
    assert in_short(action_of(acts(("lock", "{")))) == "lock({)"
    assert len(in_short(action_of(says("x" * 1000)))) == LONGEST + 1
    assert in_short(action_of({})) == ""
