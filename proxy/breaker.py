"""A circuit breaker per upstream: one that cannot be reached is left alone for a while.

    closed --(enough failures, and half of the calls)--> open --(pause)--> half_open --(success)--> closed
                                                           ^------------(failure)------'

A failure is: not reached, timed out, or 502, 503, 504. Everything else, 429 and 529 among it, is an answer of an
upstream that works. Pure but for its clock; one event loop uses it, so no lock is needed.

Invariant: every `allow()` that gave True is followed by one of `success`, `failure`, `note` and `cancelled`. Should
that be missed, or a trial take minutes, as an honest answer may, another trial is let through after each pause.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any, Literal

State = Literal["closed", "open", "half_open"]
DOWN = (502, 503, 504)
"""Statuses of an upstream, or something before it, that is not working."""
_SLOTS = 10
"""The window moves on in steps of this fraction of it."""


@dataclass
class Counters:
    """What a breaker has done since its worker started."""

    opened: int = 0
    """Times that calls were stopped; a failed trial counts again."""
    refused: int = 0
    """Calls that were not let through."""
    failed: int = 0


@dataclass
class _Slot:
    ends: float
    calls: int = 0
    failed: int = 0


class Breaker:
    """Decides whether a call may go to its upstream."""

    def __init__(
        self, failures: int, window_s: float, pause_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Opens at `failures` (>= 1) within `window_s` seconds; `clock` counts seconds and never goes back."""
        self.state: State = "closed"
        self.counters = Counters()
        self._failures, self._window_s, self._pause_s, self._clock = failures, window_s, pause_s, clock
        self._next_trial = 0.0
        self._slots: deque[_Slot] = deque()
        self._slot = self._new_slot()

    @property
    def retry_after_s(self) -> int:
        """Whole seconds until the next call has a chance, at least 1."""
        return max(1, ceil(self._next_trial - self._clock()))

    def allow(self) -> bool:
        """Whether a call may be made now."""
        if self.state == "closed":
            return True
        now = self._clock()
        if now < self._next_trial:
            self.counters.refused += 1
            return False
        self.state, self._next_trial = "half_open", now + self._pause_s
        return True

    def success(self) -> None:
        """The upstream answered."""
        if self.state == "closed":
            self._count()
        elif self.state == "half_open":
            self.state = "closed"
            self._slots.clear()
            self._slot = self._new_slot()

    def failure(self) -> None:
        """The upstream could not be reached, took too long, or said that it is down."""
        self.counters.failed += 1
        if self.state == "half_open":
            self._open()
        elif self.state == "closed":
            self._count()
            self._slot.failed += 1
            self._judge()

    def note(self, status: int) -> None:
        """Success or failure by the status of the answer."""
        if status in DOWN:
            self.failure()
        else:
            self.success()

    def cancelled(self) -> None:
        """The call ended without telling anything about the upstream: a trial may be made again at once."""
        if self.state == "half_open":
            self.state, self._next_trial = "open", self._clock()

    def report(self) -> dict[str, Any]:
        """For the health page: state and counters."""
        return {"state": self.state, **asdict(self.counters)}

    def _count(self) -> None:
        if self._clock() >= self._slot.ends:
            self._slot = self._new_slot()
        self._slot.calls += 1

    def _judge(self) -> None:
        oldest = self._clock() - self._window_s
        while self._slots[0].ends <= oldest:
            self._slots.popleft()
        failed = sum(slot.failed for slot in self._slots)
        if failed >= self._failures and 2 * failed >= sum(slot.calls for slot in self._slots):
            self._open()

    def _open(self) -> None:
        self.state, self._next_trial = "open", self._clock() + self._pause_s
        self.counters.opened += 1

    def _new_slot(self) -> _Slot:
        slot = _Slot(self._clock() + self._window_s / _SLOTS)
        if len(self._slots) > _SLOTS:
            self._slots.popleft()
        self._slots.append(slot)
        return slot
