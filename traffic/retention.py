"""What is kept how long: the oldest runs are removed, whole ones, until age and size are within the rules.

The unit is a run (a trajectory), or a single call that belongs to none. With a call go its verdicts and whatever else
is said about it. A message goes when no call that is left leads through it, so runs that share a prefix never lose it;
the same holds for tool sets. After each step the store is whole (`verify` finds nothing), for a step is a transaction.

Sizes are of content: the text of messages and tool sets, each counted once, and the parameters and raw bodies of calls.
The file is smaller, for it is compressed, and shrinks only when it is compacted; a rule about its size would never be
done. A dry run does all of it and takes it back, so it cannot say anything else than what would happen.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa

from .errors import BadInput
from .rollup import removing
from .store import Store

DAY_S = 86_400.0
YOUNGEST_S = 3_600.0
"""Runs with a call in the last hour may still be going on and are never removed."""
_FOREVER = 1e12
_STEP = 200
"""Runs removed in one transaction: writers wait for no longer than that."""


class Keep(NamedTuple):
    """One rule; 0 is no limit."""

    days: float = 0.0
    """Since the run's last call."""
    bytes: int = 0
    """Of content."""


@dataclass(frozen=True)
class Rules:
    """Everything that limits the store."""

    keep: Keep = field(default_factory=Keep)
    per_pattern: Mapping[str, Keep] = field(default_factory=dict)
    """By pattern id, agent id or name. Its `days` take the place of the general ones: 0 is for ever."""

    def __post_init__(self) -> None:
        for name, rule in {"": self.keep, **self.per_pattern}.items():
            if not (rule.days >= 0 and rule.bytes >= 0):
                where = f"store.per_pattern.{name}" if name else "store"
                raise BadInput(f"keep_days and max_bytes in [{where}] must be 0 (no limit) or more, not {tuple(rule)}.")

    @property
    def limited(self) -> bool:
        """Whether there is any limit at all."""
        return any(rule != Keep() for rule in (self.keep, *self.per_pattern.values()))


class Unit(NamedTuple):
    """What is removed as a whole: a run, or a call without one."""

    trajectory_id: str | None
    call_id: Any
    last_at: float


