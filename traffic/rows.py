"""How calls that were taken apart become rows: the statements, and the Arrow tables that they read.

Each statement reads one table named `batch`, so the number of statements does not depend on the number of calls.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import pyarrow as pa

from .answers import clean
from .discovery import Recognised
from .outcomes import Turn, looks_like_error, outcome
from .parse import Parsed, StoredMessage, Toolset
from .patterns import PatternEntry
from .trajectories import Link, Step

_CALLS = pa.schema(
    {
        **dict.fromkeys(
            ("call_id", "endpoint", "caller", "route", "reason", "fallback", "student", "model"), pa.string()
        ),
        **dict.fromkeys(("pattern_id", "agent_id", "trajectory_id", "session", "hint", "request_tail"), pa.string()),
        **dict.fromkeys(("response_id", "toolset_id", "params", "error", "finish_reason", "request_id"), pa.string()),
        **dict.fromkeys(("started_at", "first_byte_ms", "latency_ms", "confidence"), pa.float64()),
        **dict.fromkeys(("turn", "status", "retry"), pa.int32()),
        **dict.fromkeys(("prompt_tokens", "completion_tokens", "cached_tokens"), pa.int64()),
        **dict.fromkeys(("stream", "cancelled"), pa.bool_()),
        **dict.fromkeys(("request_raw", "response_raw"), pa.large_binary()),
    }
)
_COPIED = (
    *("call_id", "started_at", "endpoint", "caller", "route", "reason", "fallback", "student", "session", "hint"),
    *("status", "stream", "cancelled", "first_byte_ms", "latency_ms", "retry", "confidence", "request_id"),
)
_RUNS = pa.schema(
    {
        **dict.fromkeys(("trajectory_id", "agent_id", "caller", "session", "success_source"), pa.string()),
        **dict.fromkeys(("explicit", "success", "finished"), pa.bool_()),
        **dict.fromkeys(("first_at", "last_at"), pa.float64()),
        "calls": pa.int32(),
    }
)
INSERT_CALLS = """
INSERT INTO calls BY NAME SELECT * REPLACE (CAST(call_id AS UUID) AS call_id, CAST(request_tail AS UUID) AS
    request_tail, CAST(response_id AS UUID) AS response_id, CAST(toolset_id AS UUID) AS toolset_id) FROM batch
"""
INSERT_MESSAGES = """
INSERT INTO messages SELECT CAST(message_id AS UUID), CAST(parent_id AS UUID), depth, role, body FROM batch
ON CONFLICT DO NOTHING
"""
INSERT_TOOLSETS = "INSERT INTO toolsets SELECT CAST(toolset_id AS UUID), body, names FROM batch ON CONFLICT DO NOTHING"
UPSERT_TRAJECTORIES = """
INSERT INTO trajectories BY NAME SELECT * FROM batch ON CONFLICT (trajectory_id) DO UPDATE SET
    explicit = trajectories.explicit OR excluded.explicit,
    agent_id = coalesce(trajectories.agent_id, excluded.agent_id),
    first_at = least(trajectories.first_at, excluded.first_at),
    last_at = greatest(trajectories.last_at, excluded.last_at),
    calls = trajectories.calls + excluded.calls,
    success = CASE WHEN {newer} THEN excluded.success ELSE trajectories.success END,
    success_source = CASE WHEN {newer} THEN excluded.success_source ELSE trajectories.success_source END,
    finished = CASE WHEN excluded.last_at >= trajectories.last_at THEN excluded.finished ELSE trajectories.finished END
""".format(
    # A label that somebody gave (feedback, a verifier) is never overwritten by a guess.
    newer="(excluded.last_at >= trajectories.last_at AND (trajectories.success_source = 'open' OR "
    "starts_with(trajectories.success_source, 'heuristic')))"
)
INSERT_PATTERNS = "INSERT INTO patterns BY NAME SELECT * FROM batch ON CONFLICT DO NOTHING"
UPDATE_PATTERNS = """
UPDATE calls SET pattern_id = batch.pattern_id, agent_id = batch.agent_id FROM batch
WHERE calls.call_id = CAST(batch.call_id AS UUID)
"""
UPDATE_AGENTS = """
UPDATE trajectories SET agent_id = found.agent_id FROM (
    SELECT c.trajectory_id, any_value(batch.agent_id) AS agent_id
    FROM batch JOIN calls c ON c.call_id = CAST(batch.call_id AS UUID) GROUP BY c.trajectory_id
) AS found WHERE trajectories.trajectory_id = found.trajectory_id AND trajectories.agent_id IS NULL
"""


@dataclass
class Row:
    """One new call on its way into the store."""

    parsed: Parsed
    step: Step
    link: Link | None = None
    found: Recognised | None = None


def step_of(parsed: Parsed) -> Step:
    """What decides on the call's run."""
    record, toolset = parsed.record, parsed.request.toolset
    return Step(
        call_id=record.call_id,
        caller=record.caller,
        started_at=record.started_at,
        chain=parsed.request.chain,
        session=record.session,
        answer_id=parsed.answer_id,
        answer_content=parsed.answer_content,
        toolset_id=toolset.toolset_id if toolset else None,
        retry=record.retry,
        failed=parsed.answer_id is None,
        explicit=clean(record.trajectory),
    )


