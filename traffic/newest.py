"""The newest calls of a pattern, without a look at the older ones.

Calls lie in the store in the order in which they came, so a condition on `started_at` skips whole blocks of the table;
and the sums by hour (`rollup`) know from which hour on enough of them lie. A question with further conditions may find
too few there: it is put again for a longer time, up to all of it.
"""

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple, TypeVar
from uuid import UUID

from .lookup import NAME_KEY
from .rollup import HOUR_S
from .store import Store

Found = TypeVar("Found")
_FACTOR = 8
"""A longer time holds at least so many times the calls."""


class Since(NamedTuple):
    """A moment and whether anything lies before it."""

    at: float
    all: bool
    """No call of the kind began earlier."""


def since_when(store: Store, calls: int, patterns: Collection[str] | None = None, before: float | None = None) -> Since:
    """From when on at least so many calls (attempts) lie, those of some patterns or all, before a moment or all."""
    until = None if before is None else int(before // HOUR_S)
    sql = """
        SELECT min(hour) FILTER (newer < $calls), min(hour) FROM (
            SELECT hour, sum(n) OVER (ORDER BY hour DESC) - n AS newer FROM (
                SELECT hour, sum(attempts) AS n FROM traffic_hours
                WHERE ($patterns IS NULL OR list_contains($patterns, pattern_id)) AND ($until IS NULL OR hour < $until)
                GROUP BY hour
            )
        )
    """
    patterns = None if patterns is None else list(patterns)
    [(hour, first)] = store.rows(sql, {"calls": calls, "patterns": patterns, "until": until})
    # Before the first whole hour there may still be calls in the hour that `before` lies in.
    return Since(float((until or 0) * HOUR_S), True) if hour is None else Since(float(hour * HOUR_S), hour == first)


def newest(
    store: Store,
    limit: int,
    ask: Callable[[float], Sequence[Found]],
    patterns: Collection[str] | None = None,
    before: float | None = None,
) -> Sequence[Found]:
    """What `ask(since)` finds among the newest calls, `limit` of it if there is as much.

    `ask` gives the newest `limit` at most, of calls with started_at >= since (Unix seconds).
    """
    calls = limit
    while True:
        since = since_when(store, calls, patterns, before)
        found = ask(since.at)
        if since.all or len(found) >= limit:
            return found
        calls *= _FACTOR


class StoredAnswer(NamedTuple):
    """One message."""

    message_id: UUID
    depth: int
    body: str


def answered_as(store: Store, caller: str, name: str) -> StoredAnswer | None:
    """The newest stored answer to a caller that the provider gave this name."""
    sql = f"""
        SELECT response_id FROM calls WHERE upstream_key = {NAME_KEY.format(name="?")} AND caller = ?
            AND upstream_id = ? AND response_id IS NOT NULL ORDER BY started_at DESC LIMIT 1
    """
    for (answer,) in store.rows(sql, [name, caller, name]):
        # Not joined: an id that stands in the statement is looked up in the index.
        for row in store.rows("SELECT message_id, depth, body FROM messages WHERE message_id = ?", [answer]):
            return StoredAnswer(*row)
    return None


def newest_toolset(store: Store, pattern_id: str) -> str | None:
    """The tools as the pattern's newest call with any offered them: canonical JSON. None without."""
    sql = """
        SELECT t.body FROM calls c JOIN toolsets t USING (toolset_id) WHERE c.pattern_id = ? AND c.started_at >= ?
        ORDER BY c.started_at DESC LIMIT 1
    """
    found = newest(store, 1, lambda since: store.rows(sql, [pattern_id, since]), [pattern_id])
    return found[0][0] if found else None
