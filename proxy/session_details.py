"""What a session says as evidence beyond its loss, and which sessions say something else now: questions to the store.

A label may change after its session has been heard: a judge or a person decides late, a run goes on after a pause. The
sessions that this touches are found by when their labels changed, and read anew as a whole.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, NamedTuple

from ..traffic.canonical import loads
from ..traffic.store import Store
from ..traffic.tool_policy import ToolPolicy
from .evidence import KEEP
from .gate import session_loss
from .nulls import Compared, watch
from .phrases import Phrases
from .sessions import LABEL
from .states import WHOLE
from .threshold import Scored, accepts

_ROWS = """
SELECT x.trajectory_id, x.loss, x.reason, x.teacher, x.student_answer, c.toolset_id,
       CASE WHEN x.kind = 'audit' THEN c.confidence ELSE x.score END AS score, coalesce(x.waits, FALSE) AS waits,
       x.kind, c.confidence
FROM comparisons x JOIN calls c USING (call_id)
WHERE x.pattern_id = $pattern AND x.student = $student AND {label} AND c.retried IS NOT TRUE
  AND list_contains($sessions, x.trajectory_id)
ORDER BY c.started_at, c.call_id
"""
_SAID = """
SELECT v.seq, x.pattern_id, x.student, x.kind, x.trajectory_id
FROM verdicts v JOIN comparisons x USING (call_id, student, kind) WHERE v.seq > ?
"""
_LOSSES = """
SELECT x.trajectory_id, list(x.loss) FROM comparisons x JOIN calls c USING (call_id)
WHERE x.pattern_id = $pattern AND x.student = $student AND {label} AND c.retried IS NOT TRUE
  AND list_contains($sessions, x.trajectory_id) AND c.started_at BETWEEN $low AND $high
GROUP BY ALL
"""
_SPAN = "SELECT min(first_at), max(last_at) FROM trajectories WHERE trajectory_id IN (SELECT unnest($sessions))"
NEAR = 1e-9
"""Losses that differ by less are the same: means are not summed up in the same order everywhere."""


class Spoken(NamedTuple):
    """A session of which a label came or changed."""

    pattern_id: str
    student: str
    kind: str
    """Of label: `shadow` or `audit`."""
    session: str


@dataclass(frozen=True)
class Details:
    """One session's comparisons."""

    losses: tuple[float, ...]
    items: tuple[Scored, ...]
    """Score and loss of the calls that have a score."""
    nulls: dict[str, float]
    """See `nulls.watch`."""
    waits: bool
    """A verdict on one of its calls is still to come."""

    def loss(self, how: str) -> float:
        """The session's loss; see `gate.session_loss`."""
        return session_loss(self.losses, how)


def details(
    store: Store,
    pattern_id: str,
    student: str,
    kind: str,
    sessions: Collection[str],
    policy: ToolPolicy,
    phrases: Phrases | None = None,
    threshold: float | None = None,
) -> dict[str, Details]:
    """Details of these sessions, as far as they have comparisons. `kind` is `shadow`, `audit` or `whole`; `phrases`:
    see `nulls.watch`; `threshold`: of whole sessions, the one that they were served under."""
    if not sessions:
        return {}
    rows = store.query(_ROWS.format(label=LABEL[kind]), _values(pattern_id, student, kind, sessions))
    if kind == WHOLE:
        rows = [_unsure_again(row, threshold) for row in rows]
    tools = _tools(store, {row["toolset_id"] for row in rows if row["toolset_id"]})
    grouped: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        grouped[row["trajectory_id"]].append(row)
    return {session: _details(found, tools, policy, phrases) for session, found in grouped.items()}


def _details(
    rows: Sequence[Mapping[str, Any]], tools: Mapping[str, Any], policy: ToolPolicy, phrases: Phrases | None
) -> Details:
    calls = [
        Compared(
            loads(row["teacher"].encode("utf-8", "surrogatepass")),
            loads(row["student_answer"].encode("utf-8", "surrogatepass")) if row["student_answer"] else None,
            tools.get(str(row["toolset_id"]), []),
            row["reason"],
        )
        for row in rows
        if row["teacher"]
    ]
    return Details(
        losses=tuple(row["loss"] for row in rows),
        items=tuple((row["score"], row["loss"]) for row in rows if row["score"] is not None and isfinite(row["score"])),
        nulls=watch(calls, policy, phrases),
        waits=any(row["waits"] for row in rows),
    )


def _values(pattern_id: str, student: str, kind: str, sessions: Collection[str]) -> dict[str, Any]:
    named = {"pattern": pattern_id, "student": student, "sessions": list(sessions)}
    return named if kind == WHOLE else named | {"kind": kind}


def _unsure_again(row: dict[str, Any], threshold: float | None) -> dict[str, Any]:
    """The row of a call whose answer was too unsure to be served and was asked for again.

    What is tested is the first answer, of which only the score is known. The second stands for it if it would not have
    been served either: then both are drawn alike. If it would (a student that draws its words at random), it is counted
    as a loss, at the first one's score: the true loss cannot be larger.
    """
    if row["kind"] == "audit":
        return row
    if row["score"] is None or accepts(threshold, row["score"]):
        return row | {"score": row["confidence"], "loss": 1.0}
    return row if row["confidence"] is not None else row | {"score": None}


def _tools(store: Store, ids: Collection[Any]) -> dict[str, Any]:
    sql = "SELECT toolset_id, body FROM toolsets WHERE list_contains($ids, CAST(toolset_id AS VARCHAR))"
    rows = store.rows(sql, {"ids": [str(one) for one in ids]}) if ids else []
    return {str(one): loads(body.encode("utf-8", "surrogatepass")) for one, body in rows}


def said_since(store: Store, seq: int) -> tuple[set[Spoken], int]:
    """Sessions on whose calls a judge or a person has spoken after verdict `seq`, and the newest verdict's number.

    By number and not by time: a clock that is set back must not hide a verdict.
    """
    rows = store.rows(_SAID, (seq,))
    return {Spoken(*row[1:]) for row in rows}, max((row[0] for row in rows), default=seq)


def differing(
    store: Store, pattern_id: str, student: str, kind: str, heard: Mapping[str, float], how: str
) -> set[Spoken]:
    """Those of the sessions in `heard`, in the order in which they were heard, whose labels now give another loss than
    the one that was heard. Only those that can still change are looked at: the last of them (`evidence.Trail`)."""
    names = list(heard)[-2 * KEEP :]
    [(low, high)] = store.rows(_SPAN, {"sessions": names})
    # Calls lie in the store in order of time: with these bounds, most of a large table is not even opened.
    values = _values(pattern_id, student, kind, names) | {"low": low, "high": high}
    rows = store.rows(_LOSSES.format(label=LABEL[kind]), values) if low is not None else []
    return {
        Spoken(pattern_id, student, kind, session)
        for session, losses in rows
        if session in heard and abs(session_loss(losses, how) - heard[session]) > NEAR
    }
