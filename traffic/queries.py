"""What people and the other planes ask the store: totals, lists, one thing in detail. All read-only.

Each function returns a dataclass, or a list of them, whose fields are the documented columns of the lists, the JSON of
the admin API and the pages of the dashboard. Lists come newest first. Times are Unix seconds.

Volumes count actions: of several attempts of one action only the last is counted, while the tokens of all are.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar
from uuid import UUID

from .canonical import loads
from .conversations import Message, answer_of, messages_of, request_of
from .errors import BadInput, UnknownName
from .lookup import by_ids
from .newest import newest
from .store import Params, Store
from .totals import ModelUse as ModelUse
from .totals import PatternSummary as PatternSummary
from .totals import TrafficPoint as TrafficPoint
from .totals import list_patterns as list_patterns
from .totals import model_use as model_use
from .totals import traffic_by_minute as traffic_by_minute


@dataclass(frozen=True)
class StoreStats:
    """Size of the store."""

    calls: int
    trajectories: int
    messages: int
    patterns: int
    bytes: int
    """Database file and write-ahead log on disk."""


@dataclass(frozen=True)
class CallSummary:
    """One call in a list."""

    call_id: str
    started_at: float
    endpoint: str
    caller: str
    route: str
    reason: str
    fallback: str
    student: str
    model: str
    pattern_id: str | None
    agent_id: str | None
    trajectory_id: str | None
    turn: int | None
    session: str
    status: int
    stream: bool
    cancelled: bool
    error: str
    finish_reason: str
    prompt_tokens: int | None
    completion_tokens: int | None
    cached_tokens: int | None
    reasoning_tokens: int | None
    """Among the completion tokens."""
    first_byte_ms: float
    latency_ms: float
    retry: int
    """How often the agent's client library had tried before, as it says itself."""
    retry_of: str | None
    """The call that this one repeats: both are attempts of one action."""
    retried: bool | None
    """A later call has repeated this one."""
    confidence: float | None
    request_id: str
    upstream_id: str | None
    """The provider's name of the answer, such as `chatcmpl-…`."""
    teacher: str | None


@dataclass(frozen=True)
class CallDetail:
    """One call with its bodies."""

    call: CallSummary
    request: dict[str, Any] | None
    """The request body; None when it was no chat request."""
    answer: Message | None
    """The whole assistant message; None when there was none."""
    request_raw: str
    """What could not be represented otherwise, as text; empty as a rule."""
    response_raw: str


@dataclass(frozen=True)
class TrajectorySummary:
    """One agent run in a list."""

    trajectory_id: str
    explicit: bool
    """The agent named it."""
    agent_id: str | None
    caller: str
    session: str
    first_at: float
    last_at: float
    calls: int
    success: bool | None
    success_source: str
    finished: bool
    parent_id: str | None
    """The run that has started this one, as somebody said; it may not be in the store."""


@dataclass(frozen=True)
class TrajectoryDetail:
    """One agent run: its calls in order of time, and the messages of its longest branch."""

    trajectory: TrajectorySummary
    calls: list[CallSummary]
    messages: list[Message]
    parent: TrajectorySummary | None
    """None without one, or when it has no calls in the store."""
    children: list[TrajectorySummary]
    """Runs that this one has started, the oldest first, `MOST_CHILDREN` at most."""


Shape = TypeVar("Shape", CallSummary, TrajectorySummary)
MOST_CHILDREN = 1_000


def stats(store: Store) -> StoreStats:
    """Totals."""
    sql = """
        SELECT (SELECT count(*) FROM calls) AS calls, (SELECT count(*) FROM trajectories) AS trajectories,
            (SELECT count(*) FROM messages) AS messages, (SELECT count(*) FROM patterns) AS patterns
    """
    return StoreStats(**store.query(sql)[0], bytes=store.bytes_on_disk())


def list_calls(
    store: Store,
    limit: int = 50,
    *,
    pattern: str | None = None,
    trajectory: str | None = None,
    before: float | None = None,
) -> list[CallSummary]:
    """Calls, newest first; of one pattern or trajectory, or started before a time."""
    run = _span_of(store, trajectory) if trajectory else None
    if trajectory and run is None:
        return []
    where, values = _where({"pattern_id = ?": pattern, "trajectory_id = ?": trajectory, "started_at < ?": before})
    narrowed = (
        f"calls {where or 'WHERE TRUE'} AND started_at BETWEEN ? AND ? ORDER BY started_at DESC, call_id DESC LIMIT ?"
    )
    if run is not None:
        return _select(store, CallSummary, narrowed, [*values, *run, limit])

    def ask(since: float) -> list[CallSummary]:
        return _select(store, CallSummary, narrowed, [*values, since, math.inf, limit])

    return list(newest(store, limit, ask, [pattern] if pattern else None, before))


