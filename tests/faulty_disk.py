"""For tests of the journal: a disk whose faults are set by hand, a writer on it, and all that a reader finds."""

import errno
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tutelage.traffic.journal import Damage, JournalReader, JournalWriter
from tutelage.traffic.journal_files import DiskSegment

FULL = OSError(errno.ENOSPC, "No space left on device")
READ_ONLY = OSError(errno.EROFS, "Read-only file system")
FORBIDDEN = OSError(errno.EACCES, "Permission denied")
BROKEN = OSError(errno.EIO, "Input/output error")


class Disk:
    """A disk whose faults can be set, and its clock. Its segments are real files."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.write_s = 0.0
        """What a write takes by the clock."""
        self.room: int | None = None
        """Bytes that can still be written; None without limit."""
        self.no_open: OSError | None = None
        self.no_write: OSError | None = None
        self.no_sync = self.no_truncate = False
        self.gate = threading.Event()
        """Writes wait for it."""
        self.gate.set()
        self.lock = threading.Lock()
        """Protects `room`."""
        self.done: list[tuple[str, str]] = []
        """What was done, and by which thread."""

    def clock(self) -> float:
        return self.now

    def note(self, what: str) -> None:
        self.done.append((what, threading.current_thread().name))

    def count(self, what: str, thread: str = "journal") -> int:
        return self.done.count((what, thread))

    def open(self, path: Path) -> "FaultySegment":
        self.note("open")
        if self.no_open:
            raise self.no_open
        return FaultySegment(self, path)


class FaultySegment:
    def __init__(self, disk: Disk, path: Path) -> None:
        self._disk, self._file = disk, DiskSegment(path)

    def write(self, data: bytes) -> int:
        self._disk.note("write")
        self._disk.gate.wait(20)
        self._disk.now += self._disk.write_s
        if self._disk.no_write:
            raise self._disk.no_write
        with self._disk.lock:
            if self._disk.room is None:
                return self._file.write(data)
            if self._disk.room == 0:
                raise FULL
            done = self._file.write(data[: self._disk.room])
            self._disk.room -= done
            return done

    def sync(self) -> None:
        self._disk.note("sync")
        if self._disk.no_sync:
            raise BROKEN
        self._file.sync()

    def exists(self) -> bool:
        return self._file.exists()

    def truncate(self, size: int) -> None:
        self._disk.note("truncate")
        if self._disk.no_truncate:
            raise BROKEN
        self._file.truncate(size)

    def close(self) -> None:
        self._disk.note("close")
        self._file.close()


def writer_on(disk: Disk, folder: Path, *, retry_s: float = 0.01, segment_bytes: int = 1 << 20) -> JournalWriter:
    """A writer whose queue holds 50 records of 100 bytes."""
    return JournalWriter(
        folder,
        retry_s=retry_s,
        segment_bytes=segment_bytes,
        queue_bytes=112 * 50,
        stall_s=0.02,
        opener=disk.open,
        clock=disk.clock,
    )


def read_all(folder: Path) -> tuple[list[bytes], list[Damage]]:
    reader, positions = JournalReader(folder), dict[str, int]()
    records, damaged = list[bytes](), list[Damage]()
    while (batch := reader.read(positions, 1 << 16)).positions != positions:
        records += batch.records
        damaged += batch.damaged
        positions = batch.positions
    return records, damaged


def eventually(holds: Callable[[], bool], seconds: float = 10.0) -> bool:
    limit = time.monotonic() + seconds
    while not holds() and time.monotonic() < limit:
        time.sleep(0.002)
    return holds()


def numbered(count: int, size: int = 100, start: int = 0) -> list[bytes]:
    return [b"%08d" % number + b"." * (size - 8) for number in range(start, start + count)]
