"""What the teacher's second answers say to the state machines: whether a version that the gate gave up gets a relative
trial, and how its test in that trial stands (`noise`).

The two must not rest on the same sessions. The trial is decided on whatever was repeated until then; its test hears
only sessions that were heard after it began and of which every label was made after it began. They count in the order
in which they were heard, and the list stops at the first one that the teacher is still to be asked about. A session
that it refuses to answer again, or that another version's failures picked out, does not count.
"""

from collections.abc import Callable, Sequence
from typing import Any

from ..traffic.store import Store
from .event_log import Key
from .noise import NoiseTest, SelfOdds
from .noise_labels import AGAIN, OURS, REFUSED, WINDOW_S
from .rules import given_up
from .states import Event, Noisy, PatternState, Repeated

_SEEN = f"""
SELECT count(*), coalesce(sum(loss), 0) FROM (
    SELECT {{how}}({AGAIN}) AS loss FROM teacher_repeats r
    WHERE pattern_id = ? AND NOT starts_with(reason, '{REFUSED}') GROUP BY trajectory_id)
"""
_TRIED = f"""
SELECT x.trajectory_id, {{how}}({OURS}) AS ours, {{how}}({AGAIN}) AS again,
    bool_and(r.call_id IS NOT NULL AND NOT starts_with(r.reason, '{REFUSED}')) AS whole,
    bool_or(r.call_id IS NULL AND x."at" >= $window OR x.waits IS TRUE) AS open,
    bool_and(x."at" >= $began AND c.route = 'teacher' AND coalesce(c.student, '') = '') AS fit
FROM comparisons x JOIN calls c USING (call_id) LEFT JOIN teacher_repeats r ON r.call_id = x.call_id
WHERE x.kind = 'shadow' AND x.pattern_id = $pattern AND x.student = $student AND c.retried IS NOT TRUE
  AND list_contains($sessions, x.trajectory_id)
GROUP BY x.trajectory_id
"""


class Repeats:
    """Looks at the store for the machines that second answers matter to. Not thread-safe; the board's."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self.margin = 0.05
        """δ of trials to come."""
        self._store, self._clock = store, clock
        self._began: dict[Key, tuple[float, int]] = {}
        self._looked: dict[Key, tuple[Any, ...]] = {}

    def began(self, key: Key, at: float, heard: int) -> None:
        """A relative trial has begun, when so many of the version's shadowed sessions had been heard."""
        self._began[key] = at, heard

    def event(self, key: Key, state: PatternState, k: int, heard: Sequence[str]) -> Event | None:
        """What is new, if anything. k: number of the pattern's next trial; heard: the version's shadowed sessions in
        the order in which they were heard."""
        relative = state.relative if state.state == "shadow" else None
        if relative is None and not given_up(state):
            return None
        [kept] = self._store.rows("SELECT count(*) FROM teacher_repeats WHERE pattern_id = ?", (key[0],))
        # By the hour as well: what is too old to be repeated no longer holds up the sessions after it.
        mark = kept, len(heard), k, self._clock() // 3600
        if self._looked.get(key) == mark:
            return None
        self._looked[key] = mark
        if relative is None:
            seen = self._seen(key[0], state, k)
            return Noisy(at=self._clock(), seen=seen) if seen.repeats and seen != state.noise else None
        test = self._test(key, state, relative, heard)
        return Repeated(at=self._clock(), test=test) if test != relative else None

    def _seen(self, pattern_id: str, state: PatternState, k: int) -> SelfOdds:
        how = "max" if state.options.session_loss == "max" else "avg"
        [(n, odds)] = self._store.rows(_SEEN.format(how=how), (pattern_id,))
        return SelfOdds(repeats=n, disagreements=min(float(odds), float(n)), margin=self.margin, k=k)

    def _test(self, key: Key, state: PatternState, before: NoiseTest, heard: Sequence[str]) -> NoiseTest:
        at, first = self._began[key]
        names, gate = list(heard[first:]), before.gate
        test = NoiseTest.begin(before.margin, gate.alpha, gate.futility_alpha)
        values = {
            "pattern": key[0], "student": key[1], "sessions": names, "began": at, "window": self._clock() - WINDOW_S,
        }  # fmt: skip
        how = "max" if state.options.session_loss == "max" else "avg"
        rows = {row["trajectory_id"]: row for row in self._store.query(_TRIED.format(how=how), values)} if names else {}
        for name in names:
            row = rows.get(name)
            if row is None or not row["fit"]:
                continue
            if row["open"]:
                break
            if row["whole"]:
                test = test.update(min(row["ours"], 1.0), min(row["again"], 1.0))
        return test
