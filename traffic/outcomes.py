"""How an agent's run ended: what was said about it, else a guess from its calls.

`outcome_rules` says whose word counts; where nobody has said anything, the calls are all there is to judge by.
Whose word it was is stored beside the label, so a label that somebody gave is never overwritten by a guess.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa

from .canonical import loads
from .outcome_rules import Outcome, OutcomeRules, Value, judge
from .store import Store

BATCH = 500
"""Runs that are labelled in one transaction."""


class Turn(NamedTuple):
    """What decides on how a run ended, of one of its calls."""

    started_at: float
    status: int
    cancelled: bool
    answered: bool
    acts: bool
    """The answer calls tools."""
    finish_reason: str
    tool_error: bool
    """The last message of the request is a tool's result that reports an error."""


OPEN = Outcome(None, "open", False)


def outcome(calls: Sequence[Turn]) -> Outcome:
    """Judge a run by its newest call: what failed earlier and was repeated is no failure of the run.

    A call that acts leaves the run open, for its tool's result may follow; `settle_idle` closes it later.
    """
    last = max(calls, key=lambda turn: turn.started_at)
    if last.cancelled:
        return Outcome(False, "heuristic_cancelled", True)
    if last.status >= 400 or last.status == 0 or not last.answered:
        return Outcome(False, "heuristic_failed_call", True)
    if last.finish_reason in ("length", "content_filter"):
        return Outcome(False, f"heuristic_{last.finish_reason}", True)
    if last.acts:
        return OPEN
    if last.tool_error:
        return Outcome(False, "heuristic_tool_error", True)
    return Outcome(True, "heuristic", True)


def looks_like_error(message: dict[str, Any]) -> bool:
    """Whether a tool's result reports a failure: it starts with the word, or is an object with an `error`."""
    content = message.get("content")
    return message.get("role") == "tool" and isinstance(content, str) and begins_like_error(content)


def begins_like_error(content: str) -> bool:
    """The same for the text of a tool's result."""
    head = content[:200].lstrip().lower()
    if head.startswith(("error", "exception", "traceback", "failed:", "failure:")):
        return True
    return head.startswith("{") and (('"error":' in head and '"error": null' not in head) or '"is_error": true' in head)


_VALUES = f"""
WITH runs AS (
    SELECT DISTINCT trajectory_id FROM feedback WHERE trajectory_id IS NOT NULL AND NOT judged LIMIT {BATCH}
)
SELECT f.trajectory_id, f.feedback_id, f."at", coalesce(f.call_id::VARCHAR, ''), f.metric, f.source, f.flag, f.number,
    f.text
FROM feedback f SEMI JOIN runs ON f.trajectory_id = runs.trajectory_id ORDER BY f."at", f.feedback_id
"""
_LABEL = """
UPDATE trajectories SET success = batch.success, success_source = batch.success_source,
    finished = trajectories.finished OR batch.finished
FROM batch WHERE trajectories.trajectory_id = batch.trajectory_id
"""


def guessed(column: str = "success_source") -> str:
    """SQL: the label in that column is nobody's but a guess."""
    return f"({column} = 'open' OR starts_with({column}, 'heuristic'))"


_RUNS = pa.schema(
    {"trajectory_id": pa.string(), "success": pa.bool_(), "success_source": pa.string(), "finished": pa.bool_()}
)


def label_runs(store: Store, rules: OutcomeRules) -> int:
    """Give the runs that have new values their labels; returns the number of runs, at most `BATCH`."""
    if not store.value("SELECT 1 FROM feedback WHERE trajectory_id IS NOT NULL AND NOT judged LIMIT 1"):
        return 0
    with store.transaction():
        values: dict[str, list[Value]] = {}
        seen: list[str] = []
        for run, feedback_id, at, target, metric, source, *kinds in store.rows(_VALUES):
            value = next((one for one in kinds if one is not None), None)
            values.setdefault(run, []).append(Value(at, target, metric, source, value))
            seen.append(feedback_id)
        labels = {run: found for run, given in values.items() if (found := judge(given, rules))}
        labels |= _guesses(store, [run for run in values if run not in labels])
        rows = [{"trajectory_id": run, **_label(found)} for run, found in labels.items()]
        if rows:
            store.bulk(_LABEL, pa.Table.from_pylist(rows, _RUNS))
        known = pa.table({"id": pa.array(seen, pa.string())})
        store.bulk("UPDATE feedback SET judged = TRUE WHERE feedback_id IN (SELECT id FROM batch)", known)
    return len(values)


