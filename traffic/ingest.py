"""From the journal into the store: one batch, one transaction, exactly once in effect.

A batch's rows, the links of its calls and the journal positions behind it are committed together. A batch that comes
again, whole or in parts, changes nothing: calls are known by their id, messages by their hash. When a transaction
fails, everything remembered in memory is dropped and rebuilt from the store, so memory never runs ahead of the disk.

Rows travel through Arrow; the number of statements per batch does not depend on the number of calls.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

import msgspec
import pyarrow as pa
from msgspec.structs import replace

from .conversations import ids_table, requests_of
from .discovery import Assignment, Recognised
from .errors import BadInput
from .facts import Facts, facts_of
from .parse import Parsed, Parser
from .patterns import PatternEntry
from .records import CallRecord, decode
from .rows import (
    INSERT_CALLS,
    INSERT_MESSAGES,
    INSERT_PATTERNS,
    INSERT_TOOLSETS,
    UPDATE_AGENTS,
    UPDATE_PATTERNS,
    UPSERT_TRAJECTORIES,
    Row,
    calls_table,
    messages_table,
    patterns_table,
    step_of,
    toolsets_table,
    trajectories_table,
)
from .store import Store
from .trajectories import Finder


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


@dataclass(frozen=True)
class IngestReport:
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
    _parser: Parser = field(default_factory=Parser)
    _finder: Finder | None = None
    _settled: list[Assignment] = field(default_factory=list)
    """What the recogniser has handed out and no transaction has committed yet."""
    _patterns: list[PatternEntry] = field(default_factory=list)

    def apply(self, payloads: Sequence[bytes], positions: Mapping[str, int]) -> IngestReport:
        """Store a batch of encoded call records together with the journal positions that lie behind it.

        Raises duckdb.Error when the store cannot be written; nothing of the batch is stored then, and it can be
        applied again.
        """
        started = time.perf_counter()
        records, unreadable = _decode(payloads)
        try:
            with self.store.transaction():
                fresh = self._unknown(records)
                rows = self._rows(fresh)
                new_messages = self._write(rows)
                self._save_positions(positions)
        except BaseException:
            self._parser, self._finder = Parser(), None
            raise
        self._settled, self._patterns = [], []
        duplicates = len(payloads) - unreadable - len(fresh)
        return IngestReport(len(fresh), duplicates, unreadable, new_messages, time.perf_counter() - started)

    def resume(self, limit: int = 5_000) -> int:
        """Show the recogniser the newest calls that have no pattern, as after a restart; returns how many it saw."""
        if self.recogniser is None:
            return 0
        sql = """
            SELECT call_id, hint FROM calls WHERE pattern_id IS NULL AND request_tail IS NOT NULL
            ORDER BY started_at DESC LIMIT ?
        """
        waiting = {row["call_id"]: row["hint"] or "" for row in reversed(self.store.query(sql, [limit]))}
        requests = requests_of(self.store, waiting)
        for call_id, hint in waiting.items():
            facts = facts_of(requests.get(call_id))
            found = self.recogniser.observe(call_id, facts, hint) if facts else None
            if found:
                self._settled.append(Assignment(call_id, found.pattern_id, found.agent_id))
        self.apply([], {})
        return len(waiting)

    def positions(self) -> dict[str, int]:
        """The journal positions that have been applied."""
        return dict(self.store.rows("SELECT segment, position FROM journal_positions"))

    def forget_positions(self, segments: Iterable[str]) -> None:
        """Drop the positions of segments that have been deleted."""
        self.store.bulk("DELETE FROM journal_positions WHERE segment IN (SELECT id FROM batch)", ids_table(segments))

    def _unknown(self, records: dict[str, CallRecord]) -> list[CallRecord]:
        """The records that the store does not have, in order of their start."""
        if not records:
            return []
        sql = "SELECT call_id FROM calls SEMI JOIN batch ON calls.call_id = CAST(batch.id AS UUID)"
        for (known,) in self.store.join(sql, ids_table(records)):
            del records[str(known)]
        return sorted(records.values(), key=lambda record: (record.started_at, record.call_id))

    def _rows(self, records: Iterable[CallRecord]) -> list[Row]:
        rows = []
        for record in records:
            parsed = self._parser.parse(record)
            rows.append(Row(parsed, step_of(parsed)))
        finder = self._finder = self._finder or Finder(self.store)
        finder.prepare(row.step for row in rows if row.step.chain)
        for row in rows:
            if row.step.chain:
                row.link = finder.link(row.step)
                row.found = self._recognise(row.parsed)
        return rows

    def _recognise(self, parsed: Parsed) -> Recognised | None:
        record = parsed.record
        if self.recogniser is None:
            return Recognised(record.pattern, "") if record.pattern else None
        try:
            facts = facts_of(parsed.request.outline)
        except (BadInput, TypeError, ValueError, AttributeError, RecursionError):
            return None  # Odd content must not stop the log; without facts the call has no pattern.
        return self.recogniser.observe(record.call_id, facts, record.hint) if facts else None

    def _write(self, rows: list[Row]) -> int:
        messages, toolsets = self._parser.drain()
        new_messages = self.store.bulk(INSERT_MESSAGES, messages_table(messages)) if messages else 0
        if toolsets:
            self.store.bulk(INSERT_TOOLSETS, toolsets_table(toolsets))
        if rows:
            self.store.bulk(INSERT_CALLS, calls_table(rows))
            self.store.bulk(UPSERT_TRAJECTORIES, trajectories_table(rows))
        self._write_patterns()
        return new_messages

    def _write_patterns(self) -> None:
        if self.recogniser is not None:
            self._settled += self.recogniser.settled()
            self._patterns += self.recogniser.new_patterns()
        if self._patterns:
            self.store.bulk(INSERT_PATTERNS, patterns_table(self._patterns))
        if self._settled:
            batch = pa.Table.from_pylist([item._asdict() for item in self._settled])
            self.store.bulk(UPDATE_PATTERNS, batch)
            self.store.bulk(UPDATE_AGENTS, batch)

    def _save_positions(self, positions: Mapping[str, int]) -> None:
        if positions:
            batch = pa.table({"segment": list(positions), "position": pa.array(positions.values(), pa.int64())})
            self.store.bulk("INSERT OR REPLACE INTO journal_positions SELECT * FROM batch", batch)


def _decode(payloads: Iterable[bytes]) -> tuple[dict[str, CallRecord], int]:
    """The records by id, a repeated one once, and the number of payloads that hold none."""
    records: dict[str, CallRecord] = {}
    unreadable = 0
    for payload in payloads:
        try:
            record = decode(payload)
            call_id = str(UUID(record.call_id))
            records.setdefault(call_id, record if record.call_id == call_id else replace(record, call_id=call_id))
        except (msgspec.MsgspecError, ValueError):  # also UUID's
            unreadable += 1
    return records, unreadable
