"""The board: what the routing states of all patterns mean for others, and the words that people say to them.

From the states follow the labels that are wanted (`scopes`) and the route table (`publish`). The states themselves are
kept by `machines`, moved by what the store says (`hearing`) and by operators.

Not thread-safe by itself: the keeper's lock serialises everything that changes it. `scopes`, `states` and `big_switch`
may be read from other threads, for states are immutable and replaced whole.
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from msgspec import structs

from ..traffic.patterns import PatternEntry
from ..traffic.store import Store
from ..traffic.students import Manifest
from . import operators
from .event_log import EventLog, Key, switch_entry
from .hearing import Hearing, counts
from .loosening import seeking
from .machines import Machines
from .operators import Wish
from .options import RoutingOptions
from .ramp import shares
from .repeats import Repeats
from .routes import Route, RouteTable, publish_table, read_table
from .sessions import DAY_S, Scope
from .shadow import AUDIT, SHADOW
from .states import WHOLE, Configured, Operator, PatternState
from .versions import challenged, next_trial, route_of


class Board:
    """All patterns' routes. Building one replays the log."""

    def __init__(self, store: Store, options: RoutingOptions, secret: bytes, clock: Callable[[], float]) -> None:
        self.log = EventLog(store)
        self.big_switch: dict[str, Any] = self.log.switch()
        self._options, self._secret, self._clock = options, secret, clock
        repeats = Repeats(store, clock)
        self._machines = Machines(self.log, repeats.began)
        self.hearing = Hearing(store, self._machines, repeats, options, clock)
        self._manifests: dict[str, Manifest] = {}
        self._table = RouteTable()
        self._published = False
        for key, state in self._machines.items():
            if state.options != options:
                self._machines.hear(key, Configured(at=clock(), options=options))

    def states(self, pattern_id: str) -> list[PatternState]:
        """All versions' states on a pattern."""
        return self._machines.of(pattern_id)

    def state(self, pattern_id: str) -> PatternState:
        """The state that decides the pattern's route; `observe` for a pattern without a student."""
        return self._machines.ruling(pattern_id)

    def patterns(self) -> list[str]:
        """Patterns with a machine."""
        return self._machines.patterns()

    def machines(self) -> dict[Key, PatternState]:
        """All machines' states, by pattern and student version."""
        return dict(self._machines.items())

    def register(self, manifest: Manifest, entries: Mapping[str, PatternEntry]) -> None:
        """A student version exists: a machine for each of its patterns that has none for it."""
        self._manifests[manifest.version] = manifest
        self.hearing.register(manifest, entries)

    # Labels.

    def scopes(self, kind: str) -> list[Scope]:
        """Whose evidence of a kind (`shadow`, `audit`, `whole`) is wanted now."""
        found = [self._scope(key, state, kind) for key, state in self._machines.items()]
        return [scope for scope in found if scope.share > 0]

    def counts(self, scope: Scope) -> bool:
        """Whether sessions under this scope are evidence now."""
        return counts(self._machines.state((scope.pattern_id, scope.student)), scope.kind)

    def fed(self, scope: Scope) -> Mapping[str, float]:
        """Sessions that have been evidence already, with the loss that was heard."""
        return self._machines.fed((scope.pattern_id, scope.student), scope.kind)

    def _scope(self, key: Key, state: PatternState, kind: str) -> Scope:
        manifest, live = self._manifests.get(key[1]), state.state == "live"
        share = self._share(key, state, kind)
        if manifest is None or (kind == SHADOW and state.state not in ("shadow", "blocked")):
            return Scope(*key, kind, 0.0)
        # Of a version that has been live, what it served then was audited by the share of then. A live one is judged by
        # its recent sessions; two days leave time to catch up after an outage.
        after = manifest.snapshot_at if kind == SHADOW else self._machines.left_at.get(key, 0.0)
        if live:
            after = max(after, self._clock() // DAY_S * DAY_S - DAY_S)
        if kind == WHOLE:
            # The draw of the audits, so that the served answers of a session that is seen whole are audited. Without
            # the day's first sessions: those with unsure answers and those without would not be as many as by chance.
            return Scope(*key, kind, share, self._salt(AUDIT, key), 0, max(after, self._machines.live_at.get(key, 0.0)))
        minimum = self._options.audit_min_per_day if live else 0
        scope = Scope(*key, kind, share, self._salt(kind, key), minimum, after)
        if kind == AUDIT and live and state.warned:
            # A warning is about what comes: earlier sessions would come first, and calm it with what was before.
            earlier = self._share(key, structs.replace(state, warned=False), kind)
            scope = replace(scope, raised_at=self._machines.warned_at[key], share_before=earlier)
        return scope

    def _share(self, key: Key, state: PatternState, kind: str) -> float:
        if kind == WHOLE:
            return state.options.loosen_share * seeking(state)
        wanted = shares(state)
        if kind == SHADOW:
            return wanted.shadow
        challenger = self._options.challenger_share * challenged(state, self.states(key[0]))
        return max(wanted.audit, challenger)

    # Words and routes.

    def operate(self, pattern_id: str | None, wish: Wish) -> None:
        """A person's decision on one pattern, or (None; off and on only) on everything.

        Raises BadInput, also for a promotion or share beyond the evidence without `force`; UnknownName.
        """
        operators.check_word(wish.action, pattern_id is None)
        if pattern_id is None:
            self.log.append([switch_entry(self._clock(), wish.action == "off", wish.actor, wish.reason)])
            self.big_switch = self.log.switch()
            return
        states = self.states(pattern_id)
        chosen = operators.meant(states, pattern_id, wish)
        for state in chosen:
            operators.check(state, wish)
        if wish.action == "pin":
            for state in states:
                if state.pinned and state not in chosen:
                    self._say((pattern_id, state.student), replace(wish, action="unpin"))
        for state in chosen:
            self._say((pattern_id, state.student), wish)

    def _say(self, key: Key, wish: Wish) -> None:
        k = next_trial(self.states(key[0]))
        event = Operator(
            at=self._clock(), action=wish.action, actor=wish.actor, reason=wish.reason, k=k, share=wish.share
        )
        self._machines.hear(key, event)

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

    def _route(self, pattern_id: str) -> Route:
        return route_of(self.states(pattern_id), lambda student: self._salt("route", (pattern_id, student)))

    def _salt(self, purpose: str, key: Key) -> str:
        return hmac.new(self._secret, "\0".join((purpose, *key)).encode(), hashlib.sha256).hexdigest()[:32]