def _label(found: Outcome) -> dict[str, Any]:
    return {"success": found.success, "success_source": found.source, "finished": found.finished}


_NEWEST = f"""
SELECT t.trajectory_id, c.started_at, c.status, coalesce(c.cancelled, FALSE), c.response_id IS NOT NULL, a.body,
    c.finish_reason, q.body
FROM batch JOIN trajectories t ON t.trajectory_id = batch.id JOIN calls c ON c.trajectory_id = t.trajectory_id
LEFT JOIN messages a ON a.message_id = c.response_id LEFT JOIN messages q ON q.message_id = c.request_tail
WHERE NOT {guessed()}
QUALIFY row_number() OVER (PARTITION BY t.trajectory_id ORDER BY c.started_at DESC, c.call_id DESC) = 1
"""


def _guesses(store: Store, runs: Sequence[str]) -> dict[str, Outcome]:
    """The guess of each run whose label was taken back; runs that were guessed all along are left out."""
    if not runs:
        return {}
    found: dict[str, Outcome] = {}
    batch = pa.table({"id": pa.array(runs, pa.string())})
    for run, at, status, cancelled, answered, answer, finish_reason, question in store.join(_NEWEST, batch):
        said, asked = (loads(body.encode()) if body else {} for body in (answer, question))
        acts = bool(said.get("tool_calls") or said.get("function_call"))
        turn = Turn(at, status or 0, cancelled, answered, acts, finish_reason or "", looks_like_error(asked))
        found[run] = outcome([turn])
    return found


def rules_in_force(store: Store, given: OutcomeRules | None) -> OutcomeRules:
    """`given`, or without them those of the last time.

    When they are other rules than the last time, all runs with values will be labelled anew.
    """
    written = store.value("SELECT value FROM meta WHERE key = 'outcome_rules'")
    if given is None:
        return msgspec.json.decode(written, type=OutcomeRules) if written else OutcomeRules()
    text = msgspec.json.encode(given, order="sorted").decode()
    if text != written:
        with store.transaction():
            store.execute("UPDATE feedback SET judged = FALSE")
            store.execute("INSERT OR REPLACE INTO meta VALUES ('outcome_rules', ?)", [text])
    return given


_SETTLE = """
UPDATE trajectories SET finished = TRUE, success = CASE WHEN single THEN TRUE END,
    success_source = CASE WHEN single THEN 'heuristic_open' ELSE 'heuristic_abandoned' END
FROM (
    SELECT r.agent_id AS agent, coalesce(seconds, 0) < 0.05 * runs AS single
    FROM (SELECT agent_id, count(*) AS runs FROM trajectories GROUP BY agent_id) r
    LEFT JOIN (
        SELECT agent_id, count(*) AS seconds FROM calls WHERE turn = 1 AND retried IS NOT TRUE GROUP BY agent_id
    ) c ON c.agent_id IS NOT DISTINCT FROM r.agent_id
) AS agents
WHERE agents.agent IS NOT DISTINCT FROM trajectories.agent_id AND success_source = 'open' AND last_at < ?
"""
_FINISH = f"UPDATE trajectories SET finished = TRUE WHERE NOT finished AND last_at < ? AND NOT {guessed()}"


def settle_idle(store: Store, now: float, idle_s: float) -> int:
    """Close the runs that ended on an action and have been silent for `idle_s` seconds; returns their number.

    For agents whose runs are one call (fewer than 5 % have a second turn) acting is the end: success. For others
    nobody knows: no label. Runs that have a label already keep it.
    """
    idle = "SELECT 1 FROM trajectories WHERE success_source = 'open' AND last_at < ? LIMIT 1"
    settled = store.execute(_SETTLE, [now - idle_s]) if store.value(idle, [now - idle_s]) else 0
    return settled + store.execute(_FINISH, [now - idle_s])
