"""How calls that were taken apart become rows: the statements, and the Arrow tables that they read.

Each statement reads one table named `batch`, so the number of statements does not depend on the number of calls.
"""

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
from msgspec.structs import force_setattr

from .answers import clean
from .discovery import Recognised
from .lookup import NAME_KEY
from .messages import StoredMessage, Toolset
from .outcomes import Turn, guessed, outcome
from .parse import Parsed
from .patterns import PatternEntry
from .trajectories import Link, Step

_UUID = pa.uuid()
_COPIED = {
    "call_id": _UUID,
    **dict.fromkeys(("endpoint", "caller", "route", "reason", "fallback", "student", "teacher"), pa.string()),
    **dict.fromkeys(("session", "hint", "request_id"), pa.string()),
    **dict.fromkeys(("started_at", "first_byte_ms", "latency_ms", "confidence"), pa.float64()),
    **dict.fromkeys(("status", "retry"), pa.int32()),
    **dict.fromkeys(("stream", "cancelled"), pa.bool_()),
}
"""Columns of `calls` that are fields of the record."""
_FOUND = {
    **dict.fromkeys(("model", "pattern_id", "agent_id", "trajectory_id"), pa.string()),
    **dict.fromkeys(("request_tail", "response_id", "toolset_id"), _UUID),
    **dict.fromkeys(("params", "error", "finish_reason"), pa.string()),
    **{"retry_of": _UUID, "upstream_id": pa.string()},
    **dict.fromkeys(("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens"), pa.int64()),
    "turn": pa.int32(),
    "retried": pa.bool_(),
    **dict.fromkeys(("request_raw", "response_raw"), pa.large_binary()),
}
"""The others, in the order in which `_found` gives them."""
_CALLS = _COPIED | _FOUND
_copied = attrgetter(*_COPIED)
_RUNS = pa.schema(
    {
        **dict.fromkeys(("trajectory_id", "agent_id", "caller", "session", "success_source"), pa.string()),
        **dict.fromkeys(("explicit", "success", "finished"), pa.bool_()),
        **dict.fromkeys(("first_at", "last_at"), pa.float64()),
        "calls": pa.int32(),
    }
)
INSERT_CALLS = (
    f"INSERT INTO calls BY NAME SELECT *, {NAME_KEY.format(name='upstream_id')} AS upstream_key, {{intake}} AS intake "
    "FROM batch"
)
"""`intake` is the number of the batch; see `rollup.announce`."""
INSERT_MESSAGES = "INSERT INTO messages BY NAME SELECT * FROM batch"
INSERT_TOOLSETS = "INSERT INTO toolsets SELECT CAST(toolset_id AS UUID), body, names FROM batch ON CONFLICT DO NOTHING"
# A label that somebody gave (feedback, a verifier) is never overwritten by a guess.
_NEWER = f"({{new}}.last_at >= trajectories.last_at AND {guessed('trajectories.success_source')})"
_GROW = f"""
    explicit = trajectories.explicit OR {{new}}.explicit,
    agent_id = coalesce(trajectories.agent_id, {{new}}.agent_id),
    first_at = least(trajectories.first_at, {{new}}.first_at),
    last_at = greatest(trajectories.last_at, {{new}}.last_at),
    calls = trajectories.calls + {{new}}.calls,
    success = CASE WHEN {_NEWER} THEN {{new}}.success ELSE trajectories.success END,
    success_source = CASE WHEN {_NEWER} THEN {{new}}.success_source ELSE trajectories.success_source END,
    finished = CASE WHEN {{new}}.last_at >= trajectories.last_at THEN {{new}}.finished ELSE trajectories.finished END
"""
INSERT_TRAJECTORIES = "INSERT INTO trajectories BY NAME SELECT * FROM batch"
UPDATE_TRAJECTORIES = (
    f"UPDATE trajectories SET {_GROW.format(new='batch')} FROM batch "
    "WHERE trajectories.trajectory_id = batch.trajectory_id"
)
UPSERT_TRAJECTORIES = f"{INSERT_TRAJECTORIES} ON CONFLICT (trajectory_id) DO UPDATE SET {_GROW.format(new='excluded')}"
INSERT_PATTERNS = "INSERT INTO patterns BY NAME SELECT * FROM batch ON CONFLICT DO NOTHING"
MARK_RETRIED = "UPDATE calls SET retried = TRUE WHERE call_id IN (SELECT CAST(id AS UUID) FROM batch)"
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


class Row(msgspec.Struct, gc=False):
    """One new call on its way into the store."""

    parsed: Parsed
    step: Step
    link: Link | None = None
    found: Recognised | None = None
    retry_of: str | None = None
    """The call that this one repeats."""
    retried: bool = False
    """A later call of the same batch repeats this one."""


def step_of(parsed: Parsed) -> Step:
    """What decides on the call's run."""
    record, toolset, given = parsed.record, parsed.request.toolset, parsed.given
    return Step(
        record.call_id,
        record.caller,
        record.started_at,
        parsed.request.chain,
        record.session,
        given.message_id if given else None,
        given.content_id if given else 0,
        toolset.toolset_id if toolset else None,
        record.retry,
        given is None,
        clean(record.trajectory) if record.trajectory else "",
    )


