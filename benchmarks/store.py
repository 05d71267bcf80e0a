"""How fast does the store take calls in, and how small does it keep them? On recorded agent runs, on one core.

    python -m benchmarks.store [--data DIR] [--into FILE] [--quick] [--seed N] [--json FILE]

The runs are interleaved, 50 agents at a time, as calls that the data plane would have written down: the whole
conversation in each request, answers in OpenAI's wire form, session keys, no trajectory ids. Ingest gets encoded
records in batches of 2,000, with the recogniser of patterns switched on. Rates are per CPU second of the one core that
the process is pinned to, the best of the rounds, so that a busy machine does not pass for a slow program; the seconds
on the wall are among the raw results. `streamed` is the same traffic with answers as event streams; `in_turn` and
`in_bursts` are one round each with the agents in a fixed order, and with most calls following one of the same agent.

`--into` names a store that has many calls already, such as `benchmarks.store_queries --folder` leaves: the same traffic
is also taken into a copy of it, set after set, opened and closed for each.

Sizes are what the database file has grown by after a checkpoint, beside the same bodies as JSON lines, as gzip'd JSON
lines (level 6), and the same records in a DuckDB file with one row a call.
"""

import argparse
import gzip
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from tutelage.proxy.identify import session_key
from tutelage.proxy.recorded import RecordedCall, RecordedTrajectory, read_recorded
from tutelage.traffic.discovery import Discovery
from tutelage.traffic.ingest import Ingest
from tutelage.traffic.patterns import Registry
from tutelage.traffic.records import CallRecord, encode, new_call_id
from tutelage.traffic.sse import frames_of
from tutelage.traffic.store import Store

from .report import ROOT, Bar, at_least, at_most, finish, start

SETS = ("tau", "agentdojo", "ha_assist")
AGENTS = 50
BATCH = 2_000
ROUNDS = 9
RATE = 15_000
SHARE = 0.15


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit code."""
    own = argparse.ArgumentParser(add_help=False)
    own.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "dev")
    own.add_argument("--into", type=Path)
    options, others = own.parse_known_args(arguments)
    run = start("store", __doc__, others)
    if not all((options.data / f"{name}.jsonl.gz").exists() for name in SETS):
        print(f"Expected {', '.join(SETS)} (.jsonl.gz) in {options.data}; name their folder with --data.")
        return 2
    raw: dict[str, Any] = {"agents": AGENTS, "batch": BATCH, "pinned_to_one_core": _use_one_core()}
    bars: list[Bar] = []
    with _copy(options.into) as grown:
        for name in SETS:
            raw[name] = _measure(options.data / f"{name}.jsonl.gz", run.quick, run.seed, grown)
            bars += _bars(name, raw[name])
    return finish(run, bars, raw, ["duckdb", "msgspec", "pyarrow"])


@contextmanager
def _copy(store: Path | None) -> Iterator[Path | None]:
    """A copy of a store in a folder of its own, beside it, for as long as the block takes."""
    if store is None:
        yield None
        return
    with tempfile.TemporaryDirectory(dir=store.parent) as folder:
        yield Path(shutil.copy(store, folder))


def _use_one_core() -> bool:
    if not hasattr(os, "sched_setaffinity"):
        return False
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    return True


def _bars(name: str, found: dict[str, Any]) -> list[Bar]:
    share = found["store_bytes"] / found["json_bytes"]
    return [
        at_least(f"{name}: taken in", found["calls_per_cpu_s"], "calls/s", RATE),
        at_most(f"{name}: bytes, of JSON lines", round(share, 4), "", SHARE),
        at_most(f"{name}: bytes, of one row a call", round(found["store_bytes"] / found["rows_bytes"], 4), "", 0.9999),
        at_most(f"{name}: calls missing or doubled", found["wrong"], "calls", 0),
    ]


def _measure(path: Path, quick: bool, seed: int, grown: Path | None) -> dict[str, Any]:
    runs = list(islice(read_recorded(path), 60 if quick else None))
    random.Random(seed).shuffle(runs)
    records = list(_interleaved(runs, random.Random(seed), _at_random))
    payloads = [encode(record) for record in records]
    streamed = [encode(record) for record in map(_streamed, records)]
    folder = Path(tempfile.mkdtemp(prefix="tutelage-store-"))
    try:
        _ingest(folder / "warm.duckdb", payloads[:BATCH])  # The first batch of a process is slower; it does not count.
        rounds = [_ingest(folder / f"{number}.duckdb", payloads) for number in range(1 if quick else ROUNDS)]
        return {
            "calls": len(records),
            "calls_per_cpu_s": round(len(records) / min(cpu for cpu, *_ in rounds)),
            "calls_per_wall_s": [round(len(records) / wall) for _, wall, *_ in rounds],
            "streamed_per_cpu_s": round(len(records) / _ingest(folder / "streamed.duckdb", streamed)[0]),
            **{
                f"{order.__name__.strip('_')}_per_cpu_s": _rate(folder, list(_interleaved(runs, chance, order)))
                for order, chance in ((_in_turn, random.Random(seed)), (_in_bursts, random.Random(seed)))
            },
            "store_bytes": rounds[0][2],
            "wrong": abs(rounds[0][3] - len(records)),
            "rows_bytes": _rows(folder / "rows.duckdb", records),
            **_lines(records),
            **({} if grown is None else {"into": _into(grown, payloads)}),
        }
    finally:
        shutil.rmtree(folder)


def _rate(folder: Path, records: Sequence[CallRecord]) -> int:
    with tempfile.TemporaryDirectory(dir=folder) as name:
        return round(len(records) / _ingest(Path(name) / "x.duckdb", [encode(record) for record in records])[0])


Order = Callable[[int, int, random.Random], int]
"""The next agent's place, by the number of agents and the place of the one before."""


