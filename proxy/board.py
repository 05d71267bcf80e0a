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
from functools import partial
from pathlib import Path
from typing import Any

from ..traffic.patterns import PatternEntry
from ..traffic.store import Store
from ..traffic.students import Manifest
from ..traffic.tool_policy import ToolPolicy
from . import operators
from .draws import Draw
from .event_log import Entry, EventLog, Key, event_entry, switch_entry, transition_entry
from .heard import HeardSessions
from .machine import apply
from .options import RoutingOptions
from .phrases import every_language
from .repeats import Repeats
from .reviews import JudgedTests
from .routes import Route, RouteTable, publish_table, read_table
from .rules import doubted, shares
from .session_details import Details, Spoken, details, said_since
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
    Relabelled,
    Session,
    StudentRegistered,
    Transition,
)
from .usable import Excused, Usable, usable
from .versions import challenged, next_trial, remaining_wait, route_of, ruling

logger = logging.getLogger(__name__)


class Board:
    """All machines, by pattern and student version. Building one replays the log."""

    def __init__(self, store: Store, options: RoutingOptions, secret: bytes, clock: Callable[[], float]) -> None:
        self.log = EventLog(store)
        self.big_switch: dict[str, Any] = self.log.switch()
        self.policy_of: Callable[[str], ToolPolicy] = lambda _: ToolPolicy()
        """How calls of a pattern's tools are compared; the most cautious way unless told."""
        self.phrases = every_language()
        """How refusals and doubts are told in texts; see `nulls`."""
        self.review = Draw("", 1.0)
        """Which sessions people review; all unless told."""
        self.repeats = Repeats(store, clock)
        self._judged = JudgedTests(store, clock)
        self._store, self._options, self._secret, self._clock = store, options, secret, clock
        self._states: dict[Key, PatternState] = {}
        self._heard = HeardSessions()
        self._counted: dict[Key, Usable] = {}
        self._excused = Excused(store)
        self._passed_at: dict[Key, float] = {}
        self._live_at: dict[Key, float] = {}
        self._left_at: dict[Key, float] = {}
        self._manifests: dict[str, Manifest] = {}
        self._verdict = 0
        self._compared = False
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

    def machines(self) -> dict[Key, PatternState]:
        """All machines' states, by pattern and student version."""
        return dict(self._states)

    def scopes(self, kind: str) -> list[Scope]:
        """Whose labels of a kind (`shadow`, `audit`) are wanted now."""
        found = [self._scope(key, state, kind) for key, state in list(self._states.items())]
        return [scope for scope in found if scope.share > 0]

    def counts(self, scope: Scope) -> bool:
        """Whether sessions under this scope are evidence now; a blocked version's are looked at by people only."""
        state = self._states[scope.pattern_id, scope.student].state
        return state in (SERVING if scope.kind == AUDIT else ("shadow",))

    def fed(self, scope: Scope) -> Mapping[str, float]:
        """Sessions that have been evidence already, with the loss that was heard."""
        return self._heard.losses((scope.pattern_id, scope.student), scope.kind)

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
        key, ready = (scope.pattern_id, scope.student), list(ready)
        found = self._details(key, scope.kind, [loss.trajectory_id for loss in ready])
        for loss in ready:
            # One at a time: a session that moves the state may end the scope under which the others were found.
            if not self.counts(scope):
                break
            state = self._states[key]
            # Where the evidence is still to catch up with an operator, live sessions count for the proof too.
            live = state.state == "live" and not state.forced and loss.first_at >= self._live_at.get(key, 0.0)
            worst = state.options.session_loss == "max"
            one = found.get(loss.trajectory_id)
            event = Session(
                at=self._clock(),
                kind=SHADOW if scope.kind == SHADOW else "live" if live else "canary",
                session=loss.trajectory_id,
                loss=loss.worst if worst else loss.mean,
                calls=loss.calls,
                items=one.items if one else (),
                nulls=one.nulls if one else {},
            )
            self._hear(key, [event])

    def relabel(self, delivered: Iterable[Spoken]) -> int:
        """Hear again the sessions whose labels have come or changed since they were heard; returns how many.

        `delivered` are sessions for which labels have come in; what judges and people have said is looked up here.
        """
        said, newest = said_since(self._store, self._verdict)
        touched = {*said, *delivered}
        if not self._compared:
            touched |= self._heard.differing(self._store, self._options.session_loss)
        told = 0
        for key, kind in self._heard.scopes():
            names = {one.session for one in touched if (*key, kind) == one[:3]} & self._heard.losses(key, kind).keys()
            for session, one in self._details(key, kind, sorted(names)).items():
                told += not one.waits and self._hear_again(key, kind, session, one)
        self._verdict, self._compared = newest, True
        return told

    def _hear_again(self, key: Key, kind: str, session: str, one: Details) -> bool:
        before = self._heard.event(key, kind, session)
        loss = one.loss(self._states[key].options.session_loss)
        if not self._heard.differs(key, kind, session, loss):
            return False
        event = Relabelled(
            at=self._clock(),
            kind=before.kind,
            session=session,
            loss=loss,
            calls=len(one.losses),
            items=one.items,
            nulls=one.nulls,
        )
        self._hear(key, [event])
        return True

    def judge(self) -> None:
        """For versions on trial whose labels rest on a judge: how far that is proven, before sessions are fed."""
        for key in self._judged.versions(self._verdict):
            state, heard = self._states.get(key, PatternState()), partial(self._heard.count, key)
            if event := self._judged.event(key, state, self.review, self._verdict, heard):
                self._hear(key, [event])

    def doubted(self) -> list[str]:
        """Patterns for which it matters how far the teacher agrees with itself."""
        return sorted({key[0] for key, state in list(self._states.items()) if doubted(state)})

    def hear_repeats(self) -> None:
        """What the teacher's second answers say; see `repeats`."""
        for key, state in list(self._states.items()):
            heard = list(self._heard.losses(key, SHADOW)) if state.noise or state.relative or doubted(state) else []
            if event := self.repeats.event(key, state, next_trial(self.states(key[0])), heard):
                self._hear(key, [event])

    def count_invalid(self, batch: int) -> None:
        """Report calls that students could not answer: faults at once, sound answers `batch` at a time."""
        for key, total in usable(self._excused, served_badly(self._store)).items():
            new = total.since(self._counted.get(key, Usable()))
            if key in self._states and (new.bad or new.late or new.n >= batch):
                self._hear(key, [Invalid(at=self._clock(), n=new.n, bad=new.bad, late=new.late)])

    def count_passed(self, idle_before: float) -> None:
        """Report sessions that only count for a cooldown."""
        for key, state in list(self._states.items()):
            if state.state in WAITING and state.cooldown:
                n = passed(self._store, key[0], self._passed_at[key], idle_before)
                if n:
                    self._hear(key, [Passed(at=idle_before, n=n)])

    def operate(
        self,
        pattern_id: str | None,
        action: str,
        actor: str,
        reason: str,
        *,
        student: str = "",
        force: bool = False,
        share: float = 0.0,
    ) -> None:
        """A person's decision on one pattern, or (None; off and on only) on everything.

        Raises BadInput, and for a promotion or share beyond the evidence without `force`; UnknownName.
        """
        operators.check_word(action, pattern_id is None)
        if pattern_id is None:
            self.log.append([switch_entry(self._clock(), action == "off", actor, reason)])
            self.big_switch = self.log.switch()
            return
        states = self.states(pattern_id)
        chosen = operators.meant(states, pattern_id, action, student)
        for state in chosen:
            operators.check(state, action, force, share)
        if action == "pin":
            for state in states:
                if state.pinned and state not in chosen:
                    self._say((pattern_id, state.student), "unpin", actor, reason)
        for state in chosen:
            self._say((pattern_id, state.student), action, actor, reason, share)

    def publish(self, path: Path) -> bool:
        """Write the route table if it differs from the one on disk; True when it was written."""
        if not self._published:
            self._table, self._published = read_table(path), True
            before = None
        else:
            before = self._table
        routes = self.routes()
        off = bool(self.big_switch["off"])
        if before is not None and routes == before.routes and off == before.off:
            return False
        self._table = RouteTable(serial=self._table.serial + 1, written_at=self._clock(), off=off, routes=routes)
        publish_table(path, self._table)
        return True

    def routes(self) -> dict[str, Route]:
        """The routes that follow from the states, by pattern."""
        return {pattern: self._route(pattern) for pattern in self.patterns()}

    # Inside.

    def _say(self, key: Key, action: str, actor: str, reason: str, share: float = 0.0) -> None:
        k = next_trial(self.states(key[0]))
        self._hear(key, [Operator(at=self._clock(), action=action, actor=actor, reason=reason, k=k, share=share)])

    def _details(self, key: Key, kind: str, names: list[str]) -> dict[str, Details]:
        return details(self._store, *key, kind, names, self.policy_of(key[0]), self.phrases)

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
            self._heard.note(key, event)
        elif isinstance(event, Invalid):
            self._counted[key] = self._counted.get(key, Usable()).plus(event.n, event.bad, event.late)
        if state.state in WAITING and (before.state not in WAITING or isinstance(event, Passed)):
            self._passed_at[key] = event.at
        if state.relative and before.relative is None:
            self.repeats.began(key, event.at, len(self._heard.losses(key, SHADOW)))
        if state.state == "live" and before.state not in ("live", "off"):
            self._live_at[key] = event.at
        elif state.state == "canary" and before.state == "live":
            self._left_at[key] = event.at

    def _configure(self) -> None:
        for key, state in list(self._states.items()):
            if state.options != self._options:
                self._hear(key, [Configured(at=self._clock(), options=self._options)])

    def _scope(self, key: Key, state: PatternState, kind: str) -> Scope:
        manifest, wanted = self._manifests.get(key[1]), shares(state)
        share = wanted.shadow if kind == SHADOW else wanted.audit
        if manifest is None or (kind == SHADOW and state.state not in ("shadow", "blocked")):
            return Scope(*key, kind, 0.0)
        live = state.state == "live"
        if live and kind == AUDIT and challenged(state, self.states(key[0])):
            share = max(share, self._options.challenger_share)
        # A live version is judged by its recent sessions; two days leave time to catch up after an outage. Of one that
        # has been live, what it served then was audited by the share of then.
        after = manifest.snapshot_at if kind == SHADOW else self._left_at.get(key, 0.0)
        after = self._clock() // DAY_S * DAY_S - DAY_S if live else after
        minimum = self._options.audit_min_per_day if live else 0
        return Scope(*key, kind, share, self._salt(kind, key), minimum, after)

    def _route(self, pattern_id: str) -> Route:
        return route_of(self.states(pattern_id), lambda student: self._salt("route", (pattern_id, student)))

    def _salt(self, purpose: str, key: Key) -> str:
        return hmac.new(self._secret, "\0".join((purpose, *key)).encode(), hashlib.sha256).hexdigest()[:32]


def _tell(key: Key, transitions: Iterable[Transition]) -> None:
    for change in transitions:
        logger.info("%s, %s: %s → %s (%s)", *key, change.before, change.after, change.reason)
