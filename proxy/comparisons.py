"""Comparisons of single calls, as rows of the table `comparisons`.

A call is compared once per student and kind; writing the same comparison again changes nothing. `loss` and `reason` are
what counts now; what the rules said is kept beside them when a judge or a person says otherwise (`verdicts`).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, get_args, get_type_hints

import pyarrow as pa

from ..traffic.rollup import touch
from ..traffic.store import Store


@dataclass(frozen=True)
class Comparison:
    """One verdict."""

    call_id: str
    student: str
    kind: str
    """`shadow`: the teacher served; `audit`: the student served and the teacher was asked afterwards."""
    pattern_id: str
    trajectory_id: str
    loss: float
    reason: str
    comparator: int
    """Version of the comparison rules."""
    teacher: str
    """The teacher's message as JSON; empty when there is none."""
    student_answer: str
    """The student's message as JSON; empty when there is none."""
    at: float
    student_ms: float | None = None
    student_prompt_tokens: int | None = None
    student_completion_tokens: int | None = None
    teacher_prompt_tokens: int | None = None
    teacher_completion_tokens: int | None = None
    policy: str = ""
    """Digest of the tool policy that it was made under; empty for the most cautious one."""
    waits: bool = False
    """A judge has yet to decide: the session is no evidence until then."""
    decided_by: str = "rules"
    """Whose word `loss` and `reason` are: `rules`, `judge` or `human`."""
    score: float | None = None
    """How sure the student said it was, in shadow; of a served answer the call knows it."""


_ARROW = {str: pa.string(), float: pa.float64(), int: pa.int64(), bool: pa.bool_()}
_SCHEMA = pa.schema({name: _ARROW[(get_args(hint) or (hint,))[0]] for name, hint in get_type_hints(Comparison).items()})
_COLUMNS = ", ".join(f"comparisons.{field.name}" for field in fields(Comparison))


def save(store: Store, comparisons: Sequence[Comparison]) -> int:
    """Store verdicts; returns how many are new. A verdict that exists stays as it is."""
    if not comparisons:
        return 0
    sql = """
        INSERT INTO comparisons BY NAME
        SELECT * REPLACE (CAST(call_id AS UUID) AS call_id), loss AS ruled_loss, reason AS ruled_reason,
            batch."at" AS changed_at
        FROM batch ON CONFLICT DO NOTHING
    """
    added = store.bulk(sql, pa.Table.from_pylist([asdict(one) for one in comparisons], _SCHEMA))
    touch(store, {one.trajectory_id for one in comparisons})
    return added


def listed(
    store: Store, pattern_id: str, limit: int = 50, *, student: str = "", worse_only: bool = False
) -> list[Comparison]:
    """Verdicts on a pattern, newest first; those with a loss only when `worse_only`."""
    sql = f"""
        SELECT {_COLUMNS} FROM comparisons
        WHERE pattern_id = $pattern AND ($student = '' OR student = $student) AND loss >= $least
        ORDER BY comparisons.at DESC, call_id LIMIT $limit
    """
    values = {"pattern": pattern_id, "student": student, "least": 1e-9 if worse_only else 0.0, "limit": limit}
    return [Comparison(**row) for row in store.query(sql, values)]


def changed_since(store: Store, since: float) -> list[dict[str, Any]]:
    """Sessions of which a label has changed at or after a moment (Unix seconds), the earliest change first: rows of
    pattern_id, student, kind, trajectory_id, changed_at."""
    sql = """
        SELECT pattern_id, student, kind, trajectory_id, max(changed_at) AS changed_at FROM comparisons
        WHERE changed_at >= ? AND changed_at > comparisons."at" GROUP BY ALL ORDER BY changed_at, trajectory_id
    """
    return store.query(sql, (since,))


def count_since(store: Store, kind: str, since: float) -> int:
    """Verdicts of a kind since a time (Unix seconds): what budgets are checked against."""
    return store.value("SELECT count(*) FROM comparisons WHERE kind = ? AND comparisons.at >= ?", (kind, since)) or 0
