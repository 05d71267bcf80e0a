"""Labels become rows, once."""

from typing import Any

import pytest

from tutelage.proxy.labels import LabelBox, comparison_of
from tutelage.proxy.shadow import AUDIT, SHADOW, Label, Task

OURS, THEIRS = {"role": "assistant", "content": "ours"}, {"role": "assistant", "content": "theirs"}


def label(kind: str, logged: Any, asked: Any) -> Label:
    call_id = "0192f000-0000-7000-8000-000000000001"
    task = Task(kind, call_id, "p", "t", "s@1", {}, logged, usage=(100, 10), latency_ms=900.0)
    return Label(task, 1.0, "text", 1, asked, 5.0, 20.0, (12, 9))


def test_each_side_has_its_columns_whoever_was_asked() -> None:
    shadow, audit = comparison_of(label(SHADOW, THEIRS, OURS)), comparison_of(label(AUDIT, OURS, THEIRS))
    for row in (shadow, audit):
        assert "theirs" in row.teacher
        assert "ours" in row.student_answer
    assert (shadow.teacher_prompt_tokens, shadow.student_prompt_tokens, shadow.student_ms) == (100, 12, 20.0)
    assert (audit.teacher_prompt_tokens, audit.student_prompt_tokens, audit.student_ms) == (12, 100, 900.0)
    assert comparison_of(label(SHADOW, THEIRS, None)).student_answer == ""


def test_a_label_waits_until_it_is_committed(control_world: Any) -> None:
    store, box = control_world.plane.store, LabelBox()
    box.put(label(SHADOW, THEIRS, OURS))
    box.put(label(SHADOW, THEIRS, OURS))
    assert len(box.keys()) == 1
    assert box.write(store) == 1
    assert box.keys() == set()
    box.put(label(SHADOW, THEIRS, OURS))
    box.write(store)
    assert store.value("SELECT count(*) FROM comparisons") == 1


def test_labels_stay_when_the_store_fails(control_world: Any) -> None:
    box = LabelBox()
    box.put(label(AUDIT, OURS, THEIRS))
    control_world.plane.store.close()
    with pytest.raises(Exception, match="onnection"):
        box.write(control_world.plane.store)
    assert len(box.keys()) == 1
