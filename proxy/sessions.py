"""Which calls need a label, and which sessions are complete: questions to the store, no state of its own.

A session is one trajectory's calls of one pattern. It is over when its trajectory has been silent for the idle time,
and it counts when all its calls that need labels have them. Sessions are given in the order in which they ended, and
the list stops at the first one that still lacks a label: a label that is slow to come (a student that runs into its
timeout, say) must not let luckier sessions overtake it, or the gate would see a sample chosen by its outcome.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..traffic.conversations import answers_of, requests_of
from ..traffic.lookup import links_up
from ..traffic.newest import newest
from ..traffic.store import Row, Store
from .routes import BUCKETS, bucket
from .session_rows import session_rows
from .shadow import AUDIT, SHADOW, Task
from .states import WHOLE
from .usable import NO_LABEL

DAY_S = 86_400.0


@dataclass(frozen=True)
class Scope:
    """Whose evidence is asked for."""

    pattern_id: str
    student: str
    kind: str
    """`shadow`, `audit` or `whole`."""
    share: float = 1.0
    """Share of sessions that are looked at."""
    salt: str = ""
    """Salt of the draw; not the routing salt, or the draw would follow the assignment."""
    min_per_day: int = 0
    """The first so many sessions of each UTC day are looked at whatever the share."""
    after: float = 0.0
    """Only sessions that began later (Unix seconds), such as after the training snapshot."""
    raised_at: float = 0.0
    """Since when (Unix seconds) the share holds; of sessions that began before, `share_before` is looked at."""
    share_before: float = 0.0


@dataclass(frozen=True)
class SessionLoss:
    """One closed session with all its labels."""

    trajectory_id: str
    calls: int
    mean: float
    worst: float
    first_at: float
    last_at: float


_ANSWERED = "c.status = 200 AND c.response_id IS NOT NULL AND NOT coalesce(c.cancelled, false)"
_UNSURE = f"(c.retried IS NOT TRUE AND c.student = $student AND c.fallback = 'low_confidence' AND {_ANSWERED})"
_AUDITED = (
    f"(c.retried IS NOT TRUE AND c.student = $student AND ((c.route = 'student' AND {_ANSWERED})"
    f" OR coalesce(c.fallback, '') NOT IN ('', {', '.join(repr(reason) for reason in NO_LABEL)})))"
)
# The calls that need a label. Shadow: whole teacher answers, and those of another version that the teacher has audited:
# else a version could never prove itself behind a live one. Audit: calls that the student was chosen for and answered,
# or lost to the teacher by its own fault. Whole: these, and whole answers of the teacher in place of unsure ones.
_NEEDED = {
    SHADOW: f"{_ANSWERED} AND c.retried IS NOT TRUE AND (c.route = 'teacher' OR coalesce(a.teacher, '') <> '')",
    AUDIT: _AUDITED,
    WHOLE: f"({_AUDITED} OR {_UNSURE})",
}
LABEL = {
    SHADOW: "x.kind = $kind",
    AUDIT: "x.kind = $kind",
    WHOLE: "x.kind = CASE WHEN c.fallback = 'low_confidence' THEN 'shadow' ELSE 'audit' END",
}
"""Which comparison `x` of a call `c` is its label, by kind of evidence."""
_AUDITS = """
LEFT JOIN comparisons a ON a.call_id = c.call_id AND a.student = c.student AND a.kind = 'audit'
    AND c.route = 'student' AND c.student <> $student
"""
# A session that another version served counts for shadow once all of its calls are audited. Where some are not, what is
# left of it are the calls that went back to the teacher: a sample chosen by the other version's failures.
_BLIND = "count(*) FILTER (c.route = 'student' AND coalesce(a.teacher, '') = '' AND $kind = 'shadow')"
_SESSIONS = f"""
SELECT c.trajectory_id, min(t.first_at) AS first_at, max(t.last_at) AS last_at,
       count(*) FILTER ({{needed}}) AS calls, count(x.loss) FILTER ({{needed}}) AS labelled,
       avg(x.loss) FILTER ({{needed}}) AS mean, max(x.loss) FILTER ({{needed}}) AS worst,
       count(*) FILTER ({{needed}} AND x.waits) AS waits
