"""Feedback on its way into the store, and what it is about.

The data plane writes what it accepts to the journal like a call; `take` picks it out of a batch again. Its id makes
that exactly once in effect. What a value is about is looked up afterwards (`resolve`), because the call may reach the
store later; until then the value waits, and one whose call never comes stays in the list as unknown.

Of the values of one (target, metric, source) the newest counts; see `outcome_rules` for what they mean for a run.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import pyarrow as pa

from .errors import BadInput
from .feedback import ACCEPTED, PATH, Given, parse
from .records import CallRecord, decode
from .store import Row, Store

DAY_S = 86_400.0
GIVEN_UP_S = 7 * DAY_S
"""A value whose call has not come by then is not looked up any more."""
_MARK = PATH.encode()


def take(store: Store, payloads: Iterable[bytes]) -> list[bytes]:
    """Store the feedback among the payloads of a journal batch; returns the others.

    Comes before the batch's positions are committed: a batch that comes again adds nothing, for ids are known.
    """
    rest: list[bytes] = []
    rows: list[Row] = []
    for payload in payloads:
        row = _row_in(payload) if _MARK in payload else None
        if row is None:
            rest.append(payload)
        else:
            rows.append(row)
    save(store, rows)
    return rest


def _row_in(payload: bytes) -> Row | None:
    """The row of a record that holds feedback; None for calls and for what cannot be read."""
    try:
        record = decode(payload)
        if record.endpoint != PATH or record.status != ACCEPTED:
            return None
        return row_of(parse(record.request), record)
    except (msgspec.MsgspecError, ValueError, BadInput):
        return None


def row_of(given: Given, record: CallRecord) -> Row:
    """A row of the table `feedback`. An id of the sender's counts among the sender's own only."""
    kind, target = given.target
    value = given.value
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return {
        "feedback_id": f"{record.caller}/{given.id}" if given.id else record.call_id,
        "at": record.started_at,
        "caller": record.caller,
        "kind": kind,
        "target": target,
        "metric": given.metric,
        "flag": value if isinstance(value, bool) else None,
        "number": float(value) if is_number else None,
        "text": value if isinstance(value, str) else None,
        "source": given.source,
        "comment": given.comment,
        "look_at": record.started_at,
        "judged": False,
    }


_ROWS = pa.schema(
    {
        **dict.fromkeys(("feedback_id", "caller", "kind", "target", "metric", "text", "source"), pa.string()),
        **dict.fromkeys(("comment", "call_id", "trajectory_id"), pa.string()),
        **dict.fromkeys(("at", "number", "look_at"), pa.float64()),
        **dict.fromkeys(("flag", "judged"), pa.bool_()),
    }
)
_INSERT = "INSERT {} INTO feedback BY NAME SELECT * REPLACE (CAST(call_id AS UUID) AS call_id) FROM batch"


def save(store: Store, rows: Sequence[Row], *, replace: bool = False) -> int:
    """Add rows; those whose id is known are left as they are, or replaced. Returns the number of rows written."""
    if not rows:
        return 0
    # Of rows with one id the first counts, as it does when they come in different batches.
    once = {row["feedback_id"]: row for row in reversed(rows)}
    batch = pa.Table.from_pylist([*once.values()][::-1], _ROWS)
    return store.bulk(_INSERT.format("OR REPLACE" if replace else "OR IGNORE"), batch)


_FIND = """
WITH due AS (SELECT feedback_id, kind, target, "at", look_at FROM feedback WHERE {due} ORDER BY look_at LIMIT 1000),
named AS (SELECT feedback_id, kind, "at", unnest([target, 'x:' || target]) AS name FROM due WHERE kind <> 'call_id'),
recent AS NOT MATERIALIZED (SELECT * FROM calls WHERE started_at >= '{since!r}'::DOUBLE),
found AS (
    SELECT d.feedback_id, c.call_id, c.trajectory_id, c.started_at
    FROM due d JOIN recent c ON c.call_id = TRY_CAST(d.target AS UUID) WHERE d.kind = 'call_id'
    UNION ALL SELECT d.feedback_id, c.call_id, c.trajectory_id, c.started_at
    FROM due d JOIN recent c ON c.upstream_id = d.target WHERE d.kind = 'call_id' AND c.started_at <= d."at"
    UNION ALL SELECT n.feedback_id, NULL, t.trajectory_id, t.last_at
    FROM named n JOIN trajectories t ON t.trajectory_id = n.name WHERE n.kind = 'trajectory'
    UNION ALL SELECT n.feedback_id, c.call_id, c.trajectory_id, c.started_at
    FROM named n JOIN recent c ON c.trajectory_id = n.name WHERE n.kind = 'last_of' AND c.started_at <= n."at"
    UNION ALL SELECT d.feedback_id, c.call_id, c.trajectory_id, c.started_at
    FROM due d JOIN recent c ON c.session = d.target WHERE d.kind = 'last_of' AND c.started_at <= d."at"
),
newest AS (
    SELECT * FROM found QUALIFY row_number() OVER (PARTITION BY feedback_id ORDER BY started_at DESC, call_id DESC) = 1
)
SELECT d.feedback_id, n.call_id, n.trajectory_id, d."at", d.look_at, n.feedback_id IS NOT NULL
FROM due d LEFT JOIN newest n USING (feedback_id)
"""
_FOUND = """
UPDATE feedback SET call_id = CAST(batch.call_id AS UUID), trajectory_id = batch.trajectory_id,
    look_at = batch.look_at FROM batch WHERE feedback.feedback_id = batch.feedback_id