@dataclass
class Removed:
    """How much went."""

    runs: int = 0
    """Single calls without a run included."""
    calls: int = 0
    messages: int = 0
    toolsets: int = 0
    comparisons: int = 0
    bytes: int = 0
    """Of content."""
    newest_at: float = 0.0
    """Last call of the newest run among them, Unix seconds."""
    more: bool = False
    """There is more to remove; this was as much as was asked for."""

    def add(self, other: "Removed") -> None:
        """Count another step in."""
        for name in ("runs", "calls", "messages", "toolsets", "comparisons", "bytes"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.newest_at = max(self.newest_at, other.newest_at)


class _TakenBack(Exception):
    """Ends a dry run."""


def prune(
    store: Store,
    rules: Rules,
    now: float,
    *,
    kept_since: float | None = None,
    dry_run: bool = False,
    steps: int | None = None,
    progress: Callable[[int], None] = lambda runs: None,
    sizes: dict[str, int] | None = None,
) -> Removed:
    """Remove what the rules do not keep; `progress` is told the number of runs so far.

    now, kept_since: Unix seconds; nothing with a call since `kept_since` goes, whatever the rules say.
    steps: transactions at most; None for as many as it takes.
    sizes: for a removal in several calls, one dict: the sizes of the first look, less what has been removed since.
        A look at sizes reads all texts.
    """
    until = min(now - YOUNGEST_S, kept_since if kept_since is not None else now)
    if not dry_run:
        return _Pruning(
            store, rules, now, until, steps, progress, store.transaction, {} if sizes is None else sizes
        ).run()
    report = Removed()
    try:
        with store.transaction():
            report = _Pruning(store, rules, now, until, steps, progress, nullcontext).run()
            raise _TakenBack
    except _TakenBack:
        return report


@dataclass
class _Pruning:
    """One run of `prune`."""

    store: Store
    rules: Rules
    now: float
    until: float
    steps: int | None
    progress: Callable[[int], None]
    step: Callable[[], AbstractContextManager[Any]]
    sizes: dict[str, int] = field(default_factory=dict)
    """Bytes of content by the name of a rule, once it has been looked at; the whole store's by the empty name."""
    report: Removed = field(default_factory=Removed)

    def run(self) -> Removed:
        patterns = {name: _patterns(self.store, name) for name in self.rules.per_pattern}
        self._by_age(patterns)
        for name, rule in self.rules.per_pattern.items():
            if rule.bytes and patterns[name]:
                self._by_size(name, rule.bytes, patterns[name])
        if self.rules.keep.bytes:
            self._by_size("", self.rules.keep.bytes, None)
        return self.report

    def _by_age(self, patterns: Mapping[str, Sequence[str]]) -> None:
        own = {one: self.rules.per_pattern[name].days or _FOREVER for name, ids in patterns.items() for one in ids}
        default = self.rules.keep.days or _FOREVER
        if min([default, *own.values()]) >= _FOREVER:
            return
        units = _units(self.store, self.until, own, default, self.now)
        for start in range(0, len(units), _STEP):
            if not self._remove(units[start : start + _STEP]):
                return

    def _by_size(self, name: str, limit: int, patterns: Sequence[str] | None) -> None:
        if self.report.more:
            return
        if name not in self.sizes:
            self.sizes[name] = content_bytes(self.store, patterns)
        if self.sizes[name] <= limit:
            return
        units = _units(self.store, self.until, {}, 0.0, self.now, patterns)
        at = 0
        while (size := self.sizes[name]) > limit and at < len(units):
            # Half of what the mean run suggests, so that no more goes than must.
            share = (size - limit) / size * (len(units) - at) / 2
            taken = units[at : at + max(1, min(_STEP, int(share)))]
            if not self._remove(taken, name):
                return
            at += len(taken)

    def _remove(self, units: Sequence[Unit], rule: str = "") -> bool:
        """False when as many steps were done as may be."""
        if self.steps is not None and self.steps <= 0:
            self.report.more = True
            return False
        with self.step():
            done = remove(self.store, units)
        self.report.add(done)
        for name in list(self.sizes):
            # What a run shares with patterns of other rules is not known: these are looked at again.
            if name in ("", rule):
                self.sizes[name] -= done.bytes
            else:
                del self.sizes[name]
        self.steps = None if self.steps is None else self.steps - 1
        self.progress(self.report.runs)
        return True


def content_bytes(store: Store, patterns: Sequence[str] | None = None) -> int:
    """Bytes of content; of the calls of some patterns only, what they share with others included."""
    own = "calls" if patterns is None else f"(SELECT * FROM calls WHERE pattern_id IN ({_quoted(patterns)}))"
    used = "messages"
    if patterns is not None:
        used = f"""(WITH RECURSIVE up(message_id) AS (
            SELECT request_tail FROM {own} UNION SELECT response_id FROM {own}
            UNION SELECT m.parent_id FROM up JOIN messages m USING (message_id)
        ) SELECT body FROM messages SEMI JOIN up USING (message_id))"""
    sql = f"""
        SELECT (SELECT coalesce(sum(strlen(body)), 0) FROM {used})
            + (SELECT coalesce(sum(strlen(body)), 0) FROM toolsets WHERE toolset_id IN (SELECT toolset_id FROM {own}))
            + (SELECT coalesce(sum({_CALL_BYTES}), 0) FROM {own})
    """
    return int(store.value(sql))


_CALL_BYTES = (
    "strlen(coalesce(params, '')) + coalesce(octet_length(request_raw), 0) + coalesce(octet_length(response_raw), 0)"
)


def _patterns(store: Store, name: str) -> list[str]:
    sql = "SELECT pattern_id FROM patterns WHERE ? IN (pattern_id, agent_id, name) ORDER BY pattern_id"
    return [pattern for (pattern,) in store.rows(sql, [name])]


def _units(
    store: Store,
    until: float,
    own: Mapping[str, float],
    default: float,
    now: float,
    patterns: Sequence[str] | None = None,
) -> list[Unit]:
    """Runs older than the longest of their patterns' days, the oldest first; only those with one of `patterns`."""
    batch = pa.table({"pattern_id": pa.array(list(own), pa.string()), "days": pa.array(own.values(), pa.float64())})
    some = "" if patterns is None else f"AND count_if(c.pattern_id IN ({_quoted(patterns)})) > 0"
    sql = f"""
        SELECT c.trajectory_id, CASE WHEN c.trajectory_id IS NULL THEN c.call_id END, max(c.started_at) AS last_at
        FROM calls c LEFT JOIN batch ON batch.pattern_id = c.pattern_id GROUP BY 1, 2
        HAVING last_at < {until!r}::DOUBLE {some}
            AND last_at + max(coalesce(batch.days, {default!r}::DOUBLE)) * {DAY_S} < {now!r}::DOUBLE
        ORDER BY last_at, 1, 2
    """
    return [Unit(*row) for row in store.join(sql, batch)]


def _quoted(names: Sequence[str]) -> str:
    return ", ".join("'" + name.replace("'", "''") + "'" for name in names)


# Of the messages that the removed calls lead through, those that something else leads through as well stay.
_TAKE_CALLS = """
CREATE OR REPLACE TEMP TABLE gone AS SELECT call_id, trajectory_id, request_tail, response_id, toolset_id, retry_of,
    {size} AS size FROM calls
    WHERE trajectory_id IN (SELECT id FROM batch) OR call_id IN (SELECT TRY_CAST(call AS UUID) FROM batch)
"""
_TAKE_MESSAGES = """
CREATE OR REPLACE TEMP TABLE candidates AS
    WITH RECURSIVE up(message_id, parent_id) AS (
        SELECT message_id, parent_id FROM messages
        WHERE message_id IN (SELECT unnest([request_tail, response_id]) FROM gone)
        UNION SELECT m.message_id, m.parent_id FROM up JOIN messages m ON m.message_id = up.parent_id
    ) SELECT * FROM up;
CREATE OR REPLACE TEMP TABLE kept AS
    WITH RECURSIVE up(message_id, parent_id) AS (
        SELECT message_id, parent_id FROM candidates WHERE message_id IN (
            SELECT unnest([request_tail, response_id]) FROM calls
            UNION SELECT parent_id FROM messages ANTI JOIN candidates USING (message_id))
        UNION SELECT c.message_id, c.parent_id FROM up JOIN candidates c ON c.message_id = up.parent_id
    ) SELECT message_id FROM up;
DELETE FROM candidates WHERE message_id IN (SELECT message_id FROM kept)
"""
_FORGET_ATTEMPTS = """
UPDATE calls SET retried = FALSE WHERE call_id IN (SELECT retry_of FROM gone);
UPDATE calls SET retry_of = NULL WHERE retry_of IN (SELECT call_id FROM gone)
"""


def remove(store: Store, units: Sequence[Unit]) -> Removed:
    """Remove runs, in the transaction that is open. What ingest remembers of them no longer holds: see `removals`."""
    columns = {"id": [unit.trajectory_id for unit in units], "call": [_text(unit.call_id) for unit in units]}
    done = Removed(runs=len(units), newest_at=max((unit.last_at for unit in units), default=0.0))
    strings = pa.schema({"id": pa.string(), "call": pa.string()})
    store.bulk(_TAKE_CALLS.format(size=_CALL_BYTES), pa.table(columns, schema=strings))
    done.comparisons = _forget_labels(store)
    done.bytes += store.value("SELECT coalesce(sum(size), 0)::BIGINT FROM gone")
    with removing(store, "gone"):
        store.execute(_FORGET_ATTEMPTS)
        done.calls = store.execute("DELETE FROM calls WHERE call_id IN (SELECT call_id FROM gone)")
    store.execute("DELETE FROM trajectories WHERE trajectory_id IN (SELECT trajectory_id FROM gone)")
    store.execute(_TAKE_MESSAGES)
    done.messages, freed = _delete(store, "messages", "message_id IN (SELECT message_id FROM candidates)")
    unused = "toolset_id IN (SELECT toolset_id FROM gone EXCEPT SELECT toolset_id FROM calls)"
    done.toolsets, more = _delete(store, "toolsets", unused)
    done.bytes += freed + more
    store.execute("DROP TABLE gone; DROP TABLE candidates; DROP TABLE kept")
    store.removals += 1
    return done


_SAID = ["comparisons", "feedback", "teacher_repeats", "verdicts", "verifications"]
"""Tables of what is said about calls and runs."""
_FORGET = "DELETE FROM {table} WHERE {column} IN (SELECT {column} FROM gone)"


def _forget_labels(store: Store) -> int:
    """Remove what is said about the calls and runs that go; returns the number of comparisons."""
    sql = """
        SELECT table_name, column_name FROM duckdb_columns() WHERE database_name = current_database()
            AND list_contains(?, table_name) AND column_name IN ('call_id', 'trajectory_id') ORDER BY ALL
    """
    removed = dict.fromkeys(_SAID, 0)
    for table, column in store.rows(sql, [_SAID]):
        removed[table] += store.execute(_FORGET.format(table=table, column=column))
    return removed["comparisons"]


def _delete(store: Store, table: str, where: str) -> tuple[int, int]:
    """Rows and bytes of content that went."""
    size = store.value(f"SELECT coalesce(sum(strlen(body)), 0)::BIGINT FROM {table} WHERE {where}")
    return store.execute(f"DELETE FROM {table} WHERE {where}"), size


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
