"""The routing events in the store: appended in order, never changed, enough to rebuild every state.

The rows of the table `route_events` are the machines' events (`student_registered`, `session`, `relabelled`, `passed`,
`invalid`, `operator`, `configured`), what followed from them (`transition`: a replay makes it again and compares), the
big switch (`switch`), and nothing else.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa

from ..traffic.store import Store
from .states import Event, Transition, decode_event, encode_event

TRANSITION, SWITCH = "transition", "switch"
Key = tuple[str, str]
"""Pattern id and student version: what has a machine of its own."""


class Entry(NamedTuple):
    """One row to append."""

    at: float
    pattern_id: str
    student: str
    kind: str
    detail: str
    """JSON."""
    actor: str


class Logged(NamedTuple):
    """One machine event as it was read back."""

    key: Key
    event: Event


def event_entry(key: Key, event: Event) -> Entry:
    """The row of a machine event."""
    actor = getattr(event, "actor", "control")
    return Entry(event.at, *key, str(type(event).__struct_config__.tag), encode_event(event).decode(), actor)


def transition_entry(key: Key, transition: Transition) -> Entry:
    """The row of what followed from an event."""
    detail = msgspec.json.encode(transition).decode()
    return Entry(transition.at, *key, TRANSITION, detail, transition.actor)


def switch_entry(at: float, off: bool, actor: str, reason: str) -> Entry:
    """The row of the big switch."""
    return Entry(at, "", "", SWITCH, msgspec.json.encode({"off": off, "reason": reason}).decode(), actor)


class EventLog:
    """Appends to and reads the table. Only the keeper appends, under its lock."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._last: int = store.value("SELECT coalesce(max(seq), 0) FROM route_events") or 0

    def append(self, entries: Sequence[Entry]) -> None:
        """Commit the rows together. Raises duckdb.Error, and then none of them is in the store."""
        if not entries:
            return
        columns: dict[str, Any] = {"seq": list(range(self._last + 1, self._last + 1 + len(entries)))}
        columns |= {name: [getattr(entry, name) for entry in entries] for name in Entry._fields}
        self._store.bulk("INSERT INTO route_events BY NAME SELECT * FROM batch", pa.table(columns))
        self._last += len(entries)

    def events(self) -> Iterator[Logged]:
        """All machine events, oldest first. Raises msgspec.ValidationError for a row that a newer program wrote."""
        rows = self._store.rows(
            "SELECT pattern_id, student, detail FROM route_events WHERE kind NOT IN (?, ?) ORDER BY seq",
            (TRANSITION, SWITCH),
        )
        for pattern, student, detail in rows:
            yield Logged((pattern, student), decode_event(detail))

    def switch(self) -> dict[str, Any]:
        """The big switch as last thrown: {off, reason, actor, at}; off is False when it never was."""
        rows = self._store.rows(
            "SELECT detail, actor, route_events.at FROM route_events WHERE kind = ? ORDER BY seq DESC LIMIT 1",
            (SWITCH,),
        )
        if not rows:
            return {"off": False, "reason": "", "actor": "", "at": 0.0}
        return {**msgspec.json.decode(rows[0][0]), "actor": rows[0][1], "at": rows[0][2]}

    def transitions(self, limit: int = 50, pattern_id: str = "") -> list[dict[str, Any]]:
        """The newest transitions and switches, newest first, as plain values."""
        rows = self._store.rows(
            "SELECT seq, route_events.at, pattern_id, kind, detail, actor FROM route_events "
            "WHERE kind IN (?, ?) AND (? = '' OR pattern_id = ?) ORDER BY seq DESC LIMIT ?",
            (TRANSITION, SWITCH, pattern_id, pattern_id, limit),
        )
        return [
            {"seq": seq, "pattern_id": pattern, **_told(kind, msgspec.json.decode(detail)), "at": at, "actor": actor}
            for seq, at, pattern, kind, detail, actor in rows
        ]

    def transitions_by_machine(self) -> dict[Key, list[Transition]]:
        """All transitions as they were logged, oldest first."""
        sql = "SELECT pattern_id, student, detail FROM route_events WHERE kind = ? ORDER BY seq"
        found: dict[Key, list[Transition]] = {}
        for pattern, student, detail in self._store.rows(sql, (TRANSITION,)):
            found.setdefault((pattern, student), []).append(msgspec.json.decode(detail, type=Transition))
        return found


def _told(kind: str, detail: dict[str, Any]) -> dict[str, Any]:
    if kind == TRANSITION:
        # The snapshot is for `retelling`; the same numbers stand in the evidence in readable form.
        return {name: value for name, value in detail.items() if name != "snapshot"}
    before, after = ("on", "off") if detail["off"] else ("off", "on")
    return {"kind": SWITCH, "before": before, "after": after, "reason": detail["reason"], "student": "", "evidence": {}}
