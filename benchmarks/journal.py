"""How fast is the journal alone? Writing and reading records of 4 KiB, and what one append costs, on one core.

    python -m benchmarks.journal [--quick] [--seed N] [--json FILE]

The writer's thread and the feeding loop share one core, as they do in a worker of the data plane. Time runs until
`flush` returns, so the last record is durable (with `os`: written). Appends that are refused, because the disk stalled
and the queue is full, are tried again and counted. Then single appends of 5,000 bytes are timed, back to back and at
about 2,000 a second; with `always` the writer's thread syncs the disk all the while. The journal lies in a temporary
folder (TMPDIR chooses the disk).
"""

import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from tutelage.traffic.journal import JournalReader, JournalWriter, Sync

from .report import Bar, at_least, at_most, finish, percentile, start

RECORD_BYTES = 4096
CALL_BYTES = 5000
"""About the record of an agent's call with a body of 2.8 KB."""
_TIMED: tuple[tuple[str, Sync, float], ...] = (
    ("back to back", "interval", 0.0),
    ("back to back, syncing", "always", 0.0),
    ("at 2,000/s", "interval", 0.0005),
    ("at 2,000/s, syncing", "always", 0.0005),
)
"""Name, sync and seconds of sleep between appends."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit code."""
    run = start("journal", __doc__, arguments)
    payloads = _payloads(run.seed, RECORD_BYTES)
    cores = _use_one_core()
    rounds = 2 if run.quick else 5
    raw: dict[str, Any] = {"record_bytes": RECORD_BYTES, "pinned_to_one_core": cores}
    raw |= {sync: [] for sync in get_args(Sync)}
    _round("os", payloads, 2_000)  # The first round of a process is slower; it does not count.
    for _ in range(rounds):
        for sync in get_args(Sync):
            raw[sync].append(_round(sync, payloads, 10_000 if run.quick else 50_000))
    payloads = _payloads(run.seed, CALL_BYTES)
    for name, sync, pause_s in _TIMED:
        raw[name] = _timed(payloads, 1_000 if run.quick else 10_000, sync, pause_s)
    return finish(run, _bars(raw), raw, ["msgspec"])


def _bars(raw: dict[str, Any]) -> list[Bar]:
    every = [result for sync in get_args(Sync) for result in raw[sync]]
    return [
        *(
            at_least(f"written, sync={sync}", _median(raw[sync], "written_per_s"), "records/s", 20_000)
            for sync in get_args(Sync)
        ),
        at_least("read", statistics.median(result["read_per_s"] for result in every), "records/s", 20_000),
        at_most("records missing or changed", sum(result["wrong"] for result in every), "records", 0),
        *(at_most(f"append {name}, median", raw[name]["p50_us"], "µs", 50) for name, _, _ in _TIMED),
        *(at_most(f"append {name}, p99", raw[name]["p99_us"], "µs", 500) for name, _, _ in _TIMED),
    ]


def _median(results: list[dict[str, Any]], key: str) -> float:
    return statistics.median(result[key] for result in results)


def _payloads(seed: int, size: int) -> list[bytes]:
    chance = random.Random(seed)
    return [chance.randbytes(size) for _ in range(64)]


def _use_one_core() -> bool:
    if not hasattr(os, "sched_setaffinity"):
        return False
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    return True


def _round(sync: Sync, payloads: list[bytes], count: int) -> dict[str, Any]:
    """Write `count` records as fast as they go, and read them back."""
    folder = Path(tempfile.mkdtemp(prefix="tutelage-journal-"))
    try:
        writer = JournalWriter(folder, sync=sync)
        began, refused = time.perf_counter(), 0
        for number in range(count):
            while not writer.append(payloads[number % len(payloads)]):
                refused += 1
                time.sleep(0.001)
        flushed = writer.flush(120)
        write_s = time.perf_counter() - began
        began = time.perf_counter()
        wrong = _read(folder, payloads, count)
        read_s = time.perf_counter() - began
        writer.close()
    finally:
        shutil.rmtree(folder)
    return {
        "written_per_s": round(count / write_s) if flushed else 0,
        "read_per_s": round(count / read_s),
        "refused": refused,
        "stalls": writer.stats.stalls,
        "wrong": wrong,
    }


def _read(folder: Path, payloads: list[bytes], count: int) -> int:
    """Read everything; how many records are missing, changed or too many."""
    reader, positions = JournalReader(folder), dict[str, int]()
    number = wrong = 0
    while (batch := reader.read(positions)).records:
        for record in batch.records:
            wrong += record != payloads[number % len(payloads)]
            number += 1
        positions = batch.positions
    return wrong + abs(count - number)


def _timed(payloads: list[bytes], count: int, sync: Sync, pause_s: float) -> dict[str, Any]:
    """What one append costs its caller."""
    folder = Path(tempfile.mkdtemp(prefix="tutelage-journal-"))
    taken: list[float] = []
    try:
        writer = JournalWriter(folder, sync=sync)
        for number in range(count):
            began = time.perf_counter()
            writer.append(payloads[number % len(payloads)])
            taken.append((time.perf_counter() - began) * 1e6)
            if pause_s:
                time.sleep(pause_s)
        writer.close()
    finally:
        shutil.rmtree(folder)
    return {
        "records": count,
        "record_bytes": len(payloads[0]),
        "p50_us": round(percentile(taken, 0.5), 2),
        "p99_us": round(percentile(taken, 0.99), 2),
        "max_us": round(max(taken), 2),
        "stalls": writer.stats.stalls,
        "dropped": writer.stats.dropped,
    }


if __name__ == "__main__":
    sys.exit(main())