def _span_of(store: Store, trajectory_id: str) -> tuple[float, float] | None:
    """From when to when a run's calls began; None for an unknown one."""
    rows = store.rows("SELECT first_at, last_at FROM trajectories WHERE trajectory_id = ?", [trajectory_id])
    return rows[0] if rows else None


def show_call(store: Store, call_id: str) -> CallDetail:
    """One call with its bodies. Raises UnknownName."""
    answer = answer_of(store, call_id)
    call = _select(store, CallSummary, "calls WHERE call_id = CAST(? AS UUID)", [call_id])[0]
    raw = store.rows("SELECT request_raw, response_raw FROM calls WHERE call_id = CAST(? AS UUID)", [call_id])[0]
    texts = [(blob or b"").decode("utf-8", "replace") for blob in raw]
    try:
        request = request_of(store, call_id)
    except BadInput:
        request = None
    return CallDetail(call, request, answer, *texts)


def list_trajectories(
    store: Store, limit: int = 50, *, agent: str | None = None, before: float | None = None
) -> list[TrajectorySummary]:
    """Agent runs, the one with the newest call first; of one agent, or whose newest call is before a time."""
    where, values = _where({"agent_id = ?": agent, "last_at < ?": before})
    sql = f"trajectories {where} ORDER BY last_at DESC, trajectory_id LIMIT ?"
    return _select(store, TrajectorySummary, sql, [*values, limit])


def show_trajectory(store: Store, trajectory_id: str) -> TrajectoryDetail:
    """One agent run. Raises UnknownName."""
    found = _select(store, TrajectorySummary, "trajectories WHERE trajectory_id = ?", [trajectory_id])
    if not found:
        raise UnknownName(f"There is no trajectory {trajectory_id!r}. List them with: tutelage trajectories list")
    sql = "calls WHERE trajectory_id = ? AND started_at BETWEEN ? AND ? ORDER BY started_at, call_id"
    calls = _select(store, CallSummary, sql, [trajectory_id, found[0].first_at, found[0].last_at])
    tail = _longest(store, [call.call_id for call in calls])
    above = _select(store, TrajectorySummary, "trajectories WHERE trajectory_id = ?", [found[0].parent_id])
    sql = "trajectories WHERE parent_id = ? ORDER BY first_at, trajectory_id LIMIT ?"
    below = _select(store, TrajectorySummary, sql, [trajectory_id, MOST_CHILDREN])
    return TrajectoryDetail(found[0], calls, messages_of(store, tail) if tail else [], next(iter(above), None), below)


def _longest(store: Store, call_ids: Sequence[str]) -> str | None:
    """The last message of the longest of the calls' conversations; of equally long ones the first call's."""
    sql = "SELECT coalesce(response_id, request_tail), call_id FROM calls WHERE call_id IN ({ids})"
    order = {UUID(call_id): place for place, call_id in enumerate(call_ids)}
    ends = {end: order[call] for end, call in sorted(by_ids(store, sql, order), key=lambda row: -order[row[1]]) if end}
    depths = by_ids(store, "SELECT depth, message_id FROM messages WHERE message_id IN ({ids})", ends)
    return str(max(depths, key=lambda row: (row[0], -ends[row[1]]))[1]) if depths else None


def show_pattern(store: Store, pattern_id: str) -> tuple[PatternSummary, dict[str, Any]]:
    """One pattern and its entry in the registry. Raises UnknownName."""
    found = list_patterns(store, 1, pattern=pattern_id)
    if not found:
        raise UnknownName(f"There is no pattern {pattern_id!r}. List them with: tutelage patterns list")
    return found[0], loads(store.value("SELECT body FROM patterns WHERE pattern_id = ?", [pattern_id]))


def _where(conditions: dict[str, Any]) -> tuple[str, list[Any]]:
    """A WHERE clause of the conditions whose value is given: neither None nor the empty text."""
    given = {condition: value for condition, value in conditions.items() if value not in (None, "")}
    return ("WHERE " + " AND ".join(given) if given else ""), list(given.values())


def _select(store: Store, shape: type[Shape], rest: str, params: Params) -> list[Shape]:
    """Rows as `shape`, whose field names are the columns."""
    columns = ", ".join(field.name for field in fields(shape))
    return [shape(**row) for row in store.query(f"SELECT {columns} FROM {rest}", params)]
