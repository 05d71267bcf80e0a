"""Verdicts in the store."""

from dataclasses import replace
from typing import Any

from tutelage.proxy.comparisons import Comparison, count_since, listed, save

ONE = Comparison(
    call_id="0192f000-0000-7000-8000-000000000001",
    student="s@1",
    kind="shadow",
    pattern_id="p",
    trajectory_id="t",
    loss=0.0,
    reason="same",
    comparator=1,
    teacher="{}",
    student_answer="{}",
    at=10.0,
    teacher_prompt_tokens=7,
)
TWO = replace(ONE, call_id="0192f000-0000-7000-8000-000000000002", loss=1.0, at=20.0)


def test_a_verdict_is_written_once_and_read_back_whole(control_world: Any) -> None:
    store = control_world.plane.store
    assert save(store, []) == 0
    assert save(store, [ONE, TWO]) == 2
    assert save(store, [replace(ONE, loss=0.5)]) == 0
    assert listed(store, "p") == [TWO, ONE]
    assert listed(store, "p", worse_only=True) == [TWO]
    assert listed(store, "p", student="s@2") == []
    assert count_since(store, "shadow", 15.0) == 1
    assert count_since(store, "audit", 0.0) == 0
