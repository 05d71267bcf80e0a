"""The keeper: the one loop that writes the store, and with it everything that the other processes read.

One round: labels into the store; journal into the store; patterns.json when a pattern is new; what agents said about
their runs to the labels of these; new student versions, fallback counts and finished sessions to the board as events;
routes.json when a route changed; then the journal segments whose rows are committed are deleted.

Each step is safe to repeat after a crash at any point: ingest is idempotent on call ids, comparisons have their key,
a session is fed once because the event that fed it is in the store, and files are published whole.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from queue import SimpleQueue

import msgspec

from ..traffic import feedback_rows, outcomes
from ..traffic.discovery import Discovery
from ..traffic.ingest import Ingest, IngestReport
from ..traffic.journal_reader import Batch, JournalReader
from ..traffic.layout import DataDir
from ..traffic.outcome_rules import OutcomeRules
from ..traffic.pattern_edits import Event
from ..traffic.pattern_log import by_use, recalled, write_patterns
from ..traffic.patterns import PatternEntry, Registry
from ..traffic.store import Store
from ..traffic.students import StudentRegister
from . import sessions
from .board import Board
from .comparisons import count_since
from .labels import LabelBox
from .operators import Wish
from .options import RoutingOptions
from .pattern_editor import PatternEditor, Plan
from .retelling import Retelling, check_table, retell
from .session_details import Spoken
from .shadow import AUDIT, SHADOW, Label, Task
from .states import WHOLE
from .watchers import Watchers

BATCH_BYTES = 8 << 20
"""Journal bytes taken in one round. Small, so that an off switch never waits long behind a backlog."""
RECORD_BYTES = 8 << 10
"""What a smaller record counts as: a round is for 1,024 calls at most, for the same reason."""
REVIEW_S = 0.5
"""Pause between two looks for new students and finished sessions."""
FEED_SESSIONS = 200
"""Sessions of one version fed in one review, for the same reason."""
INVALID_BATCH = 50
"""Answers without a fault that are counted together; one with a fault is reported at once."""

KINDS = (SHADOW, AUDIT, WHOLE)
"""Of evidence, in the order in which they are fed."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class KeeperHealth:
    """How ingest is doing since this process started."""

    rounds: int = 0
    calls: int = 0
    duplicates: int = 0
    unreadable: int = 0
    damaged_bytes: int = 0
    """Journal bytes that held no intact record."""
    backlog_bytes: int = 0
    """Journal bytes that are not in the store yet."""
    last_call_at: float = 0.0
    """When the newest batch was committed, Unix seconds; 0 before the first."""
    error: str = ""
    """Why the last round failed; empty when it worked."""


