"""The call journal: where the data plane puts each call, so that the death of the process cannot take it away.

`append` gives the record to the operating system at once, with one write to the page cache: a few microseconds. All
that may take longer is a thread's: making records durable, at most every 50 ms, and having the next segment ready. When
the disk is in trouble (a write fails or stalls) the writer falls behind: records go to a queue in memory that the
thread writes, until it has caught up. So trouble costs the callers one failed or slow write, not one for each call.

Invariant: the segments of one writer hold the accepted records once each, in order. Reading is in `journal_reader`.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .errors import DataFolderError
from .journal_files import DiskSegment, Opener
from .journal_output import Output, Segment, sync_all
from .journal_reader import Batch, Damage, JournalReader
from .segments import HEAD_BYTES, MAX_PAYLOAD

__all__ = ["Batch", "Damage", "JournalReader", "JournalStats", "JournalWriter", "Sync"]

Sync = Literal["interval", "always", "os"]

# While behind, the thread waits a moment for company: writing each record alone, it would fight with the callers over
# the interpreter.
_GATHER_S = 0.005


@dataclass(frozen=True)
class JournalStats:
    """Counters of one writer, in records since it started."""

    appended: int
    """Taken over by `append`."""
    written: int
    """Given to the operating system: they survive the death of this process."""
    synced: int
    """Made durable: they survive the death of the machine."""
    lost: int
    """Let go because writing fails: an alarm."""
    dropped: int
    """Let go because they came faster than the disk takes them, or after `close`."""
    unsynced: int
    """Written, but making them durable failed."""
    queue_bytes: int
    """Held in memory now."""
    stalls: int
    """Appends that waited for the disk longer than they should; each one made the writer fall `behind`."""
    behind: bool
    """Records go through memory at the moment, because the disk stalled or writing fails: killing the process loses
    those of `queue_bytes`."""
    error: str
    """Why writing fails at the moment; empty when it works."""


class JournalWriter:
    """Appends records for one process. Thread-safe; make it after any fork, and close it at the end."""

    def __init__(
        self,
        folder: Path,
        *,
        sync: Sync = "interval",
        interval_s: float = 0.05,
        segment_bytes: int = 64 << 20,
        queue_bytes: int = 64 << 20,
        retry_s: float = 0.5,
        stall_s: float = 0.1,
        opener: Opener = DiskSegment,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`folder` is the journal shared by all writers. Raises DataFolderError when it cannot be written.

        sync: `interval` makes records durable at most every `interval_s` seconds, `always` as soon as possible, `os`
        leaves it to the system. A segment ends soon after `segment_bytes`. At most `queue_bytes` wait in memory. After
        a failure the next attempt comes `retry_s` seconds later. A write is a stall when it takes longer than
        `stall_s` seconds by `clock`, and as much again for each MiB; for `retry_s` after it, all goes through memory.
        """
        try:
            self._output = Output(folder, segment_bytes, opener)
        except OSError as error:
            raise DataFolderError(
                f"The journal {folder} cannot be written: {error.strerror or error}. "
                "Give it write permission or choose another data folder with --data."
            ) from error
        self._sync, self._interval_s, self._queue_limit = sync, interval_s, queue_bytes
        self._retry_s, self._stall_s, self._clock = retry_s, stall_s, clock
        # One lock, for the queue, the counters, and writing to the segment in `_inline`, which is the one at hand or,
        # while the writer is behind, None. The thread holds it for a few lines at a time and never during I/O.
        # Segments are begun, synced, cut and closed by the thread alone; while behind, it alone writes to them too.
        self._lock = threading.Lock()
        self._wake, self._done = threading.Condition(self._lock), threading.Condition(self._lock)
        self._inline: Segment | None = None
        self._queue: list[bytes] = []
        self._queued = self._appended = self._written = self._settled = 0
        self._synced = self._unsynced = self._reported = self._lost = self._dropped = self._stalls = 0
        self._flush_to, self._error = 0, ""
        self._quiet_at, self._sync_at = clock(), time.monotonic() + interval_s
        self._asleep = self._broken = self._closing = self._over = False
        try:
            self._inline = self._output.ready()
        except OSError as error:
            self._error = str(error)
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    @property
    def stats(self) -> JournalStats:
        """The counters now."""
        with self._lock:
            return JournalStats(
                appended=self._appended,
                written=self._written,
                synced=self._synced,
                lost=self._lost,
                dropped=self._dropped,
                unsynced=self._unsynced,
                queue_bytes=self._queued,
                stalls=self._stalls,
                behind=self._inline is None and not self._closing,
                error=self._error,
            )

    def append(self, payload: bytes) -> bool:
        """Take a record over: it is with the operating system when this returns, or, while `behind`, in memory.

        False when it had to be let go (counted as lost or dropped).
        """
        if not payload:
            raise ValueError("A journal record cannot be empty.")
        with self._lock:
            segment = self._inline
            if segment is None or len(payload) > MAX_PAYLOAD:
                return self._hold(payload)
            began = self._clock()
            try:
                segment.add(payload)
            except OSError as failure:
                return self._fall_behind(failure, payload)
            self._appended += 1
            self._written += 1
            if self._clock() - began > self._stall_s and self._stalled(began, len(payload)):
                self._stalls += 1
                self._inline = None
            if segment.size >= self._output.mark:
                self._turn()
            if self._asleep:
                self._rouse()
        return True

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until all records appended before are written and, unless sync is `os`, durable.

        False when that took longer than `timeout` seconds, or failed for a record since the last `flush`.
        """
        with self._lock:
            goal = self._appended
            self._flush_to = max(self._flush_to, goal)
            self._wake.notify()
            self._done.wait_for(lambda: self._settled >= goal or self._over, timeout)
            failed, self._reported = self._unsynced - self._reported, self._unsynced
            return self._settled >= goal and not failed

    def close(self, timeout: float = 5.0) -> bool:
        """Write what is left and release the folder; False when a record could not be written or made durable."""
        with self._lock:
            self._closing, self._inline = True, None
            self._wake.notify()
        self._thread.join(timeout)
        stats = self.stats
        return not self._thread.is_alive() and stats.written == stats.appended and not stats.unsynced

    # These run in the thread that appends, with the lock.

    def _hold(self, payload: bytes) -> bool:
        """Put a record into the queue if it has room."""
        size = len(payload) + HEAD_BYTES
        if self._closing or len(payload) > MAX_PAYLOAD or self._queued + size > self._queue_limit:
            if self._error:
                self._lost += 1
            else:
                self._dropped += 1
            return False
        self._queue.append(payload)
        self._queued += size
        self._appended += 1
        if len(self._queue) == 1:
            self._rouse()
        return True

    def _fall_behind(self, failure: OSError, payload: bytes) -> bool:
        self._inline, self._broken, self._error = None, True, str(failure)
        self._rouse()
        return self._hold(payload)

    def _turn(self) -> None:
        self._output.turn()
        if self._inline is not None:
            self._inline = self._output.segment
        if self._output.wants_reserve:
            self._rouse()

    def _rouse(self) -> None:
        # Once is enough: what comes until the thread runs finds it awake and costs nothing.
        self._asleep = False
        self._wake.notify()

    def _stalled(self, began: float, size: int) -> bool:
        now = self._clock()
        if now - began <= self._stall_s * (1 + size / (1 << 20)):
            return False
        self._quiet_at = now + self._retry_s
        return True

    # The rest runs in the journal's thread.

    def _run(self) -> None:
        while self._rest():
            self._work()
        self._work()
        self._output.drop()
        with self._lock:
            self._lost += len(self._queue)
            self._queue, self._queued, self._over = [], 0, True
            self._done.notify_all()
        self._output.leave()

    def _rest(self) -> bool:
        """Sleep until there is something to do; False when it is time to end.

        Under traffic this is a wait for the next sync that no append cuts short. Only after a while without any
        record does the thread sleep until it is roused.
        """
        with self._lock:
            self._wake.wait_for(self._urgent, self._pause())
            if not self._busy():
                self._asleep = True
                self._wake.wait_for(self._busy)
                self._asleep = False
                self._sync_at = time.monotonic() + self._interval_s
                self._wake.wait_for(self._urgent, self._pause())
            if self._queue and not self._error:
                self._wake.wait_for(self._hurried, _GATHER_S)
            return not self._closing

    def _busy(self) -> bool:
        return self._settled < self._written or bool(self._error) or self._urgent()

    def _urgent(self) -> bool:
        if self._closing or self._broken:
            return True
        return not self._error and (bool(self._queue) or self._output.wants_reserve or self._hurried())

    def _hurried(self) -> bool:
        return self._closing or self._flush_to > self._settled

    def _pause(self) -> float:
        if self._error:
            return self._retry_s
        return 0.0 if self._sync == "always" else max(0.0, self._sync_at - time.monotonic())

    def _work(self) -> None:
        if self._output.wants_reserve:
            self._make_reserve()
        if self._inline is None:
            self._catch_up()
        if self._sync == "always" or self._hurried() or time.monotonic() >= self._sync_at:
            self._settle()

    def _make_reserve(self) -> None:
        reserve = None
        # Where none can be made, the segment at hand may still take records.
        with suppress(OSError):
            reserve = self._output.begin()
        with self._lock:
            self._output.keep(reserve)

    def _catch_up(self) -> None:
        """Write the queue out. If nothing is left of it and the disk is well, appends are written at once again."""
        with self._lock:
            batch, self._queue = self._queue, []
        if self._broken:
            self._settle()
            self._give_up()
        done, failure, tried = 0, None, False
        while failure is None and (done < len(batch) or (self._output.segment is None and not self._closing)):
            if self._output.full:
                self._output.end()
                self._settle()
            tried, began = True, self._clock()
            count, size, failure = self._output.write(batch, done)
            self._stalled(began, size)
            done += count
            with self._lock:
                self._written += count
                self._queued -= size
        if failure:
            self._settle()
            self._give_up()
        with self._lock:
            self._queue[:0] = batch[done:]
            self._error = str(failure) if failure else ""
            well = tried and not failure and self._clock() >= self._quiet_at
            if well and not self._queue and not self._closing:
                self._inline = self._output.segment

    def _settle(self) -> None:
        """Make all written records durable, as far as the disk and the setting allow it, and close ended segments."""
        with self._lock:
            goal, segment, ended = self._written, self._output.segment, self._output.take_ended()
            self._sync_at = time.monotonic() + self._interval_s
            if goal == self._settled and not ended:
                return
        error = sync_all([*ended, segment] if segment else ended) if self._sync != "os" else ""
        for each in ended:
            each.close()
        gone = segment is not None and not segment.exists()
        with self._lock:
            # One that was ended in the meantime may have been read and deleted already.
            if gone and segment is self._output.segment:
                error = "The segment was deleted while it was written"
            if error:
                # What the system still holds may be gone; nothing more goes into this segment.
                goal = self._written
                self._unsynced += goal - self._settled
                self._inline, self._error = None, error
            elif self._sync != "os":
                self._synced += goal - self._settled
            self._settled = goal
            self._sync_at = time.monotonic() + self._interval_s
            self._done.notify_all()
        if error:
            self._give_up()

    def _give_up(self) -> None:
        """Leave the segment at hand: the next record begins a new one."""
        self._output.drop()
        self._broken = False
