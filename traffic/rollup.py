"""Sums kept beside the calls, in the transaction that writes them, so that no listing has to scan all calls.

    traffic_hours    per hour, pattern, route, model, student and status: attempts, calls, tokens
    latency_hours    per hour, pattern, route and model: how many calls took how long, in fixed steps of a power of two
    caller_hours     per hour, caller, route and model: what budgets are counted from
    pattern_runs     each run once per pattern that it has calls of
    changes          which runs each batch touched, numbered: whoever remembers runs asks what is new since a number

Invariant: at every commit, each sum is what the same statement gives over the whole table `calls`. Everything adds up,
so a batch is added by one statement a table, whatever the number of its calls; calls that change are taken out before
and put back after (`moving`), and hours that have lost calls are counted again.

An empty text in a key is a NULL in `calls`. Hours are Unix seconds / 3600.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa

from .store import Store
from .sums import ADD_CALLERS, ADD_LATENCIES, ADD_RUNS, ADD_TRAFFIC, LATENCIES, SUMS

HOUR_S = 3_600
KEPT_CHANGES = 4_096
"""Batches whose touched runs are still known."""

_CHANGES = """
INSERT INTO changes SELECT (SELECT coalesce(max(revision), 0) + 1 FROM changes), trajectory_id FROM {source}
WHERE trajectory_id IS NOT NULL GROUP BY ALL
"""
_BY_ID = "(SELECT * FROM calls WHERE call_id IN (SELECT CAST(id AS UUID) FROM batch))"


def count(store: Store, calls: pa.Table) -> None:
    """Add new calls, given as the rows that go into the table; in the transaction that writes them."""
    for statement in (ADD_TRAFFIC, ADD_LATENCIES, ADD_CALLERS, ADD_RUNS, _CHANGES):
        store.bulk(statement.format(source="batch", sign=""), calls)
    _forget_changes(store)


@contextmanager
def moving(store: Store, ids: pa.Table) -> Iterator[None]:
    """Around statements that change the pattern of calls, or whether they were repeated. `ids`: a text column `id`."""
    for statement in (ADD_TRAFFIC, ADD_LATENCIES):
        store.bulk(statement.format(source=_BY_ID, sign="-"), ids)
    yield
    for statement in (ADD_TRAFFIC, ADD_LATENCIES, ADD_RUNS, _CHANGES):
        store.bulk(statement.format(source=_BY_ID, sign=""), ids)
    for table in ("traffic_hours", "latency_hours"):
        store.execute(f"DELETE FROM {table} WHERE attempts = 0")


def hours_since(since: float) -> str:
    """SQL for rows of `traffic_hours` since a moment; what is left of the hour it lies in is counted on the spot."""
    return _since(since, "traffic_hours", SUMS)


def latencies_since(since: float) -> str:
    """The same for `latency_hours`."""
    return _since(since, "latency_hours", LATENCIES)


def _since(since: float, table: str, rows: str) -> str:
    edge = math.ceil(since / HOUR_S)
    whole = f"SELECT * FROM {table} WHERE hour >= {edge}"
    if since == edge * HOUR_S:
        return f"({whole})"
    part = f"(SELECT * FROM calls WHERE started_at >= {since!r}::DOUBLE AND started_at < {edge * HOUR_S})"
    return f"({whole} UNION ALL BY NAME {rows.format(source=part, sign='')})"


def recount(store: Store, hours: Sequence[int], runs: Sequence[str]) -> None:
    """Count hours that have lost calls again, and forget runs that are gone; in the transaction that removed them."""
    if hours:
        listed = ", ".join(map(str, hours))
        for table in ("traffic_hours", "latency_hours", "caller_hours"):
            store.execute(f"DELETE FROM {table} WHERE hour IN ({listed})")
        spans = " OR ".join(f"(started_at >= {low} AND started_at < {high})" for low, high in _spans(hours))
        for statement in (ADD_TRAFFIC, ADD_LATENCIES, ADD_CALLERS):
            store.execute(statement.format(source=f"(SELECT * FROM calls WHERE {spans})", sign=""))
    gone = pa.table({"id": pa.array(runs, pa.string())})
    store.bulk("DELETE FROM pattern_runs WHERE trajectory_id IN (SELECT id FROM batch)", gone)
    store.bulk("INSERT INTO changes SELECT (SELECT coalesce(max(revision), 0) + 1 FROM changes), id FROM batch", gone)


def _spans(hours: Sequence[int]) -> list[tuple[int, int]]:
    """Unix seconds of the hours, those that follow each other in one."""
    spans: list[tuple[int, int]] = []
    for hour in sorted(set(hours)):
        begin = hour * HOUR_S
        spans[-1:] = [(spans[-1][0], begin + HOUR_S)] if spans and spans[-1][1] == begin else [
            *spans[-1:], (begin, begin + HOUR_S)
        ]  # fmt: skip
    return spans


def _forget_changes(store: Store) -> None:
    last = store.value("SELECT max(revision) FROM changes") or 0
    if last % (KEPT_CHANGES // 4) == 0:
        store.execute("DELETE FROM changes WHERE revision <= ?", [last - KEPT_CHANGES])