class Keeper:
    """Owns the writing side of the store. `tick` and `operate` may come from different threads."""

    def __init__(
        self,
        data: DataDir,
        store: Store,
        options: RoutingOptions,
        rules: OutcomeRules | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.board = Board(store, options, data.read_secret(), clock)
        self.health = KeeperHealth()
        self._data, self._store, self._options, self._clock = data, store, options, clock
        self._rules = outcomes.rules_in_force(store, rules)
        self.registry = _registry(data, store)
        self.editor = PatternEditor(store, self.registry, self.board, clock)
        recall = partial(recalled, store)
        discovery = Discovery(self.registry, recall=recall, needed=self.board.patterns, used=by_use(store))
        self.watchers = Watchers()
        self._ingest = Ingest(store, discovery, on_stored=self.watchers.calls)
        self._resumed = False
        self._journal = JournalReader(data.journal)
        self._students = StudentRegister(data)
        self._labels = LabelBox()
        self._delivered: SimpleQueue[Spoken] = SimpleQueue()
        self._spoken: list[Spoken] = []
        self._positions = self._ingest.positions()
        self._published_patterns = -1
        self._reviewed = -1e9
        self.housework: Callable[[], object] = lambda: None
        """What else is to be done after a review, such as `housekeeping`."""
        self.on_rest: Callable[[], object] = lambda: None
        """Told once, when `run` has recalled everything and taken in what had waited."""
        # Serialises rounds and switches: both read the board's states, change them and publish.
        self._lock = threading.Lock()

    def run(self, stop: threading.Event, pause_s: float) -> None:
        """Rounds until `stop`. A failed round is logged and shown, and the next one tries again."""
        resting = False
        while not stop.is_set():
            try:
                busy = self.tick()
                if not busy and not resting:
                    resting = True
                    self.on_rest()
            except Exception as error:
                logger.exception("A round of the keeper failed and will be tried again")
                self.health = replace(self.health, error=f"{type(error).__name__}: {error}")
                busy = False
            if not busy:
                stop.wait(pause_s)

    def tick(self) -> bool:
        """One round. True when the journal holds more than one round's worth."""
        with self._lock:
            if not self._resumed:
                # Here and not at the start, which should be quick: this reads much of what came last.
                self._ingest.resume()
                self._resumed = True
            # Before they are written: what is delivered meanwhile is looked at next time.
            self._spoken += [self._delivered.get_nowait() for _ in range(self._delivered.qsize())]
            self._labels.write(self._store)
            more = self._take_in()
            # As a distance: a clock that is set back must not stop the reviews until it has caught up.
            if not more and abs(self._clock() - self._reviewed) >= REVIEW_S:
                self._review()
                self.housework()
            self.board.publish(self._data.routes)
        self.health = replace(self.health, rounds=self.health.rounds + 1, error="")
        return more

    def catch_up(self) -> None:
        """Rounds until the journal is in the store and everything is reviewed."""
        while self.tick():
            pass
        self._reviewed = -1e9
        self.tick()

    def operate(self, pattern_id: str | None, wish: Wish) -> None:
        """A person's decision on one pattern, or on everything (None); in force when this returns. See
        `Board.operate`."""
        with self._lock:
            self.board.operate(pattern_id, wish)
            self.board.publish(self._data.routes)

    def retell(self) -> Retelling:
        """Fold the event log again and compare with what is in force (`retelling`)."""
        with self._lock:
            found = retell(self.board.log, self.board.machines())
            check_table(found, self._data.routes, self.board.routes, bool(self.board.big_switch["off"]))
            return found

    def edit_patterns(self, plan: Plan, actor: str, force: bool = False) -> Event:
        """A person's change of the patterns; published when this returns. See `PatternEditor.carry_out`."""
        with self._lock:
            try:
                return self.editor.carry_out(plan, actor, force)
            finally:
                self._publish_patterns()
                self.board.publish(self._data.routes)

    @property
    def pending_sessions(self) -> int:
        """Sessions that will be evidence once they are over and labelled; at least 1 while the journal holds calls."""
        # The journal first: what is taken in between the two looks is then counted twice, not missed.
        unread = self._journal.backlog(self._positions) > 0
        scopes = [scope for kind in KINDS for scope in self.board.scopes(kind) if self.board.counts(scope)]
        return sum(sessions.waiting(self._store, scope, self.board.fed(scope)) for scope in scopes) or int(unread)

    # The label source of the runners.

    def tasks(self, kind: str, limit: int) -> Sequence[Task]:
        """Labels to get now, of all patterns; see `shadow.LabelSource`."""
        found: list[Task] = []
        taken = self._labels.keys()
        if kind == SHADOW:
            today = self._clock() // sessions.DAY_S * sessions.DAY_S
            limit = min(limit, self._options.shadow_per_day - count_since(self._store, SHADOW, today) - len(taken))
        scopes = self.board.scopes(kind)
        if kind == SHADOW:
            # Where a live version was too unsure of an answer to serve it, it is asked again.
            scopes += self.board.scopes(WHOLE)
        for left, scope in zip(range(len(scopes), 0, -1), scopes, strict=True):
            # Shared out evenly, so that the patterns of one session come together.
            room = (limit - len(found)) // left
            if room > 0:
                found += sessions.tasks(self._store, scope, room, taken)
        return found

    def deliver(self, label: Label) -> None:
        """Take one label; it is in the store within a round."""
        self._labels.put(label)
        task = label.task
        self._delivered.put(Spoken(task.pattern_id, task.student, task.kind, task.trajectory_id))
        self.watchers.label(label)

    def _take_in(self) -> bool:
        batch = self._journal.read(self._positions, BATCH_BYTES, RECORD_BYTES)
        if batch.records or batch.positions != self._positions:
            report = self._ingest.apply(feedback_rows.take(self._store, batch.records), batch.positions)
            self._positions = dict(batch.positions)
            self._note(report, batch)
        self._publish_patterns()
        self._drop_finished()
        backlog = self._journal.backlog(self._positions)
        self.health = replace(self.health, backlog_bytes=backlog)
        return bool(batch.records) and backlog > 0

    def _drop_finished(self) -> None:
        """Delete segments whose rows are committed. A crash in between leaves a position that nobody reads."""
        finished = self._journal.finished(self._positions)
        if finished:
            self._journal.delete(finished)
            gone = [f"{path.parent.name}/{path.name}" for path in finished]
            self._ingest.forget_positions(gone)
            self._positions = {key: at for key, at in self._positions.items() if key not in gone}

    def _note(self, report: IngestReport, batch: Batch) -> None:
        health = self.health
        self.health = replace(
            health,
            calls=health.calls + report.calls,
            duplicates=health.duplicates + report.duplicates,
            unreadable=health.unreadable + report.unreadable,
            damaged_bytes=health.damaged_bytes + sum(damage.size for damage in batch.damaged),
            last_call_at=self._clock() if report.calls else health.last_call_at,
        )

    def _publish_patterns(self) -> None:
        if (revision := self.registry.revision) != self._published_patterns:
            write_patterns(self._store, self.registry)
            self.registry.publish(self._data.patterns)
            self._published_patterns = revision

    def _review(self) -> None:
        """Everything that only the store can tell, fed to the board as events."""
        self._reviewed = self._clock()
        feedback_rows.resolve(self._store, self._reviewed)
        outcomes.label_runs(self._store, self._rules)
        entries = {entry.pattern_id: entry for entry in self.registry.entries()}
        for manifest in self._students.list():
            if manifest.status == "candidate":
                self.board.register(manifest, entries)
        idle_before = self._clock() - self._options.session_idle_s
        self.board.hearing.count_invalid(INVALID_BATCH)
        self.board.hearing.count_passed(idle_before)
        self.board.hearing.relabel(self._spoken)
        self._spoken.clear()
        self.board.hearing.judge()
        self.board.hearing.hear_repeats()
        for kind in KINDS:
            self._feed(kind, idle_before)

    def _feed(self, kind: str, idle_before: float) -> None:
        for scope in self.board.scopes(kind):
            if self.board.counts(scope):
                fed = self.board.fed(scope)
                ready = sessions.closed(self._store, scope, fed=fed, idle_before=idle_before)
                self.board.hearing.feed(scope, ready[:FEED_SESSIONS])


def _registry(data: DataDir, store: Store) -> Registry:
    """All known patterns: those of the published file and those of the store, whichever of the two survived."""
    registry = Registry.load(data.patterns)
    for (body,) in store.rows("SELECT body FROM patterns ORDER BY created_at, pattern_id"):
        registry.add(msgspec.json.decode(body, type=PatternEntry))
    return registry
