"""What the store says, told to the state machines as events: the board's ears.

Each question to the store is asked in every review; what has been told already is known from the event log, so nothing
is told twice, and after a restart what came meanwhile is told once. Not thread-safe: the keeper's lock serialises it.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from ..traffic.patterns import PatternEntry
from ..traffic.store import Store
from ..traffic.students import Manifest
from ..traffic.tool_policy import ToolPolicy
from .draws import Draw
from .event_log import Key
from .loosening import seeking
from .machines import Machines
from .options import RoutingOptions
from .phrases import every_language
from .repeats import Repeats
from .reviews import JudgedTests
from .rules import doubted
from .session_details import Details, Spoken, details, said_since
from .sessions import Scope, SessionLoss, is_single_turn, passed, served_badly
from .shadow import AUDIT, SHADOW
from .states import SERVING, WAITING, WHOLE, Invalid, Passed, PatternState, Relabelled, Session, StudentRegistered
from .usable import Excused, Usable, usable
from .versions import next_trial, remaining_wait


def counts(state: PatternState, kind: str) -> bool:
    """Whether labels of a kind are evidence in this state; a blocked version's are looked at by people only."""
    if kind == WHOLE:
        return seeking(state)
    return state.state in (SERVING if kind == AUDIT else ("shadow",))


class Hearing:
    """Looks at the store and tells the machines."""

    def __init__(
        self,
        store: Store,
        machines: Machines,
        repeats: Repeats,
        options: RoutingOptions,
        clock: Callable[[], float],
    ) -> None:
        self.policy_of: Callable[[str], ToolPolicy] = lambda _: ToolPolicy()
        """How calls of a pattern's tools are compared; the most cautious way unless told."""
        self.phrases = every_language()
        """How refusals and doubts are told in texts; see `nulls`."""
        self.review = Draw("", 1.0)
        """Which sessions people review; all unless told."""
        self.repeats = repeats
        self._judged = JudgedTests(store, clock)
        self._store, self._machines, self._options, self._clock = store, machines, options, clock
        self._excused = Excused(store)
        self._verdict = 0
        self._compared = False

    def register(self, manifest: Manifest, entries: Mapping[str, PatternEntry]) -> None:
        """A student version exists: a machine for each of its patterns that has none for it."""
        for pattern in manifest.pattern_ids:
            if (pattern, manifest.version) in self._machines or pattern not in entries:
                continue
            others, options = self._machines.of(pattern), self._options
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
            self._machines.hear((pattern, manifest.version), event)

    def feed(self, scope: Scope, ready: Iterable[SessionLoss]) -> None:
        """Closed sessions, in the order in which they ended."""
        key, ready = (scope.pattern_id, scope.student), list(ready)
        names = [loss.trajectory_id for loss in ready]
        found = self._details(key, scope.kind, names, self._machines.state(key).threshold)
        for loss in ready:
            # One at a time: a session that moves the state may end the scope under which the others were found.
            state = self._machines.state(key)
            if not counts(state, scope.kind):
                break
            one = found.get(loss.trajectory_id)
            if scope.kind == WHOLE:
                if one is not None:
                    self._machines.hear(key, self._whole(state, loss.trajectory_id, one))
                continue
            # Where the evidence is still to catch up with an operator, live sessions count for the proof too.
            live = state.state == "live" and not state.forced and loss.first_at >= self._machines.live_at.get(key, 0.0)
            worst = state.options.session_loss == "max"
            event = Session(
                at=self._clock(),
                kind=SHADOW if scope.kind == SHADOW else "live" if live else "canary",
                session=loss.trajectory_id,
                loss=loss.worst if worst else loss.mean,
                calls=loss.calls,
                items=one.items if one else (),
                nulls=one.nulls if one else {},
            )
            self._machines.hear(key, event)

    def _whole(self, state: PatternState, session: str, one: Details) -> Session:
        loss = one.loss(state.options.session_loss)
        return Session(
            at=self._clock(),
            kind=WHOLE,
            session=session,
            loss=loss,
            calls=len(one.losses),
            items=one.items,
            threshold=state.threshold,
        )

    def relabel(self, delivered: Iterable[Spoken]) -> int:
        """Hear again the sessions whose labels have come or changed since they were heard; returns how many.

        `delivered` are sessions for which labels have come in; what judges and people have said is looked up here.
        """
        said, newest = said_since(self._store, self._verdict)
        touched = {*said, *delivered}
        heard = self._machines.heard
        if not self._compared:
            touched |= heard.differing(self._store, self._options.session_loss)
        told = 0
        for key, kind in heard.scopes():
            kinds = (SHADOW, AUDIT, WHOLE) if kind == WHOLE else (kind,)
            spoken = {one.session for one in touched if key == one[:2] and one.kind in kinds}
            names = spoken & heard.losses(key, kind).keys()
            under = {name: heard.event(key, kind, name).threshold for name in names}
            for threshold in set(under.values()):
                alike = sorted(name for name in names if under[name] == threshold)
                for session, one in self._details(key, kind, alike, threshold).items():
                    told += not one.waits and self._hear_again(key, kind, session, one)
        self._verdict, self._compared = newest, True
        return told

    def _hear_again(self, key: Key, kind: str, session: str, one: Details) -> bool:
        before = self._machines.heard.event(key, kind, session)
        loss = one.loss(self._machines.state(key).options.session_loss)
        if not self._machines.heard.differs(key, kind, session, loss):
            return False
        event = Relabelled(
            at=self._clock(),
            kind=before.kind,
            session=session,
            loss=loss,
            calls=len(one.losses),
            items=one.items,
            nulls={} if kind == WHOLE else one.nulls,
            threshold=before.threshold,
        )
        self._machines.hear(key, event)
        return True

    def judge(self) -> None:
        """For versions on trial whose labels rest on a judge: how far that is proven, before sessions are fed."""
        for key in self._judged.versions(self._verdict):
            state, heard = self._machines.state(key), partial(self._machines.heard.count, key)
            if event := self._judged.event(key, state, self.review, self._verdict, heard):
                self._machines.hear(key, event)

    def doubted(self) -> list[str]:
        """Patterns for which it matters how far the teacher agrees with itself."""
        return sorted({key[0] for key, state in self._machines.items() if doubted(state)})

    def hear_repeats(self) -> None:
        """What the teacher's second answers say; see `repeats`."""
        for key, state in self._machines.items():
            matters = state.noise or state.relative or doubted(state)
            heard = list(self._machines.heard.losses(key, SHADOW)) if matters else []
            if event := self.repeats.event(key, state, next_trial(self._machines.of(key[0])), heard):
                self._machines.hear(key, event)

    def count_invalid(self, batch: int) -> None:
        """Report calls that students could not answer: faults at once, sound answers `batch` at a time."""
        for key, total in usable(self._excused, served_badly(self._store)).items():
            new = total.since(self._machines.counted.get(key, Usable()))
            if key in self._machines and (new.bad or new.late or new.n >= batch):
                self._machines.hear(key, Invalid(at=self._clock(), n=new.n, bad=new.bad, late=new.late))

    def count_passed(self, idle_before: float) -> None:
        """Report sessions that only count for a cooldown."""
        for key, state in self._machines.items():
            if state.state in WAITING and state.cooldown:
                n = passed(self._store, key[0], self._machines.passed_at[key], idle_before)
                if n:
                    self._machines.hear(key, Passed(at=idle_before, n=n))

    def _details(self, key: Key, kind: str, names: list[str], threshold: float | None) -> dict[str, Details]:
        return details(self._store, *key, kind, names, self.policy_of(key[0]), self.phrases, threshold)