"""
_LOOKED_UP = pa.schema(
    {**dict.fromkeys(("feedback_id", "call_id", "trajectory_id"), pa.string()), "look_at": pa.float64()}
)


def resolve(store: Store, now: float) -> int:
    """Look up what values that wait are about; returns how many were found.

    Only for a store that holds all that was written before the feedback, or the last call of a run may be another.
    The pause between two looks is as long as the value has waited (1 s to 1 h), and all but the first and the last are
    at the calls of a day only: the unknown ones cost next to nothing.
    """
    due = f"look_at <= {now!r}::DOUBLE"
    oldest = store.value(f'SELECT min(feedback."at") FROM feedback WHERE {due}')
    if oldest is None:
        return 0
    looked_up = store.rows(_FIND.format(due=due, since=oldest - DAY_S))
    older = [row[0] for row in looked_up if not row[-1] and (row[3] == row[4] or _next_look(row[3], now) is None)]
    if older:
        names = ", ".join("'" + name.replace("'", "''") + "'" for name in older)
        known = {row[0]: row for row in store.rows(_FIND.format(due=f"feedback_id IN ({names})", since=-math.inf))}
        looked_up = [known.get(row[0], row) for row in looked_up]
    rows = [
        {
            "feedback_id": feedback_id,
            "call_id": str(call_id) if call_id else None,
            "trajectory_id": trajectory_id,
            "look_at": None if found else _next_look(at, now),
        }
        for feedback_id, call_id, trajectory_id, at, _, found in looked_up
    ]
    store.bulk(_FOUND, pa.Table.from_pylist(rows, _LOOKED_UP))
    return sum(row["call_id"] is not None or row["trajectory_id"] is not None for row in rows)


def _next_look(at: float, now: float) -> float | None:
    waited = now - at
    return None if waited > GIVEN_UP_S else now + min(max(waited, 1.0), 3600.0)


_LISTED = """
SELECT feedback_id, "at", caller, kind, target, metric, flag, number, text, source, comment, call_id, trajectory_id,
    CASE WHEN call_id IS NOT NULL OR trajectory_id IS NOT NULL THEN 'found' WHEN look_at IS NULL THEN 'unknown'
    ELSE 'waiting' END AS state
FROM feedback WHERE (? = '' OR trajectory_id IN (?, 'x:' || ?)) AND (? = '' OR metric = ?)
ORDER BY "at" DESC, feedback_id LIMIT ?
"""


def listed(store: Store, limit: int, *, trajectory: str = "", metric: str = "") -> list[dict[str, Any]]:
    """The newest values, `value` being a boolean, a number or a text (null: a verifier that took its verdict back).

    `state`: `found`; `waiting` while what it is about is not in the store; `unknown` when that never came.
    """
    rows = store.query(_LISTED, [trajectory, trajectory, trajectory, metric, metric, limit])
    for row in rows:
        kinds = [row.pop(name) for name in ("flag", "number", "text")]
        row["value"] = next((value for value in kinds if value is not None), None)
    return rows
