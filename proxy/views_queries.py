"""What the dashboard's pages ask the store beside `traffic.queries`.

All of it is bounded: by a stretch of time (calls lie in the store in the order in which they began, so the older blocks
are skipped), by one trajectory, or by one route's events. Nothing here walks all calls.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from ..traffic.store import Store
from .event_log import SWITCH, TRANSITION
from .pairs import FILTERS
from .states import Event, decode_event
from .verdicts import PairKey, read_key


@dataclass(frozen=True)
class RouteTimes:
    """Latency and failures of one route in a stretch of time."""

    route: str
    calls: int
    failed: int
    """Without a good status, or broken off."""
    fallbacks: int
    """Meant for a student and answered by the teacher; among the teacher's calls."""
    first_byte_p50_ms: float | None
    first_byte_p95_ms: float | None
    latency_p50_ms: float | None
    latency_p95_ms: float | None


@dataclass(frozen=True)
class Side:
    """One pattern's calls on one route in a stretch of time."""

    route: str
    model: str
    """The most frequent one."""
    calls: int
    failed: int
    prompt_tokens: float | None
    """Mean of a call."""
    completion_tokens: float | None
    first_byte_p50_ms: float | None
    latency_p50_ms: float | None
    latency_p95_ms: float | None


class Pulse(NamedTuple):
    """One pattern's recent traffic."""

    counts: list[int]
    """Calls by step of time, the oldest first."""
    teacher_ms: float | None
    """Median latency."""
    student_ms: float | None


_FAILED = "cancelled OR status >= 400 OR status = 0"


def route_times(store: Store, since: float) -> list[RouteTimes]:
    """By route, of calls that began at or after `since` (Unix seconds)."""
    sql = f"""
        SELECT route, count(*) AS calls, count_if({_FAILED}) AS failed, count_if(fallback <> '') AS fallbacks,
            quantile_cont(first_byte_ms, 0.5) FILTER (first_byte_ms > 0) AS first_byte_p50_ms,
            quantile_cont(first_byte_ms, 0.95) FILTER (first_byte_ms > 0) AS first_byte_p95_ms,
            quantile_cont(latency_ms, 0.5) AS latency_p50_ms, quantile_cont(latency_ms, 0.95) AS latency_p95_ms
        FROM calls WHERE started_at >= ? AND retried IS NOT TRUE GROUP BY route ORDER BY route
    """
    return [RouteTimes(**row) for row in store.query(sql, [since])]


def sides(store: Store, pattern_id: str, since: float) -> list[Side]:
    """One pattern's routes beside each other, of calls that began at or after `since`."""
    sql = f"""
        SELECT route, coalesce(mode(model), '') AS model, count(*) AS calls, count_if({_FAILED}) AS failed,
            avg(prompt_tokens) AS prompt_tokens, avg(completion_tokens) AS completion_tokens,
            quantile_cont(first_byte_ms, 0.5) FILTER (first_byte_ms > 0) AS first_byte_p50_ms,
            quantile_cont(latency_ms, 0.5) AS latency_p50_ms, quantile_cont(latency_ms, 0.95) AS latency_p95_ms
        FROM calls WHERE started_at >= ? AND pattern_id = ? AND retried IS NOT TRUE GROUP BY route ORDER BY route DESC
    """
    return [Side(**row) for row in store.query(sql, [since, pattern_id])]


def pulses(store: Store, start: float, step_s: float, steps: int) -> dict[str, Pulse]:
    """By pattern, the calls of `steps` steps of time from `start` on, and median latencies."""
    volumes = store.rows(
        "SELECT pattern_id, floor((started_at - ?) / ?)::INTEGER AS step, count(*) FROM calls "
        "WHERE started_at >= ? AND pattern_id IS NOT NULL AND retried IS NOT TRUE GROUP BY ALL",
        [start, step_s, start],
    )
    medians = """
        SELECT pattern_id, median(latency_ms) FILTER (route = 'teacher'), median(latency_ms) FILTER (route = 'student')
        FROM calls WHERE started_at >= ? AND pattern_id IS NOT NULL AND retried IS NOT TRUE GROUP BY pattern_id
    """
    times = store.rows(medians, [start])
    found = {pattern: Pulse([0] * steps, teacher, student) for pattern, teacher, student in times}
    for pattern, step, calls in volumes:
        if 0 <= step < steps:
            found[pattern].counts[step] = calls
    return found


def last_transitions(store: Store) -> dict[str, dict[str, Any]]:
    """The newest change of route of each pattern."""
    sql = "SELECT pattern_id, arg_max(detail, seq) FROM route_events WHERE kind = ? GROUP BY pattern_id"
    return {pattern: msgspec.json.decode(detail) for pattern, detail in store.rows(sql, [TRANSITION])}


def machine_events(store: Store, pattern_id: str, student: str, after: int) -> Iterator[tuple[int, Event]]:
    """Events of one version on one pattern with their numbers, oldest first, those up to number `after` left out."""
    sql = """
        SELECT seq, detail FROM route_events
        WHERE pattern_id = ? AND student = ? AND seq > ? AND kind NOT IN (?, ?) ORDER BY seq
    """
    for seq, detail in store.rows(sql, [pattern_id, student, after, TRANSITION, SWITCH]):
        yield seq, decode_event(detail)


def branch_of(store: Store, trajectory_id: str) -> Sequence[str]:
    """Names of the messages of a run's longest branch, from the first on: as in `queries.show_trajectory`."""
    sql = """
        WITH RECURSIVE tail AS (
            SELECT m.message_id, m.parent_id FROM calls c
            JOIN messages m ON m.message_id = coalesce(c.response_id, c.request_tail)
            WHERE c.trajectory_id = ? ORDER BY m.depth DESC, c.started_at LIMIT 1
        ), up(message_id, parent_id, place) AS (
            SELECT message_id, parent_id, 0 FROM tail
            UNION ALL
            SELECT m.message_id, m.parent_id, up.place + 1 FROM up JOIN messages m ON m.message_id = up.parent_id
        )
        SELECT message_id FROM up ORDER BY place DESC
    """
    return [str(row[0]) for row in store.rows(sql, [trajectory_id])]


def answers_in(store: Store, trajectory_id: str) -> dict[str, str]:
    """Name of the message that each call of a run was answered with, by call id."""
    sql = "SELECT call_id, response_id FROM calls WHERE trajectory_id = ? AND response_id IS NOT NULL"
    return {str(call): str(answer) for call, answer in store.rows(sql, [trajectory_id])}


def newer_pair(store: Store, pair_id: str, pattern_id: str, only: str) -> str:
    """Id of the pair that stands before one in the list of `pairs.list_pairs`; empty when it is the first."""
    key = read_key(pair_id)
    sql = f"""
        SELECT call_id, student, kind FROM comparisons
        WHERE ($pattern = '' OR pattern_id = $pattern) AND {FILTERS[only]}
            AND (comparisons."at", call_id, kind, student) > (
                (SELECT c."at" FROM comparisons c WHERE c.call_id = CAST($call_id AS UUID) AND c.kind = $kind
                    AND c.student = $student), CAST($call_id AS UUID), $kind, $student)
        ORDER BY comparisons."at", call_id, kind, student LIMIT 1
    """
    found = store.rows(sql, {"pattern": pattern_id, **key._asdict()})
    return PairKey(str(found[0][0]), found[0][1], found[0][2]).text if found else ""
