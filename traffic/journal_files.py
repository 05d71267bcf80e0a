"""The journal on disk: folders of writers, who of them lives, and their files.

    JOURNAL/WRITER/lock                 flock held as long as the writer lives
    JOURNAL/WRITER/SERIAL-RANDOM.seg    see `segments`

Invariant: once a record stands in a segment, nothing is added to an earlier one. A living writer may keep an empty
segment ready behind the one it fills; so the last one, and the one before an empty last one, can grow.
"""

import fcntl
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol


class SegmentFile(Protocol):
    """A segment being written. Every method may raise OSError; the writer copes."""

    def write(self, data: bytes) -> int:
        """Append some of `data` (at least one byte); how many bytes."""
        ...

    def sync(self) -> None: ...

    def exists(self) -> bool:
        """Whether the file still has a name: what is written to a deleted one is lost with it."""
        ...

    def truncate(self, size: int) -> None: ...

    def close(self) -> None: ...


Opener = Callable[[Path], SegmentFile]


class DiskSegment:
    """A segment file of the file system, readable by its owner alone: it holds what agents said."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            _sync_folder(path.parent)
        except OSError:
            os.close(self._file)
            raise

    def write(self, data: bytes) -> int:
        return os.write(self._file, data)

    def sync(self) -> None:
        getattr(os, "fdatasync", os.fsync)(self._file)

    def exists(self) -> bool:
        return os.fstat(self._file).st_nlink > 0

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
        try:
            self._lock = os.open(draft / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            draft.rmdir()
            raise
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