def _at_random(agents: int, before: int, chance: random.Random) -> int:
    return chance.randrange(agents)


def _in_turn(agents: int, before: int, chance: random.Random) -> int:
    return (before + 1) % agents


def _in_bursts(agents: int, before: int, chance: random.Random) -> int:
    return before % agents if chance.random() < 0.8 else chance.randrange(agents)


def _interleaved(runs: Sequence[RecordedTrajectory], chance: random.Random, order: Order) -> Iterator[CallRecord]:
    """The calls of all runs, AGENTS of them at a time, 20 calls a second."""
    waiting = iter(runs)
    active = [(run, iter(run.calls)) for run in islice(waiting, AGENTS)]
    at, place = 1_800_000_000.0, 0
    while active:
        place = order(len(active), place, chance)
        run, calls = active[place]
        call = next(calls, None)
        if call is None:
            following = next(waiting, None)
            active[place : place + 1] = [] if following is None else [(following, iter(following.calls))]
            continue
        at += 0.05
        yield _record(run, call, at)


def _record(run: RecordedTrajectory, call: RecordedCall, at: float) -> CallRecord:
    recorded = run.request(call)
    request: dict[str, Any] = {"model": recorded["model"], "messages": recorded["messages"], "temperature": 0}
    if "tools" in recorded:
        request["tools"] = recorded["tools"]
    answer = run.answer(call)
    choice = {
        "index": 0,
        "message": {**answer, "refusal": None, "annotations": []},
        "logprobs": None,
        "finish_reason": "tool_calls" if answer.get("tool_calls") else "stop",
    }
    prompt, completion = call.usage or (0, 0)
    details = {"prompt_tokens_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0}}
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion, **details}
    call_id = new_call_id(at)
    response = {
        **{"id": f"chatcmpl-{call_id}", "object": "chat.completion", "created": int(at), "model": run.teacher},
        **{"choices": [choice], "usage": usage, "service_tier": "default", "system_fingerprint": "fp_1"},
    }
    return CallRecord(
        call_id=call_id,
        started_at=at,
        caller="00112233445566778",
        session=session_key("00112233445566778", "", request),
        status=200,
        reason="unknown_pattern",
        latency_ms=call.latency_ms or 900.0,
        request=json.dumps(request, ensure_ascii=False, separators=(",", ":")).encode(),
        response=json.dumps(response, ensure_ascii=False, separators=(",", ":")).encode(),
        response_type="application/json",
        request_id=f"req_{call_id}",
    )


