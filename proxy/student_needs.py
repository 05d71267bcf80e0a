"""What each agent has to learn from and lacks: the facts from which a schedule decides when to train."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from ..traffic.outcomes import settle_idle
from ..traffic.store import Store
from ..traffic.students import Manifest, StudentRegister
from .board import Board
from .states import WAITING


@dataclass(frozen=True)
class Need:
    """One agent: a row of `GET /api/needs`."""

    agent_id: str
    name: str
    sessions: int
    """Successful sessions in all."""
    new_sessions: int
    """Of them, those that are newer than what the newest version, rejected or not, has learnt from."""
    version: str
    """Newest version that may be used, else the newest of all; empty without any."""
    lost: tuple[str, ...]
    """Patterns that this version has lost again, by a gate or a guard."""
    unknown: tuple[str, ...]
    """Patterns of the agent that this version does not know."""


def needs_of(store: Store, register: StudentRegister, board: Board, idle_s: float, now: float) -> list[Need]:
    """All agents, in the order of their ids. Sessions that were silent for `idle_s` seconds are settled first, as they
    are before an export."""
    settle_idle(store, now, idle_s)
    newest = {manifest.agent_id: manifest for manifest in register.list()}
    # A rejected version serves nothing: what the one before it has lost is lost still.
    standing = newest | {one.agent_id: one for one in register.list() if one.status == "candidate"}
    patterns: dict[str, list[tuple[str, str]]] = {}
    sql = "SELECT agent_id, pattern_id, name FROM patterns WHERE agent_id IS NOT NULL ORDER BY created_at, pattern_id"
    for agent, pattern, name in store.rows(sql):
        patterns.setdefault(agent, []).append((pattern, name))
    sessions = _successes(store, {agent: newest[agent].snapshot_at if agent in newest else 0.0 for agent in patterns})
    return [
        _need(agent, patterns[agent], standing.get(agent), board, *sessions.get(agent, (0, 0)))
        for agent in sorted(patterns)
    ]


def _successes(store: Store, since: Mapping[str, float]) -> dict[str, tuple[int, int]]:
    """Successful sessions of each agent, and those that are newer than its moment (Unix seconds)."""
    sql = """
        SELECT agent_id, count(*), count(*) FILTER (last_at > batch.since) FROM trajectories
        JOIN batch ON batch.agent = agent_id WHERE success AND finished GROUP BY agent_id
    """
    strings, times = pa.array(list(since), pa.string()), pa.array(since.values(), pa.float64())
    rows = store.join(sql, pa.table({"agent": strings, "since": times}))
    return {agent: (sessions, fresh) for agent, sessions, fresh in rows}


def _need(
    agent: str, patterns: list[tuple[str, str]], manifest: Manifest | None, board: Board, sessions: int, fresh: int
) -> Need:
    version, known = (manifest.version, manifest.pattern_ids) if manifest else ("", [])
    lost = [
        pattern
        for pattern in known
        for state in board.states(pattern)
        if state.student == version and state.state in WAITING
    ]
    unknown = [pattern for pattern, _ in patterns if manifest and pattern not in known]
    return Need(agent, patterns[-1][1], sessions, fresh, version, tuple(lost), tuple(unknown))
