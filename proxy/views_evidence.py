"""How the evidence on a pattern grew, session by session: the events of the log folded again, each level kept.

The fold is the machine's own (`machine.apply`), so what is drawn is what was decided on. Events are folded once; a page
that is looked at again takes in the new ones only.
"""

import math
import threading
from dataclasses import dataclass, field, replace

from ..traffic.store import Store
from .chart import Plot, log_plot
from .gate import Gate
from .guard import Guard
from .machine import apply
from .states import Event, PatternState, Relabelled
from .views_queries import machine_events

MOST_AT_ONCE = 2_000
"""Events folded while a page waits: about half a second."""


@dataclass(frozen=True)
class EvidencePoint:
    """A row of `/tables/evidence`."""

    test: str
    """`shadow`, `canary` or `guard`."""
    n: int
    """Sessions so far."""
    level: float
    """Log-wealth of a gate; of the guard the natural logarithm of M."""


@dataclass(frozen=True)
class EvidencePlot:
    """One drawn test."""

    name: str
    text: str
    plot: Plot


@dataclass
class Series:
    """Levels of one version on one pattern since the trial began."""

    state: PatternState = field(default_factory=PatternState)
    last: int = 0
    """Number of the newest event folded."""
    shadow: list[float] = field(default_factory=lambda: [0.0])
    canary: list[float] = field(default_factory=lambda: [0.0])
    guard: list[float] = field(default_factory=list)

    def hear(self, seq: int, event: Event) -> None:
        """Fold one event."""
        self.state, self.last = apply(self.state, event).state, seq
        if isinstance(event, Relabelled):
            self._retell()
        self.shadow = _followed(self.shadow, self.state.shadow)
        self.canary = _followed(self.canary, self.state.canary)
        guard = self.state.guard
        if guard is None or guard.n < len(self.guard):
            self.guard = []
        if guard is not None and guard.n > len(self.guard):
            self.guard.append(_level(guard))

    def _retell(self) -> None:
        """A label has changed: the levels since that session are not what they were."""
        if shadow := self.state.in_shadow:
            seen = shadow.base
            del self.shadow[seen.gate.n + 1 :]
            for heard in shadow.sessions:
                seen = seen.update(heard)
                self.shadow.append(seen.gate.log_wealth)
        if service := self.state.in_service:
            served = service.base
            del self.canary[served.canary.n + 1 :], self.guard[served.guard.n :]
            for heard in service.sessions:
                served = served.update(heard)
                self.guard.append(_level(served.guard))
                if heard.trial:
                    self.canary.append(served.canary.log_wealth)

    def points(self) -> list[EvidencePoint]:
        """All levels, test by test."""
        tests = {"shadow": self.shadow[1:], "canary": self.canary[1:], "guard": self.guard}
        return [EvidencePoint(name, n, level) for name, levels in tests.items() for n, level in enumerate(levels, 1)]


def _followed(levels: list[float], gate: Gate | None) -> list[float]:
    """The levels after an event: one more for a session, none of the old ones in a new trial."""
    if gate is None or gate.n < len(levels) - 1:
        levels = [0.0]
    if gate is not None and gate.n > len(levels) - 1:
        levels.append(gate.log_wealth)
    return levels


def _level(guard: Guard) -> float:
    return math.log(max(guard.m, 1e-9))


class EvidenceBook:
    """The series by pattern and version."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._series: dict[tuple[str, str], Series] = {}
        # Two pages that ask at once must not fold an event twice; each holds the lock of its own series.
        self._locks: dict[tuple[str, str], threading.Lock] = {}

    def far_behind(self, pattern_id: str, student: str) -> bool:
        """Whether so many events are to be folded that nobody should wait for it: as after a start."""
        known = self._series.get((pattern_id, student))
        sql = "SELECT count(*) FROM route_events WHERE pattern_id = ? AND student = ? AND seq > ?"
        waiting = self._store.value(sql, [pattern_id, student, known.last if known else 0])
        return waiting > MOST_AT_ONCE

    def series(self, pattern_id: str, student: str) -> Series:
        """All levels up to the newest event."""
        with self._locks.setdefault((pattern_id, student), threading.Lock()):
            series = self._series.setdefault((pattern_id, student), Series())
            for seq, event in machine_events(self._store, pattern_id, student, series.last):
                series.hear(seq, event)
            return replace(series, shadow=[*series.shadow], canary=[*series.canary], guard=[*series.guard])


def plots_of(series: Series) -> list[EvidencePlot]:
    """The tests that have heard anything, drawn on a logarithmic scale."""
    state = series.state
    found = [_gate_plot(name, gate, levels) for name, gate, levels in _gates(series) if gate is not None and gate.n]
    guard = state.guard
    if guard is not None and guard.n:
        marks = [(math.log(guard.warns_at), f"warn {guard.warns_at:,.0f}", "warn")]
        marks.append((math.log(guard.demote), f"demote {guard.demote:,.0f}", "bad"))
        text = f"M = {guard.m:,.2f} after {guard.n:,} audited sessions; demoted at {guard.demote:,.0f}"
        plot = log_plot(series.guard, marks, "audited sessions", f"Level of the guard: {text}.", 1)
        found.append(EvidencePlot("Guard", text, plot))
    return found


def _gates(series: Series) -> list[tuple[str, Gate | None, list[float]]]:
    return [
        ("Evidence in shadow", series.state.shadow, series.shadow),
        ("Evidence in canary", series.state.canary, series.canary),
    ]


def _gate_plot(name: str, gate: Gate, levels: list[float]) -> EvidencePlot:
    needed = math.exp(gate.needed)
    text = f"{math.exp(min(gate.log_wealth, 700.0)):,.2f} to 1 after {gate.n:,} sessions; proof at {needed:,.0f} to 1"
    title = f"{name}, as odds on a logarithmic scale: {text}."
    return EvidencePlot(
        name, text, log_plot(levels, [(gate.needed, f"proof {needed:,.0f}", "good")], "sessions", title)
    )
