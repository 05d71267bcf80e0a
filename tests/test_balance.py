"""Rare actions are shown more often."""

from collections import Counter
from typing import Any

from tutelage.distill.balance import MOST, balanced_rows
from tutelage.distill.curate import CallRef, Trajectory
from tutelage.distill.rows import Row


def session(number: int, *names: str) -> tuple[Row, Trajectory]:
    messages: list[dict[str, Any]] = []
    for name in names:
        calls = [{"id": "1", "type": "function", "function": {"name": name, "arguments": "{}"}}]
        said = {"role": "assistant", "content": "Hello."} if name == "-" else {"role": "assistant", "tool_calls": calls}
        messages += [{"role": "user", "content": "x"}, said]
    calls = tuple(CallRef(f"{number}/{at}", 2 * at + 1, "p", "teacher", "m", 0.0) for at in range(len(names)))
    trajectory = Trajectory(f"t{number}", f"t{number}", "a", True, "", [], messages, calls)
    return Row(f"r{number}", f"t{number}", tuple(call.call_id for call in calls), [1], [1]), trajectory


def shown(*sessions: tuple[Row, Trajectory]) -> Counter[str]:
    rows, trajectories = zip(*sessions, strict=True)
    return Counter(row.row_id for row in balanced_rows(rows, trajectories, 0.4))


def test_a_row_is_repeated_by_its_rarest_action() -> None:
    common = [session(number, "on") for number in range(64)]
    found = shown(*common, session(100, "off"), session(101, "on", "set"), *(session(200 + n, "-") for n in range(16)))
    assert {found[f"r{number}"] for number in range(64)} == {1}
    assert found["r100"] == 5
    assert found["r101"] == 5
    assert found["r200"] == 2


def test_nothing_is_repeated_without_end() -> None:
    assert shown(*(session(number, "on") for number in range(500)), session(999, "off"))["r999"] == MOST


def test_alike_rows_stay_as_they_are() -> None:
    assert shown(session(0, "a"), session(1, "b")) == Counter({"r0": 1, "r1": 1})
    assert balanced_rows([], [], 0.4) == []


def test_a_power_of_nothing_repeats_nothing() -> None:
    rows, trajectories = zip(*(session(n, "on" if n else "off") for n in range(40)), strict=True)
    assert balanced_rows(rows, trajectories, 0.0) == list(rows)
