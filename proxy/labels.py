"""Labels on their way into the store, and what is still under way.

Invariant: a label is in `waiting` from its delivery until its row is committed, so nobody is asked twice for it; after
a crash the store alone says what is there, and what was in flight is asked again.
"""

import json
import threading
from typing import Any

from ..traffic.store import Store
from .comparisons import Comparison, save
from .shadow import SHADOW, Label


class LabelBox:
    """Takes labels from the runners' threads and gives them to the thread that writes."""

    def __init__(self) -> None:
        # Protects the dict between the runners' threads and the keeper's.
        self._lock = threading.Lock()
        self._waiting: dict[tuple[str, str, str], Label] = {}

    def put(self, label: Label) -> None:
        """Hand over one label."""
        with self._lock:
            self._waiting[label.task.key] = label

    def keys(self) -> set[tuple[str, str, str]]:
        """Labels that are not in the store yet."""
        with self._lock:
            return set(self._waiting)

    def write(self, store: Store) -> int:
        """Commit what is waiting; returns the number of labels. They stay waiting when the store fails."""
        with self._lock:
            labels = dict(self._waiting)
        save(store, [comparison_of(label) for label in labels.values()])
        with self._lock:
            for key in labels:
                del self._waiting[key]
        return len(labels)


def comparison_of(label: Label) -> Comparison:
    """The row of a label: whoever was asked, the teacher's and the student's side have their columns."""
    task = label.task
    logged, asked = (task.answer, task.usage, task.latency_ms), (label.reply, label.usage, label.latency_ms)
    teacher, student = (logged, asked) if task.kind == SHADOW else (asked, logged)
    return Comparison(
        call_id=task.call_id,
        student=task.student,
        kind=task.kind,
        pattern_id=task.pattern_id,
        trajectory_id=task.trajectory_id,
        loss=label.loss,
        reason=label.reason,
        comparator=label.comparator,
        teacher=_text(teacher[0]),
        student_answer=_text(student[0]),
        at=label.at,
        student_ms=student[2],
        student_prompt_tokens=student[1][0],
        student_completion_tokens=student[1][1],
        teacher_prompt_tokens=teacher[1][0],
        teacher_completion_tokens=teacher[1][1],
        policy=label.policy,
        waits=label.waits,
        score=label.score,
    )


def _text(message: dict[str, Any] | None) -> str:
    return "" if message is None else json.dumps(message)
