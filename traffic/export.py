"""A snapshot of one agent's finished runs for training: Parquet rows and a description of the agent.

    FOLDER/trajectories.parquet   one row a run: the messages of its longest branch, and which of them were calls
    FOLDER/agent.json             the agent; written last, so its presence means that the snapshot is whole

Training reads these files only. It needs neither the store nor its owner, and a run can be repeated from them.
"""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from .answers import dump
from .canonical import canonical_message, loads
from .conversations import Conversations, Message
from .errors import UnknownName
from .layout import publish_json
from .lookup import by_ids
from .newest import newest
from .outcomes import settle_idle
from .store import Row, Store

TRAJECTORIES = "trajectories.parquet"
AGENT = "agent.json"
CHUNK = 500
"""Runs that are held in memory at a time."""

_SCHEMA = pa.schema(
    {
        "trajectory_id": pa.string(),
        "session": pa.string(),
        "agent_id": pa.string(),
        "success": pa.bool_(),
        "success_source": pa.string(),
        "tools": pa.string(),
        "messages": pa.string(),
        "calls": pa.string(),
    }
)


@dataclass(frozen=True)
class ExportInfo:
    """What was written."""

    path: Path
    trajectories: int
    snapshot_at: float
    """Start of the newest call in the snapshot, Unix seconds; 0 when it is empty."""


def export_agent(store: Store, agent_id: str, folder: Path, idle_s: float, now: float) -> ExportInfo:
    """Write the runs of an agent that have been silent for `idle_s` seconds into `folder`, which is created.

    Runs that ended on an action are settled first (see `outcomes.settle_idle`). Raises UnknownName.
    """
    described = _describe(store, agent_id)
    settle_idle(store, now, idle_s)
    sql = """
        SELECT trajectory_id, session, agent_id, success, success_source, first_at, last_at FROM trajectories
        WHERE agent_id = ? AND finished AND last_at <= ? ORDER BY first_at, trajectory_id
    """
    runs = store.query(sql, [agent_id, now - idle_s])
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".{TRAJECTORIES}.{os.getpid()}"
    written = 0
    with pq.ParquetWriter(draft, _SCHEMA, compression="zstd") as writer:
        for table in tables_of(store, runs):
            writer.write_table(table)
            written += table.num_rows
    draft.replace(folder / TRAJECTORIES)
    snapshot_at = max((run["last_at"] for run in runs), default=0.0)
    publish_json(folder / AGENT, described | {"snapshot_at": snapshot_at, "trajectories": written})
    return ExportInfo(folder, written, snapshot_at)


def _describe(store: Store, agent_id: str) -> dict[str, Any]:
    rows = store.query("SELECT pattern_id, name, body FROM patterns WHERE agent_id = ? ORDER BY created_at", [agent_id])
    if not rows:
        raise UnknownName(f"There is no agent {agent_id!r}. See the column 'agent_id' of: tutelage patterns list")
    sql = """
        SELECT t.body FROM calls c JOIN toolsets t USING (toolset_id) WHERE c.agent_id = ? AND c.started_at >= ?
        ORDER BY c.started_at DESC LIMIT 1
    """
    patterns = [row["pattern_id"] for row in rows]
    tools = next(
        (body for (body,) in newest(store, 1, lambda since: store.rows(sql, [agent_id, since]), patterns)), None
    )
    return {
        "agent_id": agent_id,
        "name": rows[-1]["name"],
        "pattern_ids": [row["pattern_id"] for row in rows],
        "skeleton": list(loads(rows[-1]["body"]).get("skeleton") or []),
        "tools": loads(tools) if tools else [],
    }


def tables_of(store: Store, runs: Sequence[Row]) -> Iterator[pa.Table]:
    """Rows of the snapshot for these runs, `CHUNK` of them at a time; a run of which no message is left has none."""
    for start in range(0, len(runs), CHUNK):
        chunk = runs[start : start + CHUNK]
        rows = _calls_of(store, chunk)
        said = Conversations(store, {call[name] for call in rows for name in ("tail", "request_tail")} - {None})
        calls: dict[str, list[Row]] = {}
        for row in rows:
            if row["tail"] in said:
                calls.setdefault(row["trajectory_id"], []).append(row | {"depth": said.depth(row["tail"])})
        last = {name: _deepest(members) for name, members in calls.items()}
        answers = {call["response_id"] for members in calls.values() for call in members} - {None}
        said.read([call["tail"] for call in last.values()], [name for name in answers if name in said])
        tools = _toolsets(store, {call["toolset_id"] for call in last.values()} - {None})
        known = [run for run in chunk if run["trajectory_id"] in calls]
        built = (_row(run, calls[run["trajectory_id"]], last[run["trajectory_id"]], said, tools) for run in known)
        yield pa.Table.from_pylist(list(built), _SCHEMA)


def _calls_of(store: Store, runs: Sequence[Row]) -> list[Row]:
    sql = """
        SELECT trajectory_id, call_id, pattern_id, route, model, started_at, request_tail, response_id, toolset_id,
            coalesce(response_id, request_tail) AS tail
        FROM calls WHERE list_contains(?, trajectory_id) AND retried IS NOT TRUE AND tail IS NOT NULL
            AND started_at BETWEEN ? AND ? ORDER BY started_at, call_id
    """
    first, last = min(run["first_at"] for run in runs), max(run["last_at"] for run in runs)
    return store.query(sql, [[run["trajectory_id"] for run in runs], first, last])


def _toolsets(store: Store, ids: Collection[str]) -> dict[str, str]:
    sql = "SELECT toolset_id, body FROM toolsets WHERE toolset_id IN ({ids})"
    return {str(name): body for name, body in by_ids(store, sql, ids)}


def _deepest(calls: Sequence[Row]) -> Row:
    """The call at the end of the longest branch; the newest of several."""
    return max(calls, key=lambda call: (call["depth"], call["started_at"]))


def _row(run: Row, calls: Sequence[Row], last: Row, said: Conversations, tools: Mapping[str, str]) -> dict[str, Any]:
    messages = said.chain(last["tail"])
    return {
        **{name: run[name] for name in ("trajectory_id", "session", "agent_id", "success", "success_source")},
        "tools": tools.get(last["toolset_id"], "[]"),
        "messages": dump(messages),
        "calls": dump([_call(call) for call in calls if _on_branch(call, messages, said)]),
    }


def _on_branch(call: Row, messages: Sequence[Message], said: Conversations) -> bool:
    """Whether the call's answer is the message at its place; the names may differ, for system prompts hold clocks."""
    at, name = call["depth"], call["response_id"]
    if name is None or at >= len(messages) or name not in said:
        return False
    answer = said.message(name)
    return messages[at] is answer or canonical_message(messages[at]) == canonical_message(answer)


def _call(call: Row) -> dict[str, Any]:
    names = ("call_id", "pattern_id", "route", "model", "started_at")
    return {"index": call["depth"], **{name: call[name] for name in names}}
