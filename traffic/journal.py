"""The call journal: where the data plane puts each call, without ever waiting for a disk.

`append` hands the record to a thread that writes in groups and makes them durable at most every 50 ms. A call is never
held up: when the disk fails or is full, records wait in memory up to a limit; what does not fit is let go and counted.
The thread tries again on a new segment until it works.

Invariant: the segments of one writer hold the accepted records once each, in order. Reading is in `journal_reader`.
"""

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .errors import DataFolderError
from .journal_files import DiskSegment, Opener, Output
from .journal_reader import Batch, Damage, JournalReader
from .segments import HEAD_BYTES, MAX_PAYLOAD

__all__ = ["Batch", "Damage", "JournalReader", "JournalStats", "JournalWriter", "Sync"]

Sync = Literal["interval", "always", "os"]

# Waiting a moment for company makes groups: without it, each append would wake the thread and the two would fight
# over the interpreter. A group of this size is written at once.
_GATHER_S = 0.005
_GATHER_BYTES = 1 << 20


@dataclass(frozen=True)
class JournalStats:
    """Counters of one writer, in records since it started."""

    appended: int
    """Accepted by `append`."""
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
        opener: Opener = DiskSegment,
    ) -> None:
        """`folder` is the journal shared by all writers. Raises DataFolderError when it cannot be written.

        sync: `interval` makes records durable at most every `interval_s` seconds, `always` after each group, `os`
        leaves it to the system. A segment ends at about `segment_bytes`. At most `queue_bytes` wait in memory. After
        a failure the next attempt comes `retry_s` seconds later.
        """
        try:
            self._output = Output(folder, segment_bytes, opener)
        except OSError as error:
            raise DataFolderError(
                f"The journal {folder} cannot be written: {error.strerror or error}. "
                "Give it write permission or choose another data folder with --data."
            ) from error
        self._sync, self._interval_s, self._queue_limit, self._retry_s = sync, interval_s, queue_bytes, retry_s
        # One lock for the queue and the counters, held for a few lines at a time and never during I/O.
        lock = threading.Lock()
        self._work, self._done = threading.Condition(lock), threading.Condition(lock)
        self._queue: list[bytes] = []
        self._queued = self._appended = self._written = self._settled = 0
        self._synced = self._unsynced = self._reported = self._lost = self._dropped = 0
        self._flush_to, self._last_sync, self._error = 0, -interval_s, ""
        self._idle = self._closing = self._ended = False
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    @property
    def stats(self) -> JournalStats:
        """The counters now."""
        with self._work:
            return JournalStats(
                appended=self._appended,
                written=self._written,
                synced=self._synced,
                lost=self._lost,
                dropped=self._dropped,
                unsynced=self._unsynced,
                queue_bytes=self._queued,
                error=self._error,
            )

    def append(self, payload: bytes) -> bool:
        """Take a record over; False when it had to be let go (counted as lost or dropped). Never waits for a disk."""
        if not payload:
            raise ValueError("A journal record cannot be empty.")
        size = len(payload) + HEAD_BYTES
        with self._work:
            if self._closing or size > MAX_PAYLOAD or self._queued + size > self._queue_limit:
                if self._error:
                    self._lost += 1
                else:
                    self._dropped += 1
                return False
            self._queue.append(payload)
            self._queued += size
            self._appended += 1
            if self._idle or self._queued >= _GATHER_BYTES:
                self._work.notify()
        return True

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until all records appended before are written and, unless sync is `os`, durable.

        False when that took longer than `timeout` seconds, or failed for a record since the last `flush`.
        """
        with self._work:
            goal = self._appended
            self._flush_to = max(self._flush_to, goal)
            self._work.notify()
            self._done.wait_for(lambda: self._settled >= goal or self._ended, timeout)
            failed, self._reported = self._unsynced - self._reported, self._unsynced
            return self._settled >= goal and not failed

    def close(self, timeout: float = 5.0) -> bool:
        """Write what is left and release the folder; False when a record could not be written or made durable."""
        with self._work:
            self._closing = True
            self._work.notify()
        self._thread.join(timeout)
        stats = self.stats
        return not self._thread.is_alive() and stats.written == stats.appended and not stats.unsynced

    # The rest runs in the writing thread.

    def _run(self) -> None:
        while self._wait_for_work():
            self._commit()
        self._commit()
        with self._work:
            self._lost += len(self._queue)
            self._queue, self._queued, self._ended = [], 0, True
            self._done.notify_all()
        self._output.leave()

    def _wait_for_work(self) -> bool:
        """Sleep until there is something to write or to sync; False when it is time to end."""
        with self._work:
            if self._error:
                self._work.wait_for(lambda: self._closing, self._retry_s)
            elif not self._queue and not self._hurried():
                self._idle = True
                self._work.wait_for(lambda: self._queue or self._hurried(), self._until_sync())
                self._idle = False
            if not self._error and self._queue:
                self._work.wait_for(lambda: self._hurried() or self._queued >= _GATHER_BYTES, _GATHER_S)
            return not self._closing

    def _hurried(self) -> bool:
        return self._closing or self._flush_to > self._settled

    def _until_sync(self) -> float | None:
        """Seconds until written records are to be made durable; None when all are."""
        if self._settled == self._written:
            return None
        return max(0.0, self._last_sync + self._interval_s - time.monotonic())

    def _commit(self) -> None:
        with self._work:
            batch, self._queue = self._queue, []
        if batch:
            self._write(batch)
        if self._settled < self._written and self._sync_due():
            self._make_durable()

    def _write(self, batch: list[bytes]) -> None:
        done, error = 0, ""
        while done < len(batch) and not error:
            if self._output.full:
                self._make_durable()
                self._output.end_segment()
            count, failure = self._output.write(batch, done)
            with self._work:
                self._written += count
                self._queued -= sum(map(len, batch[done : done + count])) + count * HEAD_BYTES
            done += count
            error = str(failure) if failure else ""
        if error:
            self._make_durable()
            self._output.abandon()
        with self._work:
            self._queue[:0] = batch[done:]
            self._error = error

    def _sync_due(self) -> bool:
        return self._sync != "interval" or self._hurried() or self._until_sync() == 0

    def _make_durable(self) -> None:
        """Settle all written records: durable if the disk and the setting allow it."""
        error = ""
        if self._sync != "os":
            self._last_sync = time.monotonic()
            try:
                self._output.sync()
            except OSError as failure:
                # What the system still holds may be gone; nothing more goes into this segment.
                error = str(failure)
                self._output.abandon()
        with self._work:
            count = self._written - self._settled
            self._settled = self._written
            if error:
                self._unsynced += count
                self._error = error
            elif self._sync != "os":
                self._synced += count
            self._done.notify_all()