def _streamed(record: CallRecord) -> CallRecord:
    stream = b"".join(frames_of(json.loads(record.response), include_usage=True))
    fields = {name: getattr(record, name) for name in record.__struct_fields__}
    return CallRecord(**fields | {"response": stream, "response_type": "text/event-stream", "stream": True})


def _ingest(path: Path, payloads: Sequence[bytes]) -> tuple[float, float, int, int]:
    """Seconds of CPU and on the wall, bytes on disk, and calls in the store."""
    with Store(path) as store:
        store.execute("SET threads = 1")
        empty = _size(store)
        ingest = Ingest(store, Discovery(Registry()))
        cpu, wall = time.process_time(), time.perf_counter()
        for start_at in range(0, len(payloads), BATCH):
            ingest.apply(payloads[start_at : start_at + BATCH], {"writer/1": start_at})
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        calls = store.value("SELECT count(DISTINCT call_id) FROM calls WHERE response_id IS NOT NULL")
        return cpu, wall, _size(store) - empty, calls


def _into(path: Path, payloads: Sequence[bytes]) -> dict[str, float]:
    """The rate at which a store that holds much takes calls in; the time to fold its log into the file is apart."""
    with Store(path) as store:
        store.execute("SET threads = 1")
        before = store.value("SELECT count(*) FROM calls")
        ingest = Ingest(store, Discovery(Registry()))
        cpu = time.process_time()
        for start_at in range(0, len(payloads), BATCH):
            ingest.apply(payloads[start_at : start_at + BATCH], {"writer/1": start_at})
        cpu = time.process_time() - cpu
        folded = time.perf_counter()
        store.checkpoint()
        rate = round(len(payloads) / cpu)
        return {"calls_before": before, "calls_per_cpu_s": rate, "folded_in_s": time.perf_counter() - folded}


def _rows(path: Path, records: Sequence[CallRecord]) -> int:
    """Bytes of a DuckDB file with one row a call and all that is known about it."""
    with Store(path) as store:
        empty = _size(store)
        for start_at in range(0, len(records), BATCH):
            part = records[start_at : start_at + BATCH]
            columns = {name: [getattr(record, name) for record in part] for name in CallRecord.__struct_fields__}
            columns |= {name: [body.decode() for body in columns[name]] for name in ("request", "response")}
            batch = pa.table(columns)
            if not start_at:
                store.bulk(
                    "CREATE TABLE plain AS SELECT CAST(call_id AS UUID) AS call_id, * EXCLUDE call_id FROM batch", batch
                )
            else:
                store.bulk("INSERT INTO plain SELECT CAST(call_id AS UUID), * EXCLUDE call_id FROM batch", batch)
        return _size(store) - empty


def _size(store: Store) -> int:
    store.checkpoint()
    return store.bytes_on_disk()


def _lines(records: Sequence[CallRecord]) -> dict[str, int]:
    """Bytes as JSON lines, plain and gzip'd."""
    size = packed = 0
    # In parts: a gzip file may have several members, and a window of 32 KB does not reach further anyway.
    for start_at in range(0, len(records), BATCH):
        lines = b"".join(
            b'{"request":%s,"response":%s}\n' % (record.request, record.response)
            for record in records[start_at : start_at + BATCH]
        )
        size, packed = size + len(lines), packed + len(gzip.compress(lines, 6))
    return {"json_bytes": size, "gzip_bytes": packed}


if __name__ == "__main__":
    sys.exit(main())
