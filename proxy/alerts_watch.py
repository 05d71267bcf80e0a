"""Looks every few seconds for what people should know of: demotions, lost records, unreachable teachers, used budgets.

What it finds goes to the webhook, if there is one, and into the metrics in any case. It remembers only what it saw
last: after a restart, changes of route from before are old news, while records that the running workers have lost, and
whatever is wrong at that moment, are told again.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Event
from typing import Any

import msgspec

from ..traffic.layout import DataDir
from ..traffic.store import Store
from .alerts import BREAKER, BUDGET, DEMOTED, DROPPED, Alert
from .board import Board
from .comparisons import count_since
from .keys import KeyTable
from .metrics import Metrics
from .options import ControlOptions
from .shadow import SHADOW
from .states import SERVING

logger = logging.getLogger(__name__)
LOOK_S = 2.0
NEWEST = 200
"""Changes of route that are looked at in one look."""
DAY_S = 86_400.0
STUDENT = "student"
"""Name of the student's breaker."""


@dataclass
class Watch:
    """One look after the other."""

    board: Board
    metrics: Metrics
    budgets: Callable[[], Mapping[str, str]]
    """Budgets that are used up, each with what that means."""
    tell: Callable[[Alert], None]
    _seq: int | None = None
    _dropped: int = 0
    _open: frozenset[str] = frozenset()
    _used: frozenset[str] = frozenset()

    def run(self, stop: Event, every_s: float = LOOK_S) -> None:
        """Look until `stop`. A look that fails is logged and the next one tries again."""
        while True:
            try:
                self.look()
            except Exception:
                logger.exception("A look for what to alert of failed and will be tried again")
            if stop.wait(every_s):
                return

    def look(self) -> None:
        """One look."""
        self._look_at_routes()
        self.metrics.read_workers()
        self._look_at_records()
        self._look_at_breakers()
        self._look_at_budgets()

    def _look_at_routes(self) -> None:
        changes = self.board.log.transitions(NEWEST)
        newest = max((change["seq"] for change in changes), default=0)
        before, self._seq = self._seq, newest
        for change in reversed(changes if before is not None else []):
            if change["seq"] > (before or 0) and change["kind"] == "state":
                actor = change["actor"] if change["actor"] in ("gate", "guard") else "operator"
                name = self.metrics.counted.pattern_names.of(change["pattern_id"])
                self.metrics.transitions.add((name, change["after"], actor))
                if change["before"] in SERVING and change["after"] not in SERVING:
                    self.tell(_demoted(change))

    def _look_at_records(self) -> None:
        total = self.metrics.workers.counts["dropped"] + self.metrics.workers.counts["lost"]
        new, self._dropped = total - self._dropped, total
        if new > 0:
            text = f"{new} call records were let go. Agents got their answers; the log lacks them. Look at the disk "
            text += "of the data folder."
            self.tell(Alert(DROPPED, "journal", "The journal loses records", text))

    def _look_at_breakers(self) -> None:
        found = self.metrics.workers.open_breakers()
        now = frozenset(name for name, count in found.items() if count and name != STUDENT)
        for name in sorted(now - self._open):
            text = "It cannot be reached, or answers that it is down; calls to it are refused for a moment."
            self.tell(Alert(BREAKER, name, f"The teacher {name} is left alone", text))
        self._open = now

    def _look_at_budgets(self) -> None:
        found = self.budgets()
        for name in sorted(found.keys() - self._used):
            self.tell(Alert(BUDGET, name, f"The budget of {name} is used up", found[name]))
        self._used = frozenset(found)
        kinds = {name.partition(" ")[0] for name in found}
        self.metrics.budgets = {kind: kind in kinds for kind in ("judge", "shadow", "key")}


def _demoted(change: Mapping[str, Any]) -> Alert:
    name = change["pattern_id"]
    text = f"{change['student']} went from {change['before']} to {change['after']} ({change['reason']}, by "
    text += f"{change['actor']}). The teacher answers its calls."
    return Alert(DEMOTED, f"{name} {change['student']} {change['seq']}", f"Pattern {name} lost its student", text)


@dataclass(frozen=True)
class Budgets:
    """Which budgets are used up at the moment."""

    store: Store
    data: DataDir
    options: ControlOptions
    judge: Callable[[float], str]
    """Why the judge may not be asked; empty when it may."""
    clock: Callable[[], float] = time.time

    def __call__(self) -> dict[str, str]:
        """By name: `judge`, `shadow`, `key ID`."""
        now, found = self.clock(), {}
        if why := self.judge(now):
            found["judge"] = f"{why} Pairs wait for tomorrow, or for a larger budget in [judge]."
        most = self.options.routing.shadow_per_day
        if most and count_since(self.store, SHADOW, now // DAY_S * DAY_S) >= most:
            found["shadow"] = (
                f"{most} calls were shadowed today (routing.shadow_per_day). Shadowing rests until midnight UTC."
            )
        for key in self._keys().keys:
            if key.exhausted and not key.revoked_at:
                found[f"key {key.key_id}"] = "Its calls are refused until the period ends, or the budget is raised."
        return found

    def _keys(self) -> KeyTable:
        try:
            return msgspec.json.decode(self.data.keys.read_bytes(), type=KeyTable)
        except (OSError, msgspec.DecodeError):
            return KeyTable()
