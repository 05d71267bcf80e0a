"""A queue in memory with a thread that delivers it: what plugins tell the server, without the agent waiting for it.

`put` takes a few microseconds, never blocks and never raises. What cannot be delivered now is tried again, in order,
for as long as the process lives: a server that is away for a minute loses nothing. The queue is bounded in bytes; when
it is full, what comes is let go and counted. At the end of the process the thread gets a short time to finish.

A fork leaves the thread in the parent; the child begins with an empty queue and a thread of its own.
"""

import atexit
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

log = logging.getLogger("tutelage.plugins")
LIMIT_BYTES = 64 << 20
_OVERHEAD = 200
"""About what a parcel costs beside its body, in bytes."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 10.0


class Parcel(NamedTuple):
    """Something to deliver."""

    kind: str
    """Parcels of one kind that follow each other may be delivered together."""
    body: bytes


class Receipt(NamedTuple):
    """What became of a delivery."""

    again: bool = False
    """It did not arrive; try again."""
    after_s: float = 0.0
    """Not before so many seconds."""
    problem: str = ""
    """Why it was refused, or has to be tried again."""
    refused: int = 0
    """So many of the parcels will never be taken."""


Deliver = Callable[[Sequence[Parcel]], Receipt]


@dataclass
class OutboxStats:
    """Counters, in parcels."""

    put: int = 0
    delivered: int = 0
    dropped: int = 0
    """Let go because the queue was full, or because the process ended first."""
    refused: int = 0
    """Not taken by the server."""
    waiting: int = 0
    waiting_bytes: int = 0
    problem: str = ""
    """Why the last delivery failed; empty when it did not."""


class Outbox:
    """Thread-safe. The thread starts with the first parcel."""

    def __init__(
        self,
        deliver: Deliver,
        *,
        limit_bytes: int = LIMIT_BYTES,
        most: int = 200,
        most_bytes: int = 4 << 20,
        exit_s: float = 3.0,
        first_pause_s: float = _FIRST_PAUSE_S,
    ) -> None:
        """`deliver` runs in the thread and must not raise; it gets up to `most` parcels of one kind, some `most_bytes`.

        exit_s: longest wait at the end of the process, in seconds. first_pause_s: pause after a failure; it doubles
        with each further one, up to 10 s.
        """
        self._deliver, self._limit, self._most, self._most_bytes = deliver, limit_bytes, most, most_bytes
        self._exit_s, self._first_pause_s = exit_s, first_pause_s
        self._stats = OutboxStats()
        self._begin()
        _close_at_exit(self)

    def _begin(self) -> None:
        self._process = os.getpid()
        # Protects the queue and the counters; held for a few lines, never while delivering.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._queue: deque[Parcel] = deque()
        self._size = 0
        self._busy = self._closed = self._hurried = False
        self._thread: threading.Thread | None = None

    def put(self, kind: str, body: bytes) -> bool:
        """Queue something; False when there was no room or the outbox is closed, which is counted."""
        if self._process != os.getpid():
            self._begin()
        size = len(body) + _OVERHEAD
        with self._lock:
            if self._closed or self._size + size > self._limit:
                self._stats.dropped += 1
                full = self._stats.dropped == 1
            else:
                self._queue.append(Parcel(kind, body))
                self._size += size
                self._stats.put += 1
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="tutelage-outbox", daemon=True)
                    self._thread.start()
                elif not self._busy:
                    self._changed.notify_all()
                return True
        if full:
            log.warning("Tutelage: what the agent reports is let go, for %d bytes wait already.", self._size)
        return False

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until all is delivered or refused; False when that took longer than `timeout` seconds."""
        with self._lock:
            self._hurried = True
            self._changed.notify_all()
            done = self._changed.wait_for(lambda: not self._queue and not self._busy, timeout)
            self._hurried = False
            return done

    def close(self, timeout: float | None = None) -> bool:
        """Deliver what waits, for at most `timeout` seconds, and take nothing more. False when something was left."""
        done = self.flush(self._exit_s if timeout is None else timeout)
        with self._lock:
            self._closed = True
            self._stats.dropped += len(self._queue)
            left, problem = len(self._queue), self._stats.problem
            self._queue.clear()
            self._size = 0
            self._changed.notify_all()
        if left:
            log.warning("Tutelage: %d reports of the agent were not delivered. %s", left, problem)
        return done

    @property
    def closed(self) -> bool:
        """Whether it takes nothing more."""
        return self._closed

    @property
    def stats(self) -> OutboxStats:
        """The counters now."""
        with self._lock:
            return OutboxStats(
                **{**vars(self._stats), "waiting": len(self._queue), "waiting_bytes": self._size},
            )

    def _run(self) -> None:
        pause = self._first_pause_s
        while (batch := self._next()) is not None:
            receipt = self._deliver(batch)
            if receipt.again:
                self._wait(max(pause, receipt.after_s), receipt.problem)
                pause = min(pause * 2, _LONGEST_PAUSE_S)
            else:
                self._take_off(batch, receipt)
                pause = self._first_pause_s

    def _next(self) -> list[Parcel] | None:
        """The first parcels, which stay in the queue until they are delivered; None at the end."""
        with self._lock:
            self._changed.wait_for(lambda: self._queue or self._closed)
            if self._closed:
                return None
            self._busy = True
            batch: list[Parcel] = []
            size = 0
            for parcel in self._queue:
                size += len(parcel.body)
                if batch and (parcel.kind != batch[0].kind or size > self._most_bytes or len(batch) == self._most):
                    break
                batch.append(parcel)
            return batch

    def _take_off(self, batch: Sequence[Parcel], receipt: Receipt) -> None:
        if receipt.refused and not self._stats.refused:
            log.warning("Tutelage: the server refuses what the agent reports. %s", receipt.problem)
        with self._lock:
            if self._closed:
                # They were counted as dropped when time was up.
                self._stats.dropped -= len(batch)
            for _ in batch if not self._closed else ():
                self._size -= len(self._queue.popleft().body) + _OVERHEAD
            self._stats.refused += receipt.refused
            self._stats.delivered += len(batch) - receipt.refused
            self._stats.problem = receipt.problem
            self._busy = False
            self._changed.notify_all()

    def _wait(self, pause_s: float, problem: str) -> None:
        ends = time.monotonic() + pause_s
        with self._lock:
            if not self._stats.problem:
                log.info("Tutelage: reports of the agent wait. %s", problem)
            self._stats.problem = problem
            # Whoever flushes wants to know soon whether the server is back.
            self._changed.wait_for(lambda: self._closed or self._hurried, max(0.0, ends - time.monotonic()))
            if self._hurried and not self._closed:
                self._changed.wait_for(lambda: self._closed, min(self._first_pause_s, pause_s))
            self._busy = False


def _close_at_exit(outbox: Outbox) -> None:
    """Without keeping the outbox alive until then."""
    known = weakref.ref(outbox)

    def close() -> None:
        found = known()
        if found is not None:
            found.close()

    atexit.register(close)
