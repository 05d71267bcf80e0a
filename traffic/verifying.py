"""Has finished runs judged by the users' functions, and keeps what they said.

A verdict is a value of the metric `success` about the run, with the source `verifier:NAME`. A function judges a run
again only when the run or the function's version has changed. Works in a thread of its own, a run at a time; nothing
that a function does can keep the store or the agents waiting, and every failure is counted and shown.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .canonical import loads
from .errors import UnknownName
from .feedback import VERIFIER
from .feedback_rows import save
from .lookup import by_ids
from .queries import show_trajectory
from .store import Store
from .verifiers import Call, Ended, Loaded, Trajectory, Verdict, Verifiers

METRIC = "success"
BATCH = 50
"""Runs that one function is shown before the others have their turn."""
PAUSE_S = 2.0
"""Between two looks for runs when there were none."""
FAILING = 10
"""Runs without a verdict, one after another, that are a problem of the function and not of the runs."""
MOST_CHANGED = 10_000
"""Runs that have changed since the last look; with more of them, all runs are looked at."""
RELOAD_S = 60.0
"""Functions that could not be imported are tried again after this."""

logger = logging.getLogger(__name__)

_WAITING = """
SELECT t.trajectory_id, t.calls, t.last_at FROM trajectories t
LEFT JOIN verifications v ON v.trajectory_id = t.trajectory_id AND v.verifier = ?
WHERE t.last_at >= ? AND (t.finished OR t.last_at < ?)
    AND (v.verifier IS NULL OR v.version <> ? OR v.calls <> t.calls OR v.last_at <> t.last_at)
ORDER BY t.last_at DESC, t.trajectory_id LIMIT ?
"""
_COUNTS = """
SELECT v.verifier, count(*), count_if(f.flag OR f.number IS NOT NULL), count_if(v.error <> ''),
    arg_max(v.error, v."at") FILTER (v.error <> ''), max(v."at"), count_if(f.flag = FALSE)
FROM verifications v LEFT JOIN feedback f ON f.feedback_id = ? || v.verifier || '/' || v.trajectory_id GROUP BY ALL
"""


class _Look(NamedTuple):
    """A moment at which all runs that waited had their turn."""

    revision: int
    """The newest of `rollup`'s changes."""
    at: float
    """Unix seconds."""


@dataclass(frozen=True)
class VerifierReport:
    """What one function has done."""

    verifier: str
    version: str
    runs: int = 0
    """Runs that it has judged, each counted once."""
    passed: int = 0
    """Of these, runs that got True or a number."""
    failed: int = 0
    """Runs that got False."""
    errors: int = 0
    """Runs on which it raised, was late, or returned something else."""
    last_error: str = ""
    last_at: float = 0.0
    """When it last judged a run, Unix seconds; 0: never."""
    problem: str = ""
    """Why it cannot be used at all; empty when it can."""


def run_of(store: Store, trajectory_id: str) -> Trajectory:
    """A run as verifiers see it. Raises UnknownName."""
    detail = show_trajectory(store, trajectory_id)
    sql = """
        SELECT t.body FROM calls c JOIN toolsets t USING (toolset_id) WHERE c.trajectory_id = ?
        ORDER BY c.started_at DESC LIMIT 1
    """
    tools = store.value(sql, [trajectory_id])
    calls = [
        Call(
            call.call_id, call.started_at, call.model or "", call.route or "", call.status or 0,
            call.finish_reason or "", call.latency_ms or 0.0,
        )
        for call in detail.calls
    ]  # fmt: skip
    return Trajectory(trajectory_id, detail.messages, loads(tools) if tools else [], calls)


