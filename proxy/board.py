"""The board: the routing states of all patterns, moved by events only, and the route table made from them.

An event is applied in memory to a copy, appended to the log, and only then taken over: what is in memory is always
what a replay of the log would give, and a start is nothing but that replay.

Not thread-safe by itself: the keeper's lock serialises everything that changes it. `scopes`, `states` and `big_switch`
may be read from other threads, for states are immutable and replaced whole.
"""

import hashlib
import hmac
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ..traffic.errors import BadInput, UnknownName
from ..traffic.patterns import PatternEntry
from ..traffic.store import Store
from ..traffic.students import Manifest
from .event_log import Entry, EventLog, Key, event_entry, switch_entry, transition_entry
from .machine import apply, next_trial, remaining_wait, route_of, ruling, shares
from .options import RoutingOptions
from .routes import Route, RouteTable, publish_table
from .sessions import DAY_S, Scope, SessionLoss, is_single_turn, passed, served_badly
from .shadow import AUDIT, SHADOW
from .states import (
    SERVING,
    WAITING,
    Configured,
    Event,
    Invalid,
    Operator,
    Passed,
    PatternState,
    Session,
    StudentRegistered,
    Transition,
)

logger = logging.getLogger(__name__)
ACTIONS = ("off", "on", "promote", "hold", "demote")