FROM calls c JOIN trajectories t USING (trajectory_id) {_AUDITS}
LEFT JOIN comparisons x ON x.call_id = c.call_id AND x.student = $student AND {{label}}
WHERE c.pattern_id = $pattern AND t.first_at > $after AND c.started_at > $after AND c.request_tail IS NOT NULL {{among}}
GROUP BY c.trajectory_id HAVING calls > 0 AND {_BLIND} = 0 ORDER BY last_at, c.trajectory_id
"""
_UNLABELLED = f"""
SELECT c.call_id, c.trajectory_id, c.fallback, c.prompt_tokens, c.completion_tokens, c.latency_ms,
       a.teacher AS audited, a.teacher_prompt_tokens, a.teacher_completion_tokens
FROM calls c {_AUDITS}
WHERE c.pattern_id = $pattern AND c.request_tail IS NOT NULL AND list_contains($sessions, c.trajectory_id)
  AND {{needed}}
  AND NOT EXISTS (SELECT 1 FROM comparisons x WHERE x.call_id = c.call_id AND x.student = $student AND x.kind = $kind)
ORDER BY c.started_at, c.call_id
"""


def sessions(store: Store, scope: Scope) -> Sequence[Row]:
    """The sessions that are looked at, ordered by their end: labelled, half labelled or still open."""
    key = scope.pattern_id, scope.student, scope.kind
    rows = session_rows(store).get(store, key, scope.after, lambda among: asked(store, scope, among))
    if scope.share >= 1.0 and not scope.raised_at:
        return rows
    chosen = _drawn(rows, scope)
    return [row for row in rows if row["trajectory_id"] in chosen]


def asked(store: Store, scope: Scope, among: str = "") -> list[Row]:
    """All sessions of a scope, drawn or not, straight from the store; `among` narrows it: see `session_rows`."""
    sql = _SESSIONS.format(needed=_NEEDED[scope.kind], label=LABEL[scope.kind], among=among)
    return store.query(sql, _params(scope) | {"after": scope.after})


def tasks(store: Store, scope: Scope, limit: int, taken: Collection[tuple[str, str, str]] = ()) -> list[Task]:
    """Up to `limit` labels to get, whole sessions, the oldest first. `taken` are keys that are under way."""
    missing = [row for row in sessions(store, scope) if row["labelled"] < row["calls"]]
    missing.sort(key=lambda row: (row["first_at"], row["trajectory_id"]))
    order: dict[str, int] = {}
    room = limit + len(taken)
    for row in missing:
        if room <= 0:
            break
        order[row["trajectory_id"]] = len(order)
        room -= row["calls"] - row["labelled"]
    if not order:
        return []
    needed = _NEEDED[scope.kind]
    if scope.kind == WHOLE:
        # Its served answers are audited; what is left is to ask the student again where it was unsure.
        scope, needed = replace(scope, kind=SHADOW), _UNSURE
    rows = store.query(_UNLABELLED.format(needed=needed), _params(scope) | {"sessions": list(order)})
    rows = [row for row in rows if (row["call_id"], scope.student, scope.kind) not in taken]
    rows.sort(key=lambda row: order[row["trajectory_id"]])
    return _load(store, scope, rows[:limit])


def waiting(store: Store, scope: Scope, fed: Collection[str]) -> int:
    """Sessions that have not been fed, whatever they still lack."""
    return sum(row["trajectory_id"] not in fed for row in sessions(store, scope))


def closed(store: Store, scope: Scope, *, fed: Collection[str], idle_before: float) -> list[SessionLoss]:
    """The sessions that are ready to be fed, in the order in which they ended.

    `fed` are the sessions that have been fed already; `idle_before` is the moment (Unix seconds) before which a
    session's last call must lie.
    """
    ready: list[SessionLoss] = []
    for row in sessions(store, scope):
        if row["trajectory_id"] in fed:
            continue
        # A pair that waits for the judge is a label that is slow to come, too.
        if row["last_at"] >= idle_before or row["labelled"] < row["calls"] or row["waits"]:
            break
        mean, worst = min(float(row["mean"]), 1.0), float(row["worst"])
        ready.append(SessionLoss(row["trajectory_id"], row["calls"], mean, worst, row["first_at"], row["last_at"]))
    return ready


def passed(store: Store, pattern_id: str, after: float, until: float) -> int:
    """Sessions of a pattern that ended in (after, until], Unix seconds: they count for a cooldown."""
    sql = """
        SELECT count(*) FROM pattern_runs JOIN trajectories USING (trajectory_id)
        WHERE pattern_id = ? AND last_at > ? AND last_at <= ?
    """
    return store.value(sql, (pattern_id, after, until)) or 0


def served_badly(store: Store) -> dict[tuple[str, str], tuple[int, int]]:
    """Calls that a student was chosen for, and those of them that it did not answer, by pattern and student."""
    sql = """
        SELECT pattern_id, student, sum(attempts)::BIGINT, sum(fell_back)::BIGINT FROM traffic_days
        WHERE student <> '' AND pattern_id <> '' GROUP BY ALL
    """
    return {(pattern, student): (n, bad) for pattern, student, n, bad in store.rows(sql)}


def is_single_turn(store: Store, pattern_id: str, sample: int = 300) -> bool:
    """Whether no call of the pattern (of its newest ones) has an assistant message in its history.

    False without calls: what is unknown is treated as the harder case.
    """
    sql = """
        SELECT request_tail FROM calls WHERE pattern_id = ? AND request_tail IS NOT NULL AND started_at >= ?
        ORDER BY started_at DESC LIMIT ?
    """
    rows = newest(store, sample, lambda since: store.rows(sql, (pattern_id, since, sample)), [pattern_id])
    links = links_up(store, (tail for (tail,) in rows))
    return bool(rows) and not any(link.role == "assistant" for link in links.values())


def _drawn(rows: Sequence[Mapping[str, Any]], scope: Scope) -> set[str]:
    """The sessions that a sampling scope looks at: the day's first ones, those drawn, and those begun already."""
    chosen: set[str] = set()
    seen: dict[int, int] = {}
    for row in sorted(rows, key=lambda row: (row["first_at"], row["trajectory_id"])):
        day = int(row["first_at"] // DAY_S)
        seen[day] = seen.get(day, 0) + 1
        share = scope.share if row["first_at"] >= scope.raised_at else scope.share_before
        drawn = bucket(scope.salt, row["trajectory_id"]) < round(share * BUCKETS)
        if drawn or seen[day] <= scope.min_per_day or row["labelled"]:
            chosen.add(row["trajectory_id"])
    return chosen


def _load(store: Store, scope: Scope, rows: Sequence[Mapping[str, Any]]) -> list[Task]:
    ids = [row["call_id"] for row in rows]
    requests, answers = requests_of(store, ids), answers_of(store, ids)
    return [_task(scope, row, requests[row["call_id"]], answers.get(row["call_id"])) for row in rows]


def _task(scope: Scope, row: Mapping[str, Any], request: dict[str, Any], answer: dict[str, Any] | None) -> Task:
    fallback = row["fallback"] if scope.kind == AUDIT else ""
    if row["audited"]:
        return _behind_live(scope, row, request)
    return Task(
        kind=scope.kind,
        call_id=row["call_id"],
        pattern_id=scope.pattern_id,
        trajectory_id=row["trajectory_id"],
        student=scope.student,
        request=request,
        # After a fallback the stored answer is the teacher's; the student's own is missing, so it has lost already.
        answer=None if fallback else answer,
        usage=(None, None) if fallback else (row["prompt_tokens"], row["completion_tokens"]),
        latency_ms=None if fallback else row["latency_ms"],
        failure=f"fallback:{fallback}" if fallback else "",
    )


def _behind_live(scope: Scope, row: Mapping[str, Any], request: dict[str, Any]) -> Task:
    """A shadow task on a call that another version served: the reference is what the audit heard from the teacher."""
    return Task(
        kind=scope.kind,
        call_id=row["call_id"],
        pattern_id=scope.pattern_id,
        trajectory_id=row["trajectory_id"],
        student=scope.student,
        request=request,
        answer=json.loads(row["audited"]),
        usage=(row["teacher_prompt_tokens"], row["teacher_completion_tokens"]),
    )


def _params(scope: Scope) -> dict[str, Any]:
    return {"pattern": scope.pattern_id, "student": scope.student, "kind": scope.kind}
