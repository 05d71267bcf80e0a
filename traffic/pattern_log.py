"""The edits of patterns in the store: events appended in order, never changed; and the table `patterns` kept to them.

The events are the truth. `patterns.json` (for the data plane) and the rows of the table `patterns` (for every listing)
are written from them again whenever they may differ.
"""

import msgspec
import pyarrow as pa

from .pattern_edits import Change, Event, in_force
from .patterns import PatternEntry, Registry
from .rows import patterns_table
from .store import Store


class PatternLog:
    """Appends to and reads the events. Only the keeper appends, under its lock."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._events = _read(store)

    @property
    def events(self) -> tuple[Event, ...]:
        """The whole history, oldest first."""
        return self._events

    @property
    def in_force(self) -> tuple[Event, ...]:
        """The edits that have not been undone, oldest first."""
        return in_force(self._events)

    def append(self, change: Change, at: float, actor: str) -> Event:
        """Commit one event. Raises duckdb.Error or ValueError, and then it is neither in the store nor here."""
        seq = self._events[-1].seq + 1 if self._events else 1
        event = Event(seq=seq, at=at, actor=actor, change=change)
        events = (*self._events, event)
        in_force(events)
        self._store.execute(
            'INSERT INTO pattern_edits (seq, "at", detail, actor) VALUES (?, ?, ?, ?)',
            [seq, at, msgspec.json.encode(change).decode(), actor],
        )
        self._events = events
        return event


def _read(store: Store) -> tuple[Event, ...]:
    rows = store.rows('SELECT seq, pattern_edits."at", detail, actor FROM pattern_edits ORDER BY seq')
    return tuple(
        Event(seq=seq, at=at, actor=actor, change=msgspec.json.decode(detail, type=Change))
        for seq, at, detail, actor in rows
    )


def recalled(store: Store, pattern_id: str) -> PatternEntry | None:
    """A pattern that was found before, as it was then; None for one that the store does not know."""
    body = store.value("SELECT body FROM patterns WHERE pattern_id = ?", [pattern_id])
    return msgspec.json.decode(body, type=PatternEntry) if body else None


def by_use(store: Store) -> list[str]:
    """Ids of all patterns that were ever found or made, the least recently used first."""
    sql = """
        SELECT pattern_id FROM patterns LEFT JOIN (
            SELECT pattern_id, max(started_at) AS used_at FROM calls GROUP BY pattern_id
        ) USING (pattern_id) ORDER BY coalesce(used_at, created_at), created_at, pattern_id
    """
    return [pattern_id for (pattern_id,) in store.rows(sql)]


_WRITE_MADE = "INSERT OR REPLACE INTO patterns BY NAME SELECT * FROM batch"
_WRITE_NAMES = """
UPDATE patterns SET name = batch.name FROM batch
WHERE patterns.pattern_id = batch.pattern_id AND patterns.name IS DISTINCT FROM batch.name
"""


def write_patterns(store: Store, registry: Registry) -> None:
    """Bring the table `patterns` to what the edits in force say: present names, and rows for what edits made.

    Rows of patterns whose edit was undone stay: calls in the store may have their id.
    """
    entries = registry.entries()
    if made := [entry for entry in entries if entry.made_of]:
        store.bulk(_WRITE_MADE, patterns_table(made))
    if entries:
        names = pa.table({name: [getattr(entry, name) for entry in entries] for name in ("pattern_id", "name")})
        store.bulk(_WRITE_NAMES, names)
