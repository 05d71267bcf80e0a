"""Calls per minute of a key, over all workers together.

Generic cell rate algorithm (ITU-T I.371; a leaky bucket as one number): for each key one theoretical arrival time is
kept, the moment at which its calls so far would have arrived had they kept the rate. A call that comes no more than
(burst - 1) intervals before that moment is admitted and moves it on by one interval. So within any t seconds at most
burst + rate * t calls are admitted, and a key that was silent has its burst back.

The numbers stand in one file that all workers map: 8 bytes a key, at the slot that the control plane gave it. Wall
clock, because they must mean the same in every process and after a restart; whatever a clock that jumped, a change of
the rate or a damaged file leaves there, a key never waits longer than one full burst takes.

A lock on the key's 8 bytes keeps workers from overwriting each other's step. Nobody waits for it: a worker that finds
it taken some times in a row (its holder was suspended in between) goes on without. That race is benign: calls decided
in the same moment may go uncounted; none is refused that should pass.
"""

import errno
import os
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, lockf
from pathlib import Path
from typing import NamedTuple

from .shared_file import HEAD_BYTES, SharedFile

SLOTS = 65_536
"""Keys that can be valid at the same time."""
_WORD = 8
_TRIES = 30
"""Looks at a lock that is taken: some 30 µs, while a step takes one."""
_LOCK = LOCK_EX | LOCK_NB
_TAKEN = (errno.EAGAIN, errno.EACCES)


class Verdict(NamedTuple):
    """What one call does to a key's rate."""

    arrival: float
    """The new theoretical arrival time, Unix seconds; the old one when the call is refused."""
    wait_s: float
    """0.0: admitted; else seconds until a call would be."""


def gcra(arrival: float, now: float, interval_s: float, burst: int) -> Verdict:
    """Decide on one call at `now` (Unix seconds).

    `arrival` is the stored time (anything, for a key never seen), `interval_s` > 0 the seconds between calls at the
    rate, `burst` >= 1 the calls that may come at once.
    """
    full = interval_s * burst
    if not arrival > now:
        arrival = now
    elif arrival > now + full:
        # No call at this rate can have set it so far ahead.
        arrival = now + full
    wait_s = arrival - now - (full - interval_s)
    return Verdict(arrival, wait_s) if wait_s > 0.0 else Verdict(arrival + interval_s, 0.0)


class KeyRates:
    """The shared numbers, for one worker."""

    def __init__(self, path: Path | None = None) -> None:
        """Without a path, or where the file cannot be made, this worker counts alone."""
        self._file = SharedFile(path, "tutelage key rates 1", SLOTS * _WORD)
        self._arrivals = self._file.memory.cast("d")
        self._locks = self._file.shared

    def take(self, slot: int, rate: float, burst: int, now: float) -> float:
        """Count one call of the key at `slot` (0 to SLOTS - 1): 0.0 when it may pass, else seconds to wait.

        `rate` is in calls per minute, above 0; a refused call counts nothing.
        """
        at = HEAD_BYTES + slot * _WORD
        locked = self._locks and self._lock(at)
        try:
            verdict = gcra(self._arrivals[slot], now, 60.0 / rate, burst)
            if not verdict.wait_s:
                self._arrivals[slot] = verdict.arrival
        finally:
            if locked:
                lockf(self._file.descriptor, LOCK_UN, _WORD, at)
        return verdict.wait_s

    def _lock(self, at: int) -> bool:
        for _ in range(_TRIES):
            try:
                lockf(self._file.descriptor, _LOCK, _WORD, at)
                return True
            except OSError as error:
                if error.errno not in _TAKEN:
                    # A file system without locks: it would fail on every call.
                    self._locks = False
                    return False
                # The holder may have been suspended for the sake of this very process.
                os.sched_yield()
        return False

    def close(self) -> None:
        """Unmap the file."""
        self._arrivals.release()
        self._file.close()