def row_of(parsed: Parsed) -> Row:
    """A call on its way. Bodies that will not be stored are dropped from its record."""
    record = parsed.record
    if parsed.request.chain:
        force_setattr(record, "request", b"")
    if not (parsed.answer.keep_raw or parsed.request.error):
        force_setattr(record, "response", b"")
    return Row(parsed, step_of(parsed))


def calls_table(rows: Sequence[Row]) -> pa.Table:
    """Rows of the table `calls`."""
    values = zip(*(_copied(row.parsed.record) + _found(row) for row in rows), strict=True)
    columns = [_column(column, kind) for column, kind in zip(values, _CALLS.values(), strict=True)]
    return pa.table(columns, names=list(_CALLS))


def _column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if values and values[0] == values[-1] and values.count(values[0]) == len(values):
        return _repeated(values[0], kind, len(values))
    if kind is not _UUID:
        return pa.array(values, kind)
    # DuckDB takes such an array as it is; reading the ids as texts took it longer than writing them.
    return pa.ExtensionArray.from_storage(kind, _raw_ids(values))


def _repeated(value: Any, kind: pa.DataType, times: int) -> pa.Array:
    """Many columns hold one value: a batch's calls have one endpoint, no hint and no error."""
    if value is None:
        return pa.nulls(times, kind)
    one = _raw_ids([value]) if kind is _UUID else pa.array([value], kind)
    many = pa.repeat(one[0], times)
    return pa.ExtensionArray.from_storage(kind, many) if kind is _UUID else many


def _raw_ids(names: Sequence[str | None]) -> pa.Array:
    """The 16 bytes of each id."""
    kind = pa.binary(16)
    given = [name for name in names if name is not None]
    raw = bytes.fromhex("".join(given).replace("-", ""))
    if len(given) < len(names):
        each = iter([raw[start : start + 16] for start in range(0, len(raw), 16)])
        return pa.array([None if name is None else next(each) for name in names], kind)
    return pa.FixedSizeBinaryArray.from_buffers(kind, len(names), [None, pa.py_buffer(raw)])


def _found(row: Row) -> tuple[Any, ...]:
    """Values of the columns `_FOUND`."""
    parsed, found, link = row.parsed, row.found, row.link
    record, request, answer, step = parsed.record, parsed.request, parsed.answer, row.step
    return (
        answer.model or request.model,
        found.pattern_id if found else record.pattern or None,
        (found.agent_id or None) if found else None,
        link.trajectory_id if link else None,
        request.chain[-1].message_id if request.chain else None,
        step.answer_id,
        step.toolset_id,
        request.params if request.chain else None,
        parsed.error,
        answer.finish_reason,
        row.retry_of,
        answer.upstream_id or None,
        answer.prompt_tokens,
        answer.completion_tokens,
        answer.cached_tokens,
        answer.reasoning_tokens,
        link.turn if link else None,
        row.retried,
        record.request or None,
        record.response or None,
    )


def messages_table(messages: Sequence[StoredMessage]) -> pa.Table:
    """Rows of the table `messages`."""
    return pa.table(
        {
            "message_id": _column([one.message_id for one in messages], _UUID),
            "parent_id": _column([one.parent_id for one in messages], _UUID),
            "depth": pa.array([one.depth for one in messages], pa.int32()),
            "role": pa.array([one.role for one in messages], pa.string()),
            "body": pa.array([one.body for one in messages], pa.large_string()),
        }
    )


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


class Runs(NamedTuple):
    """Rows of the table `trajectories` by what is known about them."""

    opened: pa.Table
    """The store does not have them."""
    continued: pa.Table
    """The store has them."""
    named: pa.Table
    """The agent has named them, and nothing of them is remembered."""


def trajectories_tables(rows: Iterable[Row]) -> Runs:
    """What the linked calls of a batch, in order of their start, say about their runs: one row a run."""
    runs: dict[str, list[Row]] = {}
    for row in rows:
        if row.link is not None:
            runs.setdefault(row.link.trajectory_id, []).append(row)
    parts: tuple[list[tuple[Any, ...]], ...] = ([], [], [])
    for name, members in runs.items():
        opening = members[0].link
        parts[0 if opening is None else 1 if opening.known else 2 if opening.explicit else 0].append(
            _run(name, members)
        )
    return Runs(*(pa.table(list(zip(*part, strict=True)) or [[]] * len(_RUNS), schema=_RUNS) for part in parts))


def _run(trajectory_id: str, rows: list[Row]) -> tuple[Any, ...]:
    """Values of the columns `_RUNS`."""
    first, last = rows[0].parsed.record, rows[-1].parsed.record
    judged = outcome([_turn(rows[-1].parsed)])
    return (
        trajectory_id,
        next((row.found.agent_id for row in rows if row.found and row.found.agent_id), None),
        first.caller,
        first.session,
        judged.source,
        any(row.link is not None and row.link.explicit for row in rows),
        judged.success,
        judged.finished,
        first.started_at,
        last.started_at,
        # Attempts of one action are one call.
        sum(row.retry_of is None for row in rows),
    )


def _turn(parsed: Parsed) -> Turn:
    record, answer = parsed.record, parsed.answer
    return Turn(
        started_at=record.started_at,
        status=record.status,
        cancelled=record.cancelled,
        answered=parsed.given is not None,
        acts=parsed.given is not None and parsed.given.acts,
        finish_reason=answer.finish_reason,
        tool_error=parsed.request.chain[-1].reports_error,
    )
