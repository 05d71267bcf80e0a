"""What the dashboard's pages ask the store beside `traffic.queries`.

All of it is bounded: by a stretch of time (calls lie in the store in the order in which they began, so the older blocks
are skipped), by one trajectory, or by one route's events. Nothing here walks all calls.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from ..traffic.lookup import Link, by_ids, links_up
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


def places_of(store: Store, call_ids: Sequence[str]) -> dict[str, int]:
    """Where the answers of a run's calls stand among the messages of its longest branch, from 0 on, by call id.

    A call whose answer lies on another branch is left out. The branch is that of `queries.show_trajectory`.
    """
    found = by_ids(
        store,
        "SELECT call_id, response_id, coalesce(response_id, request_tail) FROM calls WHERE call_id IN ({ids})",
        [UUID(call_id) for call_id in call_ids],
    )
    order = {call_id: place for place, call_id in enumerate(call_ids)}
    ends = {end: order[str(call)] for call, _, end in sorted(found, key=lambda row: -order[str(row[0])]) if end}
    links = links_up(store, ends)
    chains = {end: _chain(end, links) for end in ends}
    branch = max(chains.items(), key=lambda chain: (len(chain[1]), -ends[chain[0]]), default=(None, []))[1]
    places = {message: place for place, message in enumerate(reversed(branch))}
    return {str(call): places[answer] for call, answer, _ in found if answer in places}


def _chain(end: UUID, links: Mapping[UUID, Link]) -> list[UUID]:
    """The messages of a conversation, the last one first."""
    found: list[UUID] = []
    at = end
    while at in links:
        found.append(at)
        at = links[at].parent_id
    return found


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
