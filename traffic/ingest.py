"""From the journal into the store: one batch, one transaction, exactly once in effect.

A batch's rows, the links of its calls and the journal positions behind it are committed together. A batch that comes
again, whole or in parts, changes nothing: calls are known by their id, messages by their hash. When a transaction
fails, everything remembered in memory is dropped and rebuilt from the store, so memory never runs ahead of the disk.

Calls hardly ever come twice. So they are not looked up: the table's key refuses them, and the batch is done again with
a look at each of them.

Rows travel through Arrow; the number of statements per batch does not depend on the number of calls.
"""

import gc
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

import duckdb
import msgspec
import pyarrow as pa
from msgspec.structs import replace

from . import rollup
from .canonical import loads
from .conversations import requests_of
from .discovery import Assignment, Recognised
from .facts import Facts, facts_of
from .incoming import decode_incoming
from .lookup import ids_table
from .messages import named
from .newest import answered_as
from .novelty import Novelty
from .parentage import Parentage
from .parse import Given, Parsed, Parser
from .patterns import PatternEntry
from .retries import Retries
from .rows import (
    INSERT_CALLS,
    INSERT_MESSAGES,
    INSERT_PATTERNS,
    INSERT_TOOLSETS,
    INSERT_TRAJECTORIES,
    MARK_RETRIED,
    UPDATE_AGENTS,
    UPDATE_PATTERNS,
    UPDATE_TRAJECTORIES,
    UPSERT_TRAJECTORIES,
    Row,
    calls_table,
    messages_table,
    patterns_table,
    row_of,
    toolsets_table,
    trajectories_tables,
)
from .store import Store
from .trajectories import Finder

_CANONICAL_ID = re.compile("[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}").fullmatch


class Recogniser(Protocol):
    """Gives calls their pattern; see `discovery.Discovery`. Calls may be given twice when a batch is repeated."""

    def observe(self, call_id: str, facts: Facts, hint: str = "") -> Recognised | None:
        """The pattern of a call; None while it is unknown, which may settle later."""
        ...

    def settled(self) -> list[Assignment]:
        """Earlier calls that have a pattern now; each is handed out once."""
        ...

    def new_patterns(self) -> list[PatternEntry]:
        """Patterns found since the last time."""
        ...


class IngestReport(msgspec.Struct, frozen=True):
    """What one batch did."""

    calls: int = 0
    """Calls that are new in the store."""
    duplicates: int = 0
    unreadable: int = 0
    """Payloads that hold no call record, or one without a usable id; they are not stored."""
    new_messages: int = 0
    seconds: float = 0.0


