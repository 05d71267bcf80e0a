"""One owner per data folder: an advisory lock on `DATA/control.lock`, with the owner's address inside.

The kernel drops the lock when its process dies, however it dies, so a lock file on disk never means anything by
itself: only the attempt to take it does.
"""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec

from ..traffic.errors import DataFolderError, DataFolderLocked
from ..traffic.layout import DataDir

_PROCESSES = Path("/proc")


@dataclass(frozen=True)
class Owner:
    """Who holds the lock."""

    pid: int = 0
    url: str = ""
    """Address of its admin API; empty when it serves none (a command that opened the store for a moment)."""
    parent: int = 0
    """Process that started it."""


class ControlLock:
    """The held lock. Take it with `acquire`, give it back with `release` or by leaving the `with` block."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    @classmethod
    def acquire(cls, data: DataDir, url: str = "") -> "ControlLock":
        """Take the lock. Raises DataFolderLocked, naming the owner, when another process has it."""
        try:
            # Opened without truncation: the content belongs to the owner until the lock is ours.
            file = os.fdopen(os.open(data.lock, os.O_RDWR | os.O_CREAT, 0o644), "r+b")
        except OSError as error:
            raise DataFolderError(f"{data.lock} cannot be opened: {error.strerror}. Check its rights.") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            owner = read_owner(data)
            where = f" at {owner.url}" if owner.url else ""
            raise DataFolderLocked(
                f"The data folder {data.root} is in use by process {owner.pid or 'unknown'}{where}. "
                "Use that one, stop it, or choose another folder with --data."
            ) from error
        file.truncate(0)
        file.write(msgspec.json.encode({"pid": os.getpid(), "url": url, "parent": os.getppid()}))
        file.flush()
        return cls(file)

    def release(self) -> None:
        """Give the lock back. Safe to repeat."""
        if not self._file.closed:
            self._file.seek(0)
            self._file.truncate(0)
            self._file.close()

    def __enter__(self) -> "ControlLock":
        return self

    def __exit__(self, *_: Any) -> None:
        self.release()


def read_owner(data: DataDir) -> Owner:
    """What the lock file says; an empty Owner when it says nothing readable. Does not tell whether it still lives."""
    try:
        return msgspec.json.decode(data.lock.read_bytes(), type=Owner)
    except (OSError, msgspec.DecodeError):
        return Owner()


def is_ending(owner: Owner) -> bool:
    """Whether who holds, or held, the lock will soon be gone: it is giving it back, or has outlived the `serve` that
    started it and has been told to stop (`parents`). Where there is no /proc nobody is known to be ending."""
    if not owner.pid:
        return True
    if not _PROCESSES.is_dir():
        return False
    try:
        status = (_PROCESSES / str(owner.pid) / "status").read_text()
    except OSError:
        return True
    [parent] = (int(line.split()[1]) for line in status.splitlines() if line.startswith("PPid:"))
    return bool(owner.parent) and parent != owner.parent
