"""Sums kept beside the calls, in the transaction that writes them, so that no listing has to scan all calls.

    traffic_hours    per hour, pattern, route, model, student and status: attempts, calls, tokens
    traffic_days     the same per day: for questions about all of the time
    latency_days     per day, pattern, route and model: how many calls took how long, in fixed steps of a power of two
    caller_days      per day, caller, route and model: what budgets are counted from
    pattern_runs     each run once per pattern that it has calls of
    pattern_sessions how many runs each pattern has
    changes          which runs (and patterns of theirs) each batch touched, numbered: whoever remembers something about
                     runs asks what is new since a number

Invariant: at every commit, each sum is what the same statement gives over the whole table `calls`. All but the last are
views: tables of what has been counted, and beside them the newest calls (`uncounted`), counted on the spot. Everything
adds up, so many calls are counted by one statement a table; calls that change are taken out before and put back after
(`moving`), and those that are removed are taken out for good (`removing`).

New calls are told by the number of the batch that they came in (`calls.intake`): all of a batch are counted or none.

An empty text in a key is a NULL in `calls`. Hours and days are Unix time divided by their length.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pyarrow as pa

from .lookup import ids_table
from .store import Store
from .sums import (
    ADD_CALLERS,
    ADD_DAYS,
    ADD_LATENCIES,
    ADD_RUNS,
    ADD_SESSIONS,
    ADD_TRAFFIC,
    COUNT,
    COUNTED,
    DAYS,
    LATENCIES,
    NEW,
    SUMS,
    days_again,
    rebuild_days_sql,
    rebuild_sql,
)

HOUR_S, DAY_S = 3_600, 86_400
MOST_UNCOUNTED = 16_384
"""Calls that wait to be counted: a statement costs milliseconds however few calls it is for."""
KEPT_CHANGES = 4_096
"""Batches whose touched runs are still known."""

_CHANGES = """
INSERT INTO changes BY NAME
SELECT (SELECT coalesce(max(revision), 0) + 1 FROM changes) AS revision, trajectory_id, pattern_id FROM {source}
WHERE trajectory_id IS NOT NULL GROUP BY ALL
"""
_BEFORE = """
SELECT (SELECT coalesce(max(revision), 0) FROM changes), (SELECT coalesce(sum(calls), 0)::BIGINT FROM uncounted)
"""
_TOUCHED = """
INSERT INTO changes BY NAME
SELECT {revision} AS revision, trajectory_id, pattern_id FROM batch WHERE trajectory_id IS NOT NULL GROUP BY ALL
"""
"""`_CHANGES` in half the time, for what comes with every batch."""
_MOVED = (ADD_TRAFFIC, ADD_DAYS, ADD_LATENCIES)
"""What knows patterns and repeats of calls."""
_COUNTED = """
SELECT call_id FROM calls SEMI JOIN batch ON call_id = CAST(id AS UUID)
ANTI JOIN (SELECT intake FROM uncounted WHERE calls > 0) USING (intake)
"""
_BY_ID = "(SELECT * FROM calls WHERE call_id IN (SELECT CAST(id AS UUID) FROM batch))"


def announce(store: Store, calls: int) -> int:
    """The number of a new batch of calls, for their column `intake`; in the transaction that writes them."""
    last = store.value("SELECT coalesce(max(intake), 0) FROM uncounted")
    store.execute("INSERT INTO uncounted VALUES (?, ?)", [last + 1, calls])
    return last + 1


def count(store: Store, calls: pa.Table) -> None:
    """Add the calls that were announced, given as the rows that went into the table; in the same transaction."""
    last, uncounted = store.rows(_BEFORE)[0]
    touched = store.pour(_TOUCHED.format(revision=last + 1), calls.select(["trajectory_id", "pattern_id"]))
    if uncounted >= MOST_UNCOUNTED:
        _count_new(store)
    _forget_changes(store, last + 1 if touched else last)


def settle(store: Store) -> None:
    """Count what is new: each key has one row then."""
    with store.transaction():
        _count_new(store)


def _count_new(store: Store) -> None:
    for statement in (*COUNT, COUNTED):
        store.execute(statement.format(source=NEW, sign=""))


def touch(store: Store, runs: Iterable[str | None]) -> None:
    """Say that something about these runs has changed, such as a label: in the same transaction, or right after."""
    names = pa.table({"trajectory_id": pa.array(sorted({run for run in runs if run}), pa.string())})
    if len(names):
        store.bulk(_CHANGES.replace("pattern_id", "NULL AS pattern_id", 1).format(source="batch"), names)


@contextmanager
def moving(store: Store, ids: pa.Table) -> Iterator[None]:
    """Around statements that change the pattern of calls, or whether they were repeated. `ids`: a text column `id`."""
    # Those that are not counted yet are counted as they will be then.
    counted = ids_table(str(name) for (name,) in store.join(_COUNTED, ids))
    for statement in _MOVED if len(counted) else ():
        store.bulk(statement.format(source=_BY_ID, sign="-"), counted)
    yield
    for statement in (*_MOVED, ADD_SESSIONS, ADD_RUNS) if len(counted) else ():
        store.bulk(statement.format(source=_BY_ID, sign=""), counted)
    store.bulk(_CHANGES.format(source=_BY_ID), ids)
    for table in ("counted_traffic", "counted_days", "counted_latencies") if len(counted) else ():
        store.execute(f"DELETE FROM {table} WHERE attempts = 0")


@contextmanager
def removing(store: Store, table: str) -> Iterator[None]:
    """Around statements that remove calls, whole runs of them. `table` names them by `call_id` and `trajectory_id`,
    and by `retry_of` the calls that are attempts of their own again."""
    _count_new(store)
    gone = f"(SELECT * FROM calls WHERE call_id IN (SELECT call_id FROM {table}))"
    for statement in (ADD_LATENCIES, ADD_CALLERS):
        store.execute(statement.format(source=gone, sign="-"))
    hours = [hour for (hour,) in store.rows(_HOURS.format(table=table))]
    yield
    for name in ("counted_latencies", "counted_callers"):
        store.execute(f"DELETE FROM {name} WHERE attempts = 0")
    # Counted again: when the first call of an hour was cannot be told from a sum.
    store.execute(f"DELETE FROM counted_traffic WHERE list_contains({hours}, hour)")
    spans = " OR ".join(f"(started_at >= {low} AND started_at < {high})" for low, high in hour_spans(hours))
    store.execute(ADD_TRAFFIC.format(source=f"(SELECT * FROM calls WHERE {spans or 'FALSE'})", sign=""))
    store.execute(days_again(sorted({hour // 24 for hour in hours})))
    for statement in _FORGET_RUNS:
        store.execute(statement.format(gone=f"trajectory_id IN (SELECT trajectory_id FROM {table})"))
    store.execute(_CHANGES.replace("pattern_id", "NULL AS pattern_id", 1).format(source=table))


_FORGET_RUNS = (
    "UPDATE counted_sessions SET runs = counted_sessions.runs - less.runs FROM "
    "(SELECT pattern_id, count(*) AS runs FROM counted_runs WHERE {gone} GROUP BY ALL) AS less "
    "WHERE less.pattern_id = counted_sessions.pattern_id",
    "DELETE FROM counted_sessions WHERE runs = 0",
    "DELETE FROM counted_runs WHERE {gone}",
)


def recount(store: Store) -> None:
    """Make all sums anew from the calls, as for a database that had none. Reads every call."""
    with store.transaction():
        store.execute(f"{rebuild_sql()};\n{rebuild_days_sql()};\n{COUNTED}")


_HOURS = """
SELECT DISTINCT CAST(floor(started_at / 3600) AS INTEGER) FROM calls
WHERE call_id IN (SELECT call_id FROM {table} UNION SELECT retry_of FROM {table})
"""


def hours_since(since: float) -> str:
    """SQL for rows of `traffic_hours` since a moment; what is left of the hour it lies in is counted on the spot."""
    return _since(since, "traffic_hours", "hour", HOUR_S, SUMS)


def days_since(since: float) -> str:
    """The same for `traffic_days`."""
    return _since(since, "traffic_days", "day", DAY_S, DAYS)


def latencies_since(since: float) -> str:
    """The same for `latency_days`."""
    return _since(since, "latency_days", "day", DAY_S, LATENCIES)


def _since(since: float, table: str, unit: str, length: int, rows: str) -> str:
    edge = math.ceil(since / length)
    whole = f"SELECT * FROM {table} WHERE {unit} >= {edge}"
    if since == edge * length:
        return f"({whole})"
    part = f"(SELECT * FROM calls WHERE started_at >= {since!r}::DOUBLE AND started_at < {edge * length})"
    return f"({whole} UNION ALL BY NAME {rows.format(source=part, sign='')})"


def hour_spans(hours: Iterable[int]) -> list[tuple[int, int]]:
    """Unix seconds of the hours, those that follow each other in one."""
    spans: list[tuple[int, int]] = []
    for hour in sorted(set(hours)):
        begin = hour * HOUR_S
        spans[-1:] = [(spans[-1][0], begin + HOUR_S)] if spans and spans[-1][1] == begin else [
            *spans[-1:], (begin, begin + HOUR_S)
        ]  # fmt: skip
    return spans


def _forget_changes(store: Store, last: int) -> None:
    if last % (KEPT_CHANGES // 4) == 0:
        store.execute("DELETE FROM changes WHERE revision <= ?", [last - KEPT_CHANGES])
