"""The journal on disk: folders of writers, who of them lives, and the segments one of them fills.

    JOURNAL/WRITER/lock                 flock held as long as the writer lives
    JOURNAL/WRITER/SERIAL-RANDOM.seg    see `segments`

Invariant: a writer ends a segment before it begins the next one, so only the last one of a living writer can grow.
"""

import errno
import fcntl
import os
import secrets
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol

from .segments import HEAD_BYTES, HEADER, frame, marker_of, segment_name

_WRITE_BYTES = 1 << 20
"""About as much goes to the system in one write."""


class SegmentFile(Protocol):
    """A segment being written. Every method may raise OSError; the writer copes."""

    def write(self, data: bytes) -> int:
        """Append some of `data` (at least one byte); how many bytes."""
        ...

    def sync(self) -> None: ...

    def truncate(self, size: int) -> None: ...

    def close(self) -> None: ...


Opener = Callable[[Path], SegmentFile]


class DiskSegment:
    """A segment file of the file system, readable by its owner alone: it holds what agents said."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        _sync_folder(path.parent)

    def write(self, data: bytes) -> int:
        return os.write(self._file, data)

    def sync(self) -> None:
        if os.fstat(self._file).st_nlink == 0:
            raise FileNotFoundError(errno.ENOENT, "The segment was deleted while it was written")
        getattr(os, "fdatasync", os.fsync)(self._file)

    def truncate(self, size: int) -> None:
        os.ftruncate(self._file, size)

    def close(self) -> None:
        os.close(self._file)


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class Home:
    """The folder of one writer. Its lock is released by the operating system, however the process ends."""

    def __init__(self, journal: Path) -> None:
        name = f"{time.time_ns() // 1_000_000:012x}-{os.getpid()}-{secrets.token_hex(3)}"
        # Made under a hidden name and locked before it appears: no reader can ever take it for a dead writer's.
        draft = journal / f".{name}"
        draft.mkdir(parents=True, mode=0o700)
        self._lock = os.open(draft / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.path = draft.rename(journal / name)

    def leave(self) -> None:
        """Release the folder, and remove it when there is no segment in it."""
        try:
            if segments_in(self.path) == []:
                remove_home(self.path)
        finally:
            os.close(self._lock)


def homes(journal: Path) -> list[Path]:
    """The folders of all writers, oldest first."""
    try:
        return sorted(path for path in journal.iterdir() if path.is_dir() and not path.name.startswith("."))
    except FileNotFoundError:
        return []


def segments_in(home: Path) -> list[Path]:
    """The segments of one writer, oldest first."""
    try:
        return sorted(path for path in home.iterdir() if path.suffix == ".seg")
    except FileNotFoundError:
        return []


def is_alive(home: Path) -> bool:
    """Whether the writer of this folder still lives."""
    try:
        lock = os.open(home / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def remove_home(home: Path) -> None:
    """Remove a writer's folder that holds no segments any more; one that holds something else stays."""
    try:
        (home / "lock").unlink(missing_ok=True)
        home.rmdir()
    except OSError:
        return


def _write_all(file: SegmentFile, data: bytes) -> tuple[int, OSError | None]:
    """Write until all is out or the system refuses; how many bytes are out, and the refusal."""
    done = 0
    while done < len(data):
        try:
            done += file.write(data[done:] if done else data)
        except OSError as error:
            return done, error
    return done, None


class Written(NamedTuple):
    """How many records of a group are in the segment, and why not the others."""

    records: int
    error: OSError | None


class Output:
    """The segments that one writer fills, one after the other. Used by one thread."""

    def __init__(self, journal: Path, segment_bytes: int, opener: Opener) -> None:
        self._journal, self._segment_bytes, self._opener = journal, segment_bytes, opener
        self._home = Home(journal)
        self._serial = 0
        self._file: SegmentFile | None = None
        self._path = self._home.path
        self._marker = b""
        self._size = 0

    @property
    def full(self) -> bool:
        """The segment is to be ended before the next write."""
        return self._file is not None and self._size >= self._segment_bytes

    def write(self, payloads: Sequence[bytes], start: int) -> Written:
        """Write a group of payloads from index `start` on, as many as fit; after an error the segment is done for."""
        try:
            file = self._file or self._begin_segment()
        except OSError as error:
            return Written(0, error)
        parts: list[bytes] = []
        ends = [0]
        room = min(_WRITE_BYTES, self._segment_bytes - self._size)
        for payload in payloads[start:]:
            if ends[-1] >= room and parts:
                break
            parts += (frame(self._marker, payload), payload)
            ends.append(ends[-1] + HEAD_BYTES + len(payload))
        size, error = _write_all(file, b"".join(parts))
        # Records that went out whole are a reader's already: written again elsewhere, they would be there twice.
        count = bisect_right(ends, size) - 1
        self._size += ends[count]
        return Written(count, error)

    def _begin_segment(self) -> SegmentFile:
        if not self._home.path.is_dir():
            # Somebody cleared the journal under us.
            home = Home(self._journal)
            self._home.leave()
            self._home = home
        self._serial += 1
        self._path = self._home.path / segment_name(self._serial)
        self._marker, self._size = marker_of(self._path.name), 0
        self._file = self._opener(self._path)
        size, error = _write_all(self._file, HEADER)
        if error:
            raise error
        self._size = size
        return self._file

    def sync(self) -> None:
        """Make what was written durable. Raises OSError."""
        if self._file is not None:
            self._file.sync()

    def end_segment(self) -> None:
        """Close the segment; the next write begins a new one."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                file.close()

    def abandon(self) -> None:
        """Leave a segment that cannot be written, cut back to its last whole record if that is possible."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                file.truncate(self._size)
            with suppress(OSError):
                file.close()
        if self._size <= len(HEADER):
            # On a full disk every attempt would leave an empty file behind.
            with suppress(OSError):
                self._path.unlink()

    def leave(self) -> None:
        """End the segment and release the folder."""
        self.end_segment()
        with suppress(OSError):
            self._home.leave()