def calls_table(rows: Iterable[Row]) -> pa.Table:
    """Rows of the table `calls`."""
    return pa.Table.from_pylist([_call(row) for row in rows], _CALLS)


def _call(row: Row) -> dict[str, Any]:
    parsed, record = row.parsed, row.parsed.record
    request, answer = parsed.request, parsed.answer
    values = {name: getattr(record, name) for name in _COPIED}
    return values | {
        "model": answer.model or request.model,
        "pattern_id": row.found.pattern_id if row.found else record.pattern or None,
        "agent_id": (row.found.agent_id or None) if row.found else None,
        "trajectory_id": row.link.trajectory_id if row.link else None,
        "turn": row.link.turn if row.link else None,
        "request_tail": parsed.tail,
        "response_id": parsed.answer_id,
        "toolset_id": row.step.toolset_id,
        "params": request.params if request.chain else None,
        "error": parsed.error,
        "finish_reason": answer.finish_reason,
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "cached_tokens": answer.cached_tokens,
        "request_raw": None if request.chain else record.request,
        "response_raw": record.response if answer.keep_raw or not request.chain else None,
    }


def messages_table(messages: Sequence[StoredMessage]) -> pa.Table:
    """Rows of the table `messages`."""
    kinds = (pa.string(), pa.string(), pa.int32(), pa.string(), pa.large_string())
    columns = [pa.array(column, kind) for column, kind in zip(zip(*messages, strict=True), kinds, strict=True)]
    return pa.table(columns, names=list(StoredMessage._fields))


def toolsets_table(toolsets: Iterable[Toolset]) -> pa.Table:
    """Rows of the table `toolsets`."""
    rows = [{"toolset_id": one.toolset_id, "body": one.body, "names": one.names} for one in toolsets]
    schema = pa.schema({"toolset_id": pa.string(), "body": pa.string(), "names": pa.list_(pa.string())})
    return pa.Table.from_pylist(rows, schema)


def patterns_table(entries: Iterable[PatternEntry]) -> pa.Table:
    """Rows of the table `patterns`."""
    names = ("pattern_id", "agent_id", "name", "version", "role", "created_at")
    return pa.Table.from_pylist(
        [{n: getattr(entry, n) for n in names} | {"body": msgspec.json.encode(entry).decode()} for entry in entries]
    )


def trajectories_table(rows: Iterable[Row]) -> pa.Table:
    """What the linked calls of a batch say about their runs: one row a run, for UPSERT_TRAJECTORIES."""
    runs: dict[str, list[Row]] = {}
    for row in rows:
        if row.link is not None:
            runs.setdefault(row.link.trajectory_id, []).append(row)
    return pa.Table.from_pylist([_run(name, members) for name, members in runs.items()], _RUNS)


def _run(trajectory_id: str, rows: list[Row]) -> dict[str, Any]:
    first, last = rows[0].parsed.record, rows[-1].parsed.record
    judged = outcome([_turn(rows[-1].parsed)])
    return {
        "trajectory_id": trajectory_id,
        "explicit": any(row.link is not None and row.link.explicit for row in rows),
        "agent_id": next((row.found.agent_id for row in rows if row.found and row.found.agent_id), None),
        "caller": first.caller,
        "session": first.session,
        "first_at": first.started_at,
        "last_at": last.started_at,
        "calls": len(rows),
        "success": judged.success,
        "success_source": judged.source,
        "finished": judged.finished,
    }


def _turn(parsed: Parsed) -> Turn:
    record, answer = parsed.record, parsed.answer
    acts = bool(answer.message and (answer.message.get("tool_calls") or answer.message.get("function_call")))
    last = parsed.request.outline["messages"][-1]
    return Turn(
        started_at=record.started_at,
        status=record.status,
        cancelled=record.cancelled,
        answered=answer.message is not None,
        acts=acts,
        finish_reason=answer.finish_reason,
        tool_error=looks_like_error(last),
    )
