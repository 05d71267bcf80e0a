"""Whether a distillation run is being worked on: a lock in its folder, which the kernel drops when its process dies."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = "lock"


@contextmanager
def alive(folder: Path) -> Iterator[None]:
    """While it lasts, others can tell that the run in `folder` is being worked on."""
    with (folder / LOCK).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            (folder / LOCK).unlink(missing_ok=True)


def is_alive(folder: Path) -> bool:
    """Whether some process works on the run in `folder`."""
    try:
        with (folder / LOCK).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def was_killed(folder: Path) -> bool:
    """Whether a process that worked on the run has died without a word: its lock is there, and nobody holds it."""
    return (folder / LOCK).exists() and not is_alive(folder)
