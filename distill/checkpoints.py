"""Checkpoints of a training, and how a run that was killed goes on.

A run keeps its checkpoints in its draft folder, under a lock that the kernel drops when the process dies, however it
dies. Beside them stands a fingerprint of all that the weights follow from: base, rows, settings. A later run with the
same fingerprint takes the folder over, unless its owner lives. A checkpoint counts once its mark is written, last.
"""

import fcntl
import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO

import msgspec

from ..traffic.layout import publish
from .options import DistillOptions
from .rows import Row

FOLDER = "checkpoints"
_MARK = "whole"
_BESIDE_THE_POINT = ("data", "admin_url", "threads", "memory_mb", "checkpoint_s", "asked_for")
"""Settings that change no weight. All others count, known here or not: better to begin anew than to go on wrongly."""


def fingerprint(rows: Sequence[Row], base: Path, options: DistillOptions) -> str:
    """SHA-256 over the base, the rows in their order and the settings that shape the weights."""
    digest = hashlib.sha256()
    for path in sorted(base.glob("*.safetensors")):
        digest.update(f"{base.name}/{path.name} {path.stat().st_size}\n".encode())
    # In the types of the settings: 2 epochs are 2.0, whoever wrote them.
    settled = asdict(msgspec.convert(asdict(options), DistillOptions))
    shaping = {name: value for name, value in settled.items() if name not in _BESIDE_THE_POINT}
    digest.update(msgspec.json.encode(shaping, order="deterministic"))
    for row in rows:
        digest.update(json.dumps([row.input_ids, row.labels]).encode())
    return digest.hexdigest()


class Checkpoints:
    """The folder of one training. Only its process writes there, as long as it holds the lock."""

    def __init__(self, folder: Path, lock: IO[bytes] | None = None) -> None:
        """`lock`: held by this process; None in a process whose parent holds it."""
        self.folder = folder
        self._lock = lock

    @classmethod
    def open(cls, folder: Path, mark: str, runs: Path | None = None) -> "Checkpoints":
        """The checkpoints of a training with the fingerprint `mark`.

        Those of a dead run below `runs` with the same mark are moved here; so are this folder's own, if any."""
        if not _is_of(folder, mark):
            shutil.rmtree(folder, ignore_errors=True)
            found = _left_behind(runs, mark) if runs else None
            if found:
                folder.parent.mkdir(parents=True, exist_ok=True)
                found[0].rename(folder)
                return cls(folder, found[1])
            folder.mkdir(parents=True)
            publish(folder / "fingerprint", mark.encode())
        lock = _try_lock(folder)
        if lock is None:
            raise RuntimeError(f"{folder} is in use by another process.")
        return cls(folder, lock)

    def newest(self) -> Path | None:
        """The newest whole checkpoint."""
        whole = [path.parent for path in self.folder.glob(f"checkpoint-*/{_MARK}")]
        return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)

    def mark(self, step: int) -> None:
        """Say that the checkpoint of a step is whole."""
        publish(self.folder / f"checkpoint-{step}" / _MARK, b"")

    def close(self) -> None:
        """Give the lock back; the files stay, for the run may have failed."""
        if self._lock:
            self._lock.close()


def _is_of(folder: Path, mark: str) -> bool:
    path = folder / "fingerprint"
    return path.is_file() and path.read_text() == mark


def _left_behind(runs: Path, mark: str) -> tuple[Path, IO[bytes]] | None:
    for folder in sorted(runs.glob(f"*/draft/{FOLDER}"), reverse=True):
        if _is_of(folder, mark) and (lock := _try_lock(folder)):
            return folder, lock
    return None


def _try_lock(folder: Path) -> IO[bytes] | None:
    file = (folder / "lock").open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file