@dataclass
class Ingest:
    """Applies journal batches to the store. One at a time: the control plane's loop is its only user."""

    store: Store
    recogniser: Recogniser | None = None
    on_stored: Callable[[pa.Table], None] = lambda calls: None
    """Told of the rows that a batch has added to `calls`, once they are committed. It must not raise."""
    capacity: int = 50_000
    """Messages, and calls, that are remembered; what is forgotten is looked up in the store."""
    _memory: "_Memory | None" = None
    _calls: pa.Table | None = None
    """The rows of the batch at hand."""
    _settled: list[Assignment] = field(default_factory=list)
    """What the recogniser has handed out and no transaction has committed yet."""
    _patterns: list[PatternEntry] = field(default_factory=list)

    def apply(self, payloads: Sequence[bytes], positions: Mapping[str, int]) -> IngestReport:
        """Store a batch of encoded call records together with the journal positions that lie behind it.

        Raises duckdb.Error when the store cannot be written; nothing of the batch is stored then, and it can be
        applied again.
        """
        started = time.perf_counter()
        try:
            report = self._apply(payloads, positions, look=False)
        except duckdb.ConstraintException:
            report = self._apply(payloads, positions, look=True)
        self._settled, self._patterns = [], []
        if self._calls is not None:
            self.on_stored(self._calls)
        return replace(report, seconds=time.perf_counter() - started)

    def _apply(self, payloads: Sequence[bytes], positions: Mapping[str, int], look: bool) -> IngestReport:
        """`look`: whether the store may have some of the calls already."""
        self._calls = None
        try:
            with _uncollected(), self.store.transaction():
                rows, unreadable = self._read(payloads)
                if look:
                    self._drop_known(rows)
                fresh = self._link(sorted(rows.values(), key=lambda row: (row.step.started_at, row.step.call_id)))
                new_messages = self._write(fresh)
                self._save_positions(positions)
        except BaseException:
            self._memory = None
            raise
        return IngestReport(len(fresh), len(payloads) - unreadable - len(fresh), unreadable, new_messages)

    def resume(self, limit: int = 1_000) -> int:
        """Show the recogniser the newest calls that have no pattern, as after a restart; returns how many it saw."""
        if self.recogniser is None:
            return 0
        sql = """
            SELECT call_id, hint FROM calls WHERE pattern_id IS NULL AND request_tail IS NOT NULL
                AND endpoint LIKE '%/chat/completions' ORDER BY started_at DESC LIMIT ?
        """
        waiting = {row["call_id"]: row["hint"] or "" for row in reversed(self.store.query(sql, [limit]))}
        requests = requests_of(self.store, waiting)
        for call_id, hint in waiting.items():
            facts = facts_of(requests.get(call_id))
            found = self.recogniser.observe(call_id, facts, hint) if facts else None
            if found:
                self._settled.append(Assignment(call_id, found.pattern_id, found.agent_id))
        if waiting:
            self.apply([], {})
        return len(waiting)

    def positions(self) -> dict[str, int]:
        """The journal positions that have been applied."""
        return dict(self.store.rows("SELECT segment, position FROM journal_positions"))

    def forget_positions(self, segments: Iterable[str]) -> None:
        """Drop the positions of segments that have been deleted."""
        gone = ids_table(segments)
        self.store.bulk("DELETE FROM journal_positions WHERE segment IN (SELECT id FROM batch)", gone)
        if self._memory is not None:
            for segment in gone["id"].to_pylist():
                self._memory.positions.pop(segment, None)

    def _read(self, payloads: Iterable[bytes]) -> tuple[dict[str, Row], int]:
        """The calls by id, a repeated one once, and the number of payloads that hold none.

        Each record is taken apart as soon as it is decoded, and gives up its bodies: one batch can hold gigabytes.
        """
        parser = self._remembered().parser
        rows: dict[str, Row] = {}
        unreadable = 0
        for payload in payloads:
            try:
                record = decode_incoming(payload)
                if not _CANONICAL_ID(record.call_id):
                    record = replace(record, call_id=str(UUID(record.call_id)))
            except (msgspec.MsgspecError, ValueError):  # also UUID's
                unreadable += 1
                continue
            if record.call_id not in rows:
                rows[record.call_id] = row_of(parser.parse(record))
        return rows, unreadable

    def _drop_known(self, rows: dict[str, Row]) -> None:
        """Leave out the calls that the store has."""
        if not rows:
            return
        times = [row.step.started_at for row in rows.values()]
        # A call that comes again began at the same time; with that, few parts of a large table have to be looked at.
        sql = f"""
            SELECT call_id FROM calls SEMI JOIN batch ON calls.call_id = CAST(batch.id AS UUID)
            WHERE started_at BETWEEN CAST('{min(times)!r}' AS DOUBLE) AND CAST('{max(times)!r}' AS DOUBLE)
        """
        for (known,) in self.store.join(sql, ids_table(rows)):
            del rows[str(known)]

    def _link(self, rows: list[Row]) -> list[Row]:
        """Give each call its run, its pattern, and the call that it repeats."""
        memory = self._remembered()
        memory.finder.prepare([row.step for row in rows if row.step.chain])
        for row in rows:
            if row.step.chain:
                row.link = memory.finder.link(row.step)
                row.retry_of = row.link.retry_of
                row.found = self._recognise(row.parsed)
            else:
                row.retry_of = memory.retries.repeated(row.parsed.record, bool(row.parsed.error))
        return rows

    def _remembered(self) -> "_Memory":
        if self._memory is None or self._memory.removals != self.store.removals:
            # Messages that are remembered may have been removed meanwhile; they would never be stored again.
            self._memory = _Memory(self.store, self.capacity)
        return self._memory

    def _recognise(self, parsed: Parsed) -> Recognised | None:
        record, facts = parsed.record, parsed.request.facts
        if self.recogniser is None:
            return Recognised(record.pattern, "") if record.pattern else None
        return self.recogniser.observe(record.call_id, facts, record.hint) if facts else None

    def _write(self, rows: list[Row]) -> int:
        memory = self._remembered()
        messages, toolsets = memory.parser.drain()
        lacking = memory.novelty.lacking(messages)
        if lacking:
            self.store.pour(INSERT_MESSAGES, messages_table(lacking))
        if toolsets:
            self.store.pour(INSERT_TOOLSETS, toolsets_table(toolsets))
        settled = self._settle(rows)
        if rows:
            self._mark_retried(rows)
            calls = self._calls = calls_table(rows)
            self.store.pour(INSERT_CALLS.format(intake=rollup.announce(self.store, len(rows))), calls)
            rollup.count(self.store, calls)
            self._write_runs(rows)
            memory.parentage.link(rows)
        self._write_patterns(settled)
        return len(lacking)

    def _write_runs(self, rows: list[Row]) -> None:
        # Only runs of which it is not known whether the store has them are worth a statement that reads all of it.
        statements = (INSERT_TRAJECTORIES, UPDATE_TRAJECTORIES, UPSERT_TRAJECTORIES)
        for statement, runs in zip(statements, trajectories_tables(rows), strict=True):
            if runs.num_rows:
                self.store.pour(statement, runs)

    def _mark_retried(self, rows: list[Row]) -> None:
        """Let each attempt know whose place it has taken: in this batch, or in the store."""
        repeated = {row.retry_of for row in rows if row.retry_of}
        for row in rows if repeated else ():
            row.retried = row.step.call_id in repeated
        if stored := repeated - {row.step.call_id for row in rows}:
            ids = ids_table(stored)
            with rollup.moving(self.store, ids):
                self.store.pour(MARK_RETRIED, ids)

    def _settle(self, rows: list[Row]) -> list[Assignment]:
        """Take what the recogniser has found out; returns what has to be changed in the store for it.

        Calls of this batch are not among that: they get their place before they are stored.
        """
        if self.recogniser is None:
            return self._settled
        self._settled += self.recogniser.settled()
        self._patterns += self.recogniser.new_patterns()
        places = {item.call_id: Recognised(item.pattern_id, item.agent_id) for item in self._settled}
        for row in rows if places else ():
            row.found = places.pop(row.step.call_id, row.found)
        return [item for item in self._settled if item.call_id in places]

    def _write_patterns(self, settled: list[Assignment]) -> None:
        if self._patterns:
            self.store.pour(INSERT_PATTERNS, patterns_table(self._patterns))
        if settled:
            batch = pa.Table.from_pylist([item._asdict() for item in settled])
            with rollup.moving(self.store, ids_table(item.call_id for item in settled)):
                self.store.pour(UPDATE_PATTERNS, batch)
                self.store.pour(UPDATE_AGENTS, batch)

    def _save_positions(self, positions: Mapping[str, int]) -> None:
        saved = self._remembered().positions
        for segment, position in positions.items():
            if segment not in saved:
                self.store.execute("INSERT INTO journal_positions VALUES (?, ?)", [segment, position])
            elif saved[segment] != position:
                sql = "UPDATE journal_positions SET position = ? WHERE segment = ?"
                self.store.execute(sql, [position, segment])
            saved[segment] = position


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without garbage collection: a batch makes many objects and no cycles, and looking for some took a seventh of
    the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class _Memory:
    """What ingest remembers between batches; all of it can be found in the store again."""

    def __init__(self, store: Store, capacity: int) -> None:
        self._store = store
        self.removals = store.removals
        self.positions: dict[str, int] = dict(store.rows("SELECT segment, position FROM journal_positions"))
        self.parser = Parser(self._given, capacity)
        self.novelty = Novelty(store)
        self.finder = Finder(store, capacity)
        self.retries = Retries(store)
        self.parentage = Parentage(store)

    def _given(self, caller: str, name: str) -> Given | None:
        """The stored answer that the provider gave this name."""
        found = answered_as(self._store, caller, name)
        return None if found is None else Given(named(found.message_id.hex, loads(found.body)), found.depth)
