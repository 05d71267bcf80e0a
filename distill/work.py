"""What a run has at hand and has found out so far, and the times of its stages."""

import errno
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..traffic.errors import BadInput
from ..traffic.layout import DataDir
from .options import DistillOptions
from .progress import Progress, RunLog


@dataclass
class Work:
    """One run."""

    options: DistillOptions
    data: DataDir
    log: RunLog
    notes: list[str] = field(default_factory=list)
    """What a person should know, in sentences; goes into the report."""
    seconds: dict[str, float] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    """Personal values exchanged, by kind."""
    fields: dict[str, dict[str, int]] = field(default_factory=dict)
    """The same by kind and field."""
    curated: dict[str, Any] = field(default_factory=dict)
    """What was chosen: success labels by source, sessions with repairs, sessions set apart."""

    @property
    def draft(self) -> Path:
        """Where the version is made; made when first asked for."""
        folder = self.log.folder / "draft"
        folder.mkdir(exist_ok=True)
        return folder

    @contextmanager
    def stage(self, name: str, message: str) -> Iterator[None]:
        """Time a stage, which may come several times, and report its begin and end."""
        self.log(Progress(name, 0.0, message))
        started = time.perf_counter()
        yield
        spent = time.perf_counter() - started
        self.seconds[name] = round(self.seconds.get(name, 0.0) + spent, 2)
        self.log(Progress(name, 1.0, f"{spent:.1f} s"))


@contextmanager
def explained(data: DataDir) -> Iterator[None]:
    """A full disk, and whatever else the system refuses, in words that say what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise BadInput(
            f"The disk is full ({error.strerror}) while a version was being made in {data.runs}. Nothing was "
            "registered. Make room there, a few times the size of the base model, and start the run again."
        ) from error
