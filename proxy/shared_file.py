"""A small file that several processes map into their memory: what all workers must know at once.

Invariant: processes that open the same path map the same file, whole and of the size asked for. A file of another size
or with another title (an older layout, a truncated copy) is replaced under a lock, never changed in place: a process
that has mapped the old one goes on with it instead of losing the ground under its feet.

The file is filled with real bytes when it is made. A sparse one would need disk space at the first write to a page, and
a full disk would then kill the worker with SIGBUS. Where no file can be made, the memory belongs to this process alone:
the worker serves, and knows only what it has seen itself.
"""

import fcntl
import logging
import mmap
import os
import secrets
from pathlib import Path

HEAD_BYTES = 64
"""The title comes first; the data begins here."""

log = logging.getLogger("tutelage.proxy")


class SharedFile:
    """`memory` is the mapped data, zero at first; `descriptor` is open for record locks, -1 when nothing is shared."""

    def __init__(self, path: Path | None, title: str, data_bytes: int) -> None:
        """`title` (at most 64 ASCII letters) names the layout of the data; without a path nothing is shared."""
        self.descriptor = -1
        size = HEAD_BYTES + data_bytes
        head = title.encode("ascii").ljust(HEAD_BYTES, b"\0")
        if path is not None:
            try:
                self.descriptor = _open(path, head, size)
            except OSError as error:
                log.warning("%s cannot be shared by the workers: %s. Each counts for itself.", path, error)
        self._map = mmap.mmap(self.descriptor, size)
        self.memory = memoryview(self._map)[HEAD_BYTES:]

    @property
    def shared(self) -> bool:
        """Whether other processes see the same data."""
        return self.descriptor >= 0

    def close(self) -> None:
        """Unmap it. Views that were cast from `memory` must have been released. Safe to repeat."""
        self.memory.release()
        self._map.close()
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def _open(path: Path, head: bytes, size: int) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            # One process at a time looks and replaces; whoever waited looks at what the path means now.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_at(path, descriptor):
                if os.fstat(descriptor).st_size == size and os.pread(descriptor, len(head), 0) == head:
                    fcntl.flock(descriptor, fcntl.LOCK_UN)
                    return descriptor
                _replace(path, head, size)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether the open file still is the one that the path names."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _replace(path: Path, head: bytes, size: int) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(head)
            file.write(bytes(size - len(head)))
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
