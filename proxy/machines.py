"""The state machines of all patterns, in memory: always what a replay of the event log would give.

An event is applied to a copy, appended to the log, and only then taken over; a start is nothing but that replay. What
follows from the log beside the states (which sessions were heard, since when a version is live) is remembered here too.

Not thread-safe by itself: the keeper's lock serialises everything that changes it. States may be read from other
threads, for they are immutable and replaced whole.
"""

import logging
from collections.abc import Callable, Iterable, Mapping

from .event_log import Entry, EventLog, Key, event_entry, transition_entry
from .heard import HeardSessions
from .machine import apply
from .shadow import SHADOW
from .states import SERVING, WAITING, Event, Invalid, Passed, PatternState, Session, Transition
from .usable import Usable
from .versions import ruling

logger = logging.getLogger(__name__)

Began = Callable[[Key, float, int], None]
"""Told that a relative trial has begun, when, and how many shadowed sessions had been heard by then."""


class Machines:
    """All machines, by pattern and student version. Building one replays the log."""

    def __init__(self, log: EventLog, began_relative: Began) -> None:
        self.heard = HeardSessions()
        self.counted: dict[Key, Usable] = {}
        """Calls given to students that have been reported."""
        self.passed_at: dict[Key, float] = {}
        """Until when sessions have been counted for a cooldown, Unix seconds."""
        self.live_at: dict[Key, float] = {}
        """When a version went live."""
        self.left_at: dict[Key, float] = {}
        """When one was taken back from live to canary, or to a stricter threshold: what it served before is no evidence
        about what it serves now."""
        self.warned_at: dict[Key, float] = {}
        """When the guard of a live version last began to warn."""
        self._log, self._began_relative = log, began_relative
        self._states: dict[Key, PatternState] = {}
        for logged in log.events():
            self._take(logged.key, logged.event)

    def state(self, key: Key) -> PatternState:
        """One machine's state; that of a new one where there is none."""
        return self._states.get(key, PatternState())

    def items(self) -> list[tuple[Key, PatternState]]:
        """All machines as they are now."""
        return list(self._states.items())

    def of(self, pattern_id: str) -> list[PatternState]:
        """All versions' states on a pattern."""
        return [state for (pattern, _), state in self.items() if pattern == pattern_id]

    def ruling(self, pattern_id: str) -> PatternState:
        """The state that decides the pattern's route; `observe` for a pattern without a student."""
        return ruling(self.of(pattern_id))

    def patterns(self) -> list[str]:
        """Patterns with a machine."""
        return sorted({pattern for (pattern, _), _ in self.items()})

    def __contains__(self, key: Key) -> bool:
        return key in self._states

    def fed(self, key: Key, kind: str) -> Mapping[str, float]:
        """Sessions that have been evidence already, with the loss that was heard."""
        return self.heard.losses(key, kind)

    def hear(self, key: Key, event: Event) -> None:
        """Apply an event to one machine: to the log first, then to memory."""
        transitions = apply(self.state(key), event).transitions
        entries: list[Entry] = [event_entry(key, event)]
        entries += [transition_entry(key, transition) for transition in transitions]
        _tell(key, transitions)
        self._log.append(entries)
        self._take(key, event)

    def _take(self, key: Key, event: Event) -> None:
        """One event of the log into memory: at the start and after each append the same way."""
        before = self.state(key)
        state = self._states[key] = apply(before, event).state
        if isinstance(event, Session):
            self.heard.note(key, event)
        elif isinstance(event, Invalid):
            self.counted[key] = self.counted.get(key, Usable()).plus(event.n, event.bad, event.late)
        if state.state in WAITING and (before.state not in WAITING or isinstance(event, Passed)):
            self.passed_at[key] = event.at
        if state.relative and before.relative is None:
            self._began_relative(key, event.at, self.heard.count(key, SHADOW))
        if state.state == "live" and before.state not in ("live", "off"):
            self.live_at[key] = event.at
        if state.warned and not before.warned:
            self.warned_at[key] = event.at
        back = (state.state, before.state) == ("canary", "live")
        if back or (before.state in SERVING and state.state in SERVING and state.threshold != before.threshold):
            self.left_at[key] = event.at


def _tell(key: Key, transitions: Iterable[Transition]) -> None:
    for change in transitions:
        logger.info("%s, %s: %s → %s (%s)", *key, change.before, change.after, change.reason)
