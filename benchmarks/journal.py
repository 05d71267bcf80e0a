"""How fast is the journal alone? Writing and reading records of 4 KiB, on one core.

    python -m benchmarks.journal [--quick] [--seed N] [--json FILE]

The writer's thread and the feeding loop share one core, as they do in a worker of the data plane. Time runs until
`flush` returns, so the last record is durable (with `os`: written). Appends that find the queue full are tried again
and counted as stalls. The journal lies in a temporary folder (TMPDIR chooses the disk).
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit code."""
    run = start("journal", __doc__, arguments)
    payloads = _payloads(run.seed)
    cores = _use_one_core()
    rounds = 2 if run.quick else 5
    raw: dict[str, Any] = {"record_bytes": RECORD_BYTES, "pinned_to_one_core": cores}
    raw |= {sync: [] for sync in get_args(Sync)}
    _round("os", payloads, 2_000)  # The first round of a process is slower; it does not count.
    for _ in range(rounds):
        for sync in get_args(Sync):
            raw[sync].append(_round(sync, payloads, 10_000 if run.quick else 50_000))
    raw["paced"] = _paced(payloads, 1_000 if run.quick else 5_000)
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
        at_most("append at 2,000/s, median", raw["paced"]["p50_us"], "µs", 50),
        at_most("append at 2,000/s, p99", raw["paced"]["p99_us"], "µs", 500),
    ]


def _median(results: list[dict[str, Any]], key: str) -> float:
    return statistics.median(result[key] for result in results)


def _payloads(seed: int) -> list[bytes]:
    chance = random.Random(seed)
    return [chance.randbytes(RECORD_BYTES) for _ in range(64)]


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
        began, stalls = time.perf_counter(), 0
        for number in range(count):
            while not writer.append(payloads[number % len(payloads)]):
                stalls += 1
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
        "stalls": stalls,
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


def _paced(payloads: list[bytes], count: int) -> dict[str, Any]:
    """What one append costs the caller at a pace of about 2,000 records a second."""
    folder = Path(tempfile.mkdtemp(prefix="tutelage-journal-"))
    taken: list[float] = []
    try:
        writer = JournalWriter(folder)
        for number in range(count):
            began = time.perf_counter()
            writer.append(payloads[number % len(payloads)])
            taken.append((time.perf_counter() - began) * 1e6)
            time.sleep(0.0005)
        writer.close()
    finally:
        shutil.rmtree(folder)
    return {
        "records": count,
        "p50_us": round(percentile(taken, 0.5), 2),
        "p99_us": round(percentile(taken, 0.99), 2),
        "max_us": round(max(taken), 2),
    }


if __name__ == "__main__":
    sys.exit(main())
