"""Rows of sessions that are kept between two questions, and brought up to date from what has changed since.

Invariant: `SessionRows.get` gives what the whole query would give. A row follows from the calls, the run and the labels
of one trajectory only; whoever writes one of these names the trajectory in the table `changes`, in the same transaction
(`rollup`); so only the rows of trajectories named since the last look are asked for again. The number of the last
change is read before the rows: what is committed in between is asked for once more next time, never missed.

The rows are in memory. After a start, or when too much has changed, the first question is the whole query.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from ..traffic.store import Row, Store

MOST = 20_000
"""Trajectories that are asked for one by one; when more have changed, the whole query is as fast."""
CHUNK = 1_000
"""Trajectories named in one statement: as many as DuckDB still looks up in the index."""

Ask = Callable[[str], list[Row]]
"""Runs the query with a further condition on `c` (calls) and `t` (trajectories); each row has a trajectory_id."""
Key = tuple[str, str, str]
"""Pattern, student, kind."""

_CHANGED = "SELECT DISTINCT trajectory_id, pattern_id FROM changes WHERE revision > ?"
_books: "WeakKeyDictionary[Store, SessionRows]" = WeakKeyDictionary()
# Protects the dict of books only.
_books_lock = threading.Lock()


class _Kept:
    """The rows under one key."""

    def __init__(self, after: float) -> None:
        self.after, self.seen = after, -1
        self.rows: dict[str, Row] = {}
        self.ordered: list[Row] = []


class SessionRows:
    """The rows of one store. Safe to use from several threads."""

    def __init__(self) -> None:
        # Held while rows are brought up to date, or two threads would ask the store the same.
        self._lock = threading.Lock()
        self._kept: dict[Key, _Kept] = {}

    def get(self, store: Store, key: Key, after: float, ask: Ask) -> Sequence[Row]:
        """All rows, ordered by the end of the session. They are shared and must not be changed.

        after: Unix seconds; the query gives sessions that began later, so a later moment needs no new question.
        """
        with self._lock:
            kept = self._kept.get(key)
            if kept is None or after < kept.after:
                kept = self._kept[key] = _Kept(after)
            if after > kept.after:
                kept.after = after
                kept.rows = {name: row for name, row in kept.rows.items() if row["first_at"] > after}
                kept.ordered = _ordered(kept.rows)
            self._refresh(store, key[0], kept, ask)
            return kept.ordered

    def _refresh(self, store: Store, pattern_id: str, kept: _Kept, ask: Ask) -> None:
        [(oldest, newest)] = store.rows("SELECT coalesce(min(revision), 0), coalesce(max(revision), 0) FROM changes")
        if newest == kept.seen:
            return
        whole = kept.seen < 0 or newest < kept.seen or oldest > kept.seen + 1
        pairs = () if whole else store.rows(_CHANGED, [kept.seen])
        changed = {name for name, pattern in pairs if pattern in (None, pattern_id) or name in kept.rows}
        if whole or len(changed) > MOST:
            kept.rows = {row["trajectory_id"]: row for row in ask("")}
        else:
            rows = _asked(store, ask, sorted(changed))
            for name in changed:
                kept.rows.pop(name, None)
            kept.rows.update((row["trajectory_id"], row) for row in rows)
        if whole or changed:
            kept.ordered = _ordered(kept.rows)
        kept.seen = newest


def session_rows(store: Store) -> SessionRows:
    """The rows that are kept for a store."""
    with _books_lock:
        return _books.setdefault(store, SessionRows())


def _ordered(rows: dict[str, Row]) -> list[Row]:
    return sorted(rows.values(), key=lambda row: (row["last_at"], row["trajectory_id"]))


def _asked(store: Store, ask: Ask, names: Sequence[str]) -> list[Row]:
    found: list[Row] = []
    for start in range(0, len(names), CHUNK):
        listed = ", ".join(_quoted(name) for name in names[start : start + CHUNK])
        sql = f"SELECT min(first_at), max(last_at) FROM trajectories WHERE trajectory_id IN ({listed})"
        [(low, high)] = store.rows(sql)
        if low is not None:
            # Calls lie in the store in order of time: with these bounds, most of a large table is not even opened.
            span = f"c.started_at BETWEEN {low!r}::DOUBLE AND {high!r}::DOUBLE"
            found += ask(f"AND {span} AND c.trajectory_id IN ({listed}) AND t.trajectory_id IN ({listed})")
    return found


def _quoted(text: Any) -> str:
    return "'" + str(text).replace("'", "''") + "'"
