"""What the data plane's workers have counted, on its way to the control plane without touching a request.

Each worker has a small file in the data folder's `workers/`, mapped into its memory: once a second it writes its
report there, which is a copy in memory and no system call. The control plane reads the files when it is asked for
metrics. A report has its length and CRC before it: one that is caught half written is read again.

A worker's counters begin at 0 when it starts and vanish with it, but a counter of Prometheus must not fall. So `Totals`
adds up what is new since it last looked, worker by worker, and forgets a worker once its file has fallen silent.
"""

import os
import time
import zlib
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from .shared_file import HEAD_BYTES, SharedFile

OVERHEAD_STEPS_S = (50e-6, 100e-6, 200e-6, 300e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 25e-3, 100e-3, 1.0)
"""Upper edges of the steps in which a worker counts its own part of the time, in seconds; a last one has no edge."""
REPORT_BYTES = 16_384
_FRAME_BYTES = 8
_FILES = "[0-9]*-*.bin"
SILENT_S = 60.0
"""A file that has not been written for so long, and whose process is gone, is removed."""
SUMMED = ("appended", "dropped", "lost", "unsynced", "stalls", "retries")
"""Fields of a report that only grow."""


class Report(msgspec.Struct, kw_only=True):
    """What one worker says. Counts since it started; the rest as it is now."""

    at: float
    """When it was written, Unix seconds."""
    pid: int
    appended: int = 0
    dropped: int = 0
    lost: int = 0
    unsynced: int = 0
    """These four are records; see `traffic.journal.JournalStats`."""
    stalls: int = 0
    retries: int = 0
    waiting: int = 0
    """Records in memory that are not written yet."""
    waiting_bytes: int = 0
    in_flight: int = 0
    """Calls in progress."""
    table_serial: int = 0
    """Of the route table that it goes by."""
    breakers: dict[str, dict[str, Any]] = {}
    """Reports of `breaker.Breaker`, by upstream."""
    overhead: dict[str, list[float]] = {}
    """By route: calls in each step of `OVERHEAD_STEPS_S`, one more for the rest, and the sum in seconds."""


class Overhead:
    """Counts how long calls spend in this worker itself."""

    def __init__(self) -> None:
        self.steps: dict[str, list[float]] = {}
        """As in `Report`."""

    def note(self, route: str, seconds: float) -> None:
        """One call."""
        steps = self.steps.get(route)
        if steps is None:
            steps = self.steps[route] = [0.0] * (len(OVERHEAD_STEPS_S) + 2)
        steps[bisect_left(OVERHEAD_STEPS_S, seconds)] += 1
        steps[-1] += seconds


class Noticeboard:
    """The file of one worker. Where none can be made, nothing is shown and the worker works all the same."""

    def __init__(self, folder: Path) -> None:
        path = folder / f"{os.getpid()}-{time.time_ns()}.bin"
        self._file = SharedFile(path, "tutelage worker 1", REPORT_BYTES)

    def show(self, report: Report) -> None:
        """Replace what is shown. A report that is too long goes without its breakers."""
        content = msgspec.json.encode(report)
        if len(content) > REPORT_BYTES - _FRAME_BYTES:
            content = msgspec.json.encode(msgspec.structs.replace(report, breakers={}))
        frame = zlib.crc32(content).to_bytes(4, "little") + len(content).to_bytes(4, "little")
        self._file.memory[: _FRAME_BYTES + len(content)] = frame + content

    def close(self) -> None:
        """Leave the file to the control plane, which may not have read the end yet."""
        self._file.close()


def read_report(path: Path, tries: int = 3) -> Report | None:
    """The report in a worker's file; None before the first, or when it cannot be read."""
    for _ in range(tries):
        try:
            found = path.read_bytes()[HEAD_BYTES:]
        except OSError:
            return None
        length = int.from_bytes(found[4:_FRAME_BYTES], "little")
        content = found[_FRAME_BYTES : _FRAME_BYTES + length]
        if length and zlib.crc32(content).to_bytes(4, "little") == found[:4]:
            try:
                return msgspec.json.decode(content, type=Report)
            except msgspec.DecodeError:  # of another version of the program
                return None
    return None


def reports_in(folder: Path) -> list[Report]:
    """What all workers say whose files are there, those included that have ended of late."""
    found = (read_report(path) for path in sorted(folder.glob(_FILES)))
    return [report for report in found if report is not None]


def is_alive(pid: int) -> bool:
    """Whether a process of this machine has that id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


@dataclass
class Totals:
    """Sums over all workers that there were. `read` from one thread at a time."""

    folder: Path
    clock: Callable[[], float] = time.time
    alive: Callable[[int], bool] = is_alive
    reports: list[Report] = field(default_factory=list)
    """Of the workers that speak now."""
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SUMMED, 0))
    overhead: dict[str, list[float]] = field(default_factory=dict)
    """As in `Report`."""
    opened: dict[str, int] = field(default_factory=dict)
    """How often the breaker of an upstream has opened."""
    _seen: dict[Path, Report] = field(default_factory=dict)

    def read(self) -> None:
        """Take in what is new in the files, and remove those of workers that are gone."""
        self.reports = []
        for path in sorted(self.folder.glob(_FILES)):
            report = read_report(path)
            if report is not None:
                self._add(report, self._seen.get(path))
                self._seen[path] = report
            silent = abs(self.clock() - (report.at if report else _written(path))) > SILENT_S
            pid = path.stem.partition("-")[0]
            if silent and not (pid.isdigit() and self.alive(int(pid))):
                path.unlink(missing_ok=True)
                self._seen.pop(path, None)
            elif report is not None and not silent:
                self.reports.append(report)

    def open_breakers(self) -> dict[str, int]:
        """By upstream: workers that let no calls, or only a trial, through to it."""
        found: dict[str, int] = {}
        for report in self.reports:
            for name, breaker in report.breakers.items():
                found[name] = found.get(name, 0) + (breaker.get("state") != "closed")
        return found

    def _add(self, report: Report, before: Report | None) -> None:
        for name in SUMMED:
            self.counts[name] += getattr(report, name) - (getattr(before, name) if before else 0)
        for route, steps in report.overhead.items():
            known = before.overhead.get(route) if before else None
            sums = self.overhead.setdefault(route, [0.0] * len(steps))
            for index, new in enumerate(_since(steps, known)):
                sums[index] += new
        for name, breaker in report.breakers.items():
            known = before.breakers.get(name, {}).get("opened", 0) if before else 0
            self.opened[name] = self.opened.get(name, 0) + breaker.get("opened", 0) - known


def _since(steps: list[float], before: list[float] | None) -> Iterator[float]:
    for new, old in zip(steps, before or [0.0] * len(steps), strict=True):
        yield new - old


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
