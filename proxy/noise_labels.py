"""Asking the teacher twice: which calls, what came back, and what it says about a student.

A share of the shadowed sessions is drawn, and each of their calls is sent to the teacher once more; the second answer
is compared with the first by the rules that compare the student. The drawn sessions are repeated whole, for the session
is the unit of evidence.

Where the rules are unsure about the second answer it counts as agreeing: no judge sees it, and a disagreement of the
teacher that is none would make the student look better than it is. A person who forgives the student a difference
that the rules hold against the teacher's second answer is not heard here, for the same reason.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..traffic.answers import dump
from ..traffic.compare import UNSURE
from ..traffic.conversations import answers_of, requests_of
from ..traffic.store import Store
from .draws import Draw
from .gate import confidence_sequence
from .noise import NoiseTest, noisy
from .shadow import Label, Task

NOISE = "noise"
DAY_S = 86_400.0
WINDOW_S = DAY_S
"""Only pairs of this time are repeated: an old prompt may get another answer because the teacher has changed."""
REFUSED = "teacher_http_"
"""Reasons that begin so: the teacher gave no second answer, so nothing is known."""

_DUE = """
SELECT DISTINCT x.call_id, x.pattern_id, x.trajectory_id FROM comparisons x JOIN calls c USING (call_id)
WHERE x.kind = 'shadow' AND x."at" >= $since AND c.route = 'teacher'
    AND ({drawn} OR list_contains($doubted, x.pattern_id))
    AND NOT EXISTS (SELECT 1 FROM teacher_repeats r WHERE r.call_id = x.call_id)
ORDER BY x.call_id LIMIT $limit
"""
_INSERT = """
INSERT INTO teacher_repeats VALUES (CAST(? AS UUID), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
"""
AGAIN = f"CASE WHEN r.reason = '{UNSURE}' OR r.reason LIKE '{UNSURE}:%' THEN 0 ELSE r.loss END"
OURS = f"""
CASE WHEN x.ruled_reason = '{UNSURE}' OR x.ruled_reason LIKE '{UNSURE}:%' THEN x.loss
     ELSE greatest(x.loss, x.ruled_loss) END
"""
_SESSIONS = f"""
SELECT x.student, x.trajectory_id, avg({OURS}) AS ours, avg({AGAIN}) AS again, min(x."at") AS first_at
FROM comparisons x LEFT JOIN teacher_repeats r ON r.call_id = x.call_id AND NOT starts_with(r.reason, '{REFUSED}')
WHERE x.kind = 'shadow' AND x.pattern_id = ? AND x.trajectory_id IN (
    SELECT trajectory_id FROM teacher_repeats WHERE pattern_id = x.pattern_id)
GROUP BY ALL HAVING count(r.call_id) = count(*) ORDER BY first_at, x.trajectory_id
"""


@dataclass(frozen=True)
class NoiseRow:
    """One student version on one pattern beside the teacher's own second answer: a row of `/api/noise`."""

    pattern_id: str
    student: str
    sessions: int
    """n: sessions in which both were compared with the teacher's first answer."""
    self_agreement: float
    """Of the teacher with itself, in [0, 1]."""
    low: float
    high: float
    """95 % interval of the self-agreement, valid however often one looks."""
    noisy: bool
    """The self-agreement is under 1 − ε/2: the noise test is the one to look at."""
    difference: float
    """Mean D: how much more often the student is at odds with the first answer than the teacher is."""
    margin: float
    """δ."""
    proven: bool
    """E[D] < δ at the level α."""


class NoiseSource:
    """Tasks and labels of the noise runner; see `shadow.LabelSource`."""

    def __init__(
        self,
        store: Store,
        draw: Draw,
        per_day: int,
        clock: Callable[[], float],
        doubted: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        """doubted: patterns of which every shadowed session is repeated, not only those drawn."""
        self._store, self._draw, self._per_day, self._clock, self._doubted = store, draw, per_day, clock, doubted

    def tasks(self, kind: str, limit: int) -> Sequence[Task]:
        """Calls to ask the teacher again, the oldest first, within the day's budget."""
        now = self._clock()
        sql = 'SELECT count(*) FROM teacher_repeats WHERE teacher_repeats."at" >= ?'
        room = min(limit, self._per_day - (self._store.value(sql, (now // DAY_S * DAY_S,)) or 0))
        if room <= 0 or self._draw.share <= 0:
            return []
        values = {"since": now - WINDOW_S, "limit": room, "doubted": list(self._doubted())}
        rows = self._store.query(_DUE.format(drawn=self._draw.sql("x.trajectory_id")), values)
        ids = [row["call_id"] for row in rows]
        requests, answers = requests_of(self._store, ids), answers_of(self._store, ids)
        return [_task(row, requests[row["call_id"]], answers) for row in rows if answers.get(row["call_id"])]

    def deliver(self, label: Label) -> None:
        """Keep the second answer and its loss against the first."""
        task, reply = label.task, label.reply
        self._store.execute(
            _INSERT,
            (
                task.call_id, task.pattern_id, task.trajectory_id, label.loss, label.reason, label.comparator,
                label.policy, dump(reply) if reply else "", label.at, label.latency_ms, *label.usage,
            ),
        )  # fmt: skip


def differences(store: Store, pattern_id: str, student: str) -> list[float]:
    """D of each session that was repeated whole, in the order in which they were first shadowed."""
    rows = store.query(_SESSIONS, (pattern_id,))
    return [row["ours"] - row["again"] for row in rows if row["student"] == student]


def noise_rows(store: Store, pattern_id: str, epsilon: float, margin: float, alpha: float) -> list[NoiseRow]:
    """Every student version that was compared on repeated sessions of a pattern."""
    by_student: dict[str, list[dict[str, Any]]] = {}
    for row in store.query(_SESSIONS, (pattern_id,)):
        by_student.setdefault(row["student"], []).append(row)
    return [_row(pattern_id, student, rows, epsilon, margin, alpha) for student, rows in sorted(by_student.items())]


def _row(
    pattern_id: str, student: str, rows: Sequence[dict[str, Any]], epsilon: float, margin: float, alpha: float
) -> NoiseRow:
    test = NoiseTest.begin(margin, alpha)
    for row in rows:
        test = test.update(row["ours"], row["again"])
    n, odds = len(rows), sum(row["again"] for row in rows)
    low, high = confidence_sequence(odds, n - odds)
    return NoiseRow(
        pattern_id=pattern_id,
        student=student,
        sessions=n,
        self_agreement=1 - odds / n,
        low=1 - high,
        high=1 - low,
        noisy=noisy(n, odds, epsilon),
        difference=test.mean or 0.0,
        margin=margin,
        proven=test.crossed,
    )


def _task(row: dict[str, Any], request: dict[str, Any], answers: dict[str, Any]) -> Task:
    return Task(NOISE, row["call_id"], row["pattern_id"], row["trajectory_id"], "", request, answers[row["call_id"]])