class Board:
    """All machines, by pattern and student version. Building one replays the log."""

    def __init__(self, store: Store, options: RoutingOptions, secret: bytes, clock: Callable[[], float]) -> None:
        self.log = EventLog(store)
        self.big_switch: dict[str, Any] = self.log.switch()
        self._store, self._options, self._secret, self._clock = store, options, secret, clock
        self._states: dict[Key, PatternState] = {}
        self._fed: dict[tuple[Key, str], set[str]] = {}
        self._counted: dict[Key, tuple[int, int]] = {}
        self._passed_at: dict[Key, float] = {}
        self._live_at: dict[Key, float] = {}
        self._manifests: dict[str, Manifest] = {}
        self._table = RouteTable()
        self._published = False
        for logged in self.log.events():
            self._take(logged.key, logged.event)
        self._configure()

    # What others read.

    def states(self, pattern_id: str) -> list[PatternState]:
        """All versions' states on a pattern."""
        return [state for (pattern, _), state in list(self._states.items()) if pattern == pattern_id]

    def state(self, pattern_id: str) -> PatternState:
        """The state that decides the pattern's route; `observe` for a pattern without a student."""
        return ruling(self.states(pattern_id))

    def patterns(self) -> list[str]:
        """Patterns with a machine."""
        return sorted({pattern for pattern, _ in list(self._states)})

    def scopes(self, kind: str) -> list[Scope]:
        """Whose labels of a kind (`shadow`, `audit`) are wanted now."""
        found = [self._scope(key, state, kind) for key, state in list(self._states.items())]
        return [scope for scope in found if scope.share > 0]

    def counts(self, scope: Scope) -> bool:
        """Whether sessions under this scope are evidence now; a blocked version's are looked at by people only."""
        state = self._states[scope.pattern_id, scope.student].state
        return state in (SERVING if scope.kind == AUDIT else ("shadow",))

    def fed(self, scope: Scope) -> set[str]:
        """Sessions that have been evidence already."""
        return self._fed.get(((scope.pattern_id, scope.student), scope.kind), set())

    # What the keeper tells.

    def register(self, manifest: Manifest, entries: Mapping[str, PatternEntry]) -> None:
        """A student version exists: a machine for each of its patterns that has none for it."""
        self._manifests[manifest.version] = manifest
        for pattern in manifest.pattern_ids:
            if (pattern, manifest.version) in self._states or pattern not in entries:
                continue
            others, options = self.states(pattern), self._options
            tools = bool(entries[pattern].tool_names)
            event = StudentRegistered(
                at=self._clock(),
                version=manifest.version,
                k=next_trial(others),
                single_turn=is_single_turn(self._store, pattern),
                epsilon=options.epsilon_tools if tools else options.epsilon_text,
                options=options,
                wait=remaining_wait(others),
            )
            self._hear((pattern, manifest.version), [event])

    def feed(self, scope: Scope, ready: Iterable[SessionLoss]) -> None:
        """Closed sessions, in the order in which they ended."""
        key = scope.pattern_id, scope.student
        for loss in ready:
            # One at a time: a session that moves the state may end the scope under which the others were found.
            if not self.counts(scope):
                break
            state = self._states[key]
            began_live = loss.first_at >= self._live_at.get(key, 0.0)
            kind = SHADOW if scope.kind == SHADOW else state.state if began_live else "canary"
            value = loss.worst if state.options.session_loss == "max" else loss.mean
            event = Session(at=self._clock(), kind=kind, session=loss.trajectory_id, loss=value, calls=loss.calls)
            self._hear(key, [event])

    def count_invalid(self, batch: int) -> None:
        """Report calls that students could not answer: faults at once, sound answers `batch` at a time."""
        for key, total in served_badly(self._store).items():
            n, bad = (now - before for now, before in zip(total, self._counted.get(key, (0, 0)), strict=True))
            if key in self._states and (bad or n >= batch):
                self._hear(key, [Invalid(at=self._clock(), n=n, bad=bad)])

    def count_passed(self, idle_before: float) -> None:
        """Report sessions that only count for a cooldown."""
        for key, state in list(self._states.items()):
            if state.state in WAITING and state.cooldown:
                n = passed(self._store, key[0], self._passed_at[key], idle_before)
                if n:
                    self._hear(key, [Passed(at=idle_before, n=n)])

    def operate(self, pattern_id: str | None, action: str, actor: str, reason: str) -> None:
        """A person's decision on one pattern, or (None; off and on only) on everything. Raises BadInput."""
        if action not in ACTIONS or (pattern_id is None and action not in ("off", "on")):
            raise BadInput(f"An operator can say {', '.join(ACTIONS)}, not {action!r}.")
        if pattern_id is None:
            self.log.append([switch_entry(self._clock(), action == "off", actor, reason)])
            self.big_switch = self.log.switch()
            return
        for key in self._meant(pattern_id, action):
            k = next_trial(self.states(pattern_id))
            self._hear(key, [Operator(at=self._clock(), action=action, actor=actor, reason=reason, k=k)])

    def publish(self, path: Path) -> bool:
        """Write the route table if it differs from the one on disk; True when it was written."""
        if not self._published:
            self._table, self._published = _read(path), True
            before = None
        else:
            before = self._table
        routes = {pattern: self._route(pattern) for pattern in self.patterns()}
        off = bool(self.big_switch["off"])
        if before is not None and routes == before.routes and off == before.off:
            return False
        self._table = RouteTable(serial=self._table.serial + 1, written_at=self._clock(), off=off, routes=routes)
        publish_table(path, self._table)
        return True

    # Inside.

    def _hear(self, key: Key, events: list[Event]) -> None:
        """Apply events to one machine: to the log first, then to memory."""
        state = self._states.get(key, PatternState())
        entries: list[Entry] = []
        for event in events:
            state, transitions = apply(state, event)
            entries.append(event_entry(key, event))
            entries += [transition_entry(key, transition) for transition in transitions]
            _tell(key, transitions)
        self.log.append(entries)
        for event in events:
            self._take(key, event)

    def _take(self, key: Key, event: Event) -> None:
        """One event of the log into memory: at the start and after each append the same way."""
        before = self._states.get(key, PatternState())
        state = self._states[key] = apply(before, event).state
        if isinstance(event, Session):
            kind = SHADOW if event.kind == SHADOW else AUDIT
            self._fed.setdefault((key, kind), set()).add(event.session)
        elif isinstance(event, Invalid):
            n, bad = self._counted.get(key, (0, 0))
            self._counted[key] = n + event.n, bad + event.bad
        if state.state in WAITING and (before.state not in WAITING or isinstance(event, Passed)):
            self._passed_at[key] = event.at
        if state.state == "live" and before.state not in ("live", "off"):
            self._live_at[key] = event.at

    def _configure(self) -> None:
        for key, state in list(self._states.items()):
            if state.options != self._options:
                self._hear(key, [Configured(at=self._clock(), options=self._options)])

    def _meant(self, pattern_id: str, action: str) -> list[Key]:
        """The machines that an operator's word on a pattern is for."""
        own = [key for key in self._states if key[0] == pattern_id]
        if action == "on" and (off := [key for key in own if self._states[key].state == "off"]):
            return off
        lead = self.state(pattern_id)
        if not lead.student and action not in ("off", "on"):
            raise UnknownName(f"Pattern {pattern_id} has no student version that could be told to {action}.")
        return [(pattern_id, lead.student)]

    def _scope(self, key: Key, state: PatternState, kind: str) -> Scope:
        manifest, wanted = self._manifests.get(key[1]), shares(state)
        share = wanted.shadow if kind == SHADOW else wanted.audit
        if manifest is None or (kind == SHADOW and state.state not in ("shadow", "blocked")):
            return Scope(*key, kind, 0.0)
        live = state.state == "live"
        # A live version is judged by its recent sessions; two days leave time to catch up after an outage.
        after = self._clock() // DAY_S * DAY_S - DAY_S if live else manifest.snapshot_at if kind == SHADOW else 0.0
        minimum = self._options.audit_min_per_day if live else 0
        return Scope(*key, kind, share, self._salt(kind, key), minimum, after)

    def _route(self, pattern_id: str) -> Route:
        state = self.state(pattern_id)
        return route_of(state, self._salt("route", (pattern_id, state.student)))

    def _salt(self, purpose: str, key: Key) -> str:
        return hmac.new(self._secret, "\0".join((purpose, *key)).encode(), hashlib.sha256).hexdigest()[:32]


def _read(path: Path) -> RouteTable:
    """The table on disk: its serial goes on. An unreadable one is replaced."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=RouteTable)
    except (OSError, msgspec.DecodeError):
        return RouteTable()


def _tell(key: Key, transitions: Iterable[Transition]) -> None:
    for change in transitions:
        logger.info("%s, %s: %s → %s (%s)", *key, change.before, change.after, change.reason)