@dataclass
class Verifying:
    """The functions at work on one store. `run` belongs to one thread; `report` and `close` may come from others."""

    store: Store
    verifiers: Verifiers
    idle_s: float
    """A run that has not finished is shown after so many seconds without a call."""
    clock: Callable[[], float] = time.time
    _loaded: Sequence[Loaded] = ()
    _loaded_at: float = field(default=-1e9)
    _failures: dict[str, int] = field(default_factory=dict)
    """Runs in a row that a function failed on."""
    _done: dict[tuple[str, str], _Look] = field(default_factory=dict)
    """By function and version: only what has changed since then, or has been silent for long enough, can wait."""
    _last_errors: dict[str, str] = field(default_factory=dict)
    """Of the newest run that each function was shown; empty when it did not fail."""

    def run(self, stop: threading.Event) -> None:
        """Rounds until `stop`. A failed round is logged, and the next one tries again."""
        while self.verifiers.names and not stop.is_set():
            try:
                busy = self.round(stop)
            except Exception:
                if stop.is_set():
                    return
                logger.exception("A round of the verifiers failed and will be tried again")
                busy = False
            if not busy:
                stop.wait(PAUSE_S)

    def round(self, stop: threading.Event | None = None) -> int:
        """Show each function the newest runs that wait for it; returns how many verdicts were asked for."""
        self._load()
        asked = 0
        for one in [one for one in self._loaded if not one.error]:
            look = self._look()
            waiting = self.waiting(one.name, one.version)
            for trajectory_id, calls, last_at in waiting:
                if stop is not None and stop.is_set():
                    return asked
                try:
                    run = run_of(self.store, trajectory_id)
                except UnknownName:  # deleted meanwhile
                    continue
                self._keep(one, trajectory_id, calls, last_at, self.verifiers.ask(one.name, run))
                asked += 1
            if len(waiting) < BATCH:
                self._done[one.name, one.version] = look
        return asked

    def waiting(self, verifier: str, version: str) -> list[tuple[str, int, float]]:
        """The newest runs that a function has to judge: id, calls, last call."""
        since = self._since(self._done.get((verifier, version)))
        return self.store.rows(_WAITING, [verifier, since, self.clock() - self.idle_s, version, BATCH])

    def _look(self) -> "_Look":
        return _Look(self.store.value("SELECT max(revision) FROM changes") or 0, self.clock())

    def _since(self, done: "_Look | None") -> float:
        """Since when the last calls of runs lie that may wait, when all did have their verdicts at a look."""
        oldest = self.store.value("SELECT min(revision) FROM changes") or 0
        if done is None or oldest > done.revision + 1:
            return -math.inf
        sql = "SELECT DISTINCT trajectory_id FROM changes WHERE revision > ?"
        changed = [run for (run,) in self.store.rows(sql, [done.revision])]
        if len(changed) > MOST_CHANGED:
            return -math.inf
        ends = by_ids(self.store, "SELECT last_at FROM trajectories WHERE trajectory_id IN ({ids})", changed)
        return min([done.at - self.idle_s, *(last_at for (last_at,) in ends)])

    def report(self) -> list[VerifierReport]:
        """One row a function: those of the settings in their order, then others that have judged runs."""
        counts = {row[0]: row[1:] for row in self.store.rows(_COUNTS, [VERIFIER])}
        loaded = {one.name: one for one in self._loaded}
        names = [*dict.fromkeys((*self.verifiers.names, *sorted(counts)))]
        return [self._row(name, loaded.get(name, Loaded(name)), counts.get(name)) for name in names]

    def problems(self) -> list[str]:
        """What somebody should look at, in words: functions that cannot be used, or that fail again and again."""
        unusable = [f"The verifier {one.name} cannot be used: {one.error}" for one in self._loaded if one.error]
        failing = [
            f"The verifier {name} gave no verdict on the last {count} runs: {self._last_errors[name]}"
            for name, count in self._failures.copy().items()
            if count >= FAILING
        ]
        return unusable + failing

    def close(self) -> None:
        """End the functions' process."""
        self.verifiers.close()

    @staticmethod
    def _row(name: str, loaded: Loaded, counts: tuple[Any, ...] | None) -> VerifierReport:
        if counts is None:
            return VerifierReport(name, loaded.version, problem=loaded.error)
        runs, passed, errors, last_error, last_at, failed = counts
        return VerifierReport(
            name, loaded.version, runs, passed, failed, errors, last_error or "", last_at, loaded.error
        )

    def _load(self) -> None:
        broken = any(one.error for one in self._loaded)
        if self._loaded and not (broken and self.clock() - self._loaded_at > RELOAD_S):
            return
        if self._loaded:
            self.verifiers.restart()
        self._loaded_at = self.clock()
        try:
            self._loaded = self.verifiers.load()
        except Ended as ended:
            self._loaded = [Loaded(name, error=f"It cannot be imported: {ended}") for name in self.verifiers.names]
        for one in self._loaded:
            if one.error:
                logger.warning("The verifier %s cannot be used: %s", one.name, one.error)

    def _keep(self, one: Loaded, trajectory_id: str, calls: int, last_at: float, verdict: Verdict) -> None:
        self._last_errors[one.name] = verdict.error
        self._failures[one.name] = self._failures.get(one.name, 0) + 1 if verdict.error else 0
        now, feedback_id = self.clock(), f"{VERIFIER}{one.name}/{trajectory_id}"
        seen = [trajectory_id, one.name, one.version, calls, last_at, now, verdict.error]
        with self.store.transaction():
            self.store.execute("INSERT OR REPLACE INTO verifications VALUES (?, ?, ?, ?, ?, ?, ?)", seen)
            if verdict.value is None:
                sql = "UPDATE feedback SET flag = NULL, number = NULL, judged = FALSE WHERE feedback_id = ?"
                self.store.execute(sql, [feedback_id])
            else:
                save(self.store, [_value(feedback_id, one, trajectory_id, verdict.value, now)], replace=True)


def _value(feedback_id: str, one: Loaded, trajectory_id: str, value: bool | float, now: float) -> dict[str, Any]:
    is_flag = isinstance(value, bool)
    return {
        "feedback_id": feedback_id,
        "at": now,
        "caller": "",
        "kind": "trajectory",
        "target": trajectory_id,
        "metric": METRIC,
        "flag": value if is_flag else None,
        "number": None if is_flag else value,
        "text": None,
        "source": VERIFIER + one.name,
        "comment": "",
        "trajectory_id": trajectory_id,
        "judged": False,
    }
