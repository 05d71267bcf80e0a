"""What one call costs the worker, and where: measured from outside, part by part in this process, and by a profiler.

From outside: CPU time of the worker's process, and of each of its threads, over a run of wrk. Part by part: the data
plane's own functions on the benchmark's call, in a loop; what is left over is HTTP with the agent, headers, and the
event loop. The profiler is py-spy, where it is installed.
"""

import asyncio
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import uvloop

from tutelage.proxy.decide import decide
from tutelage.proxy.identify import call_facts, names_in
from tutelage.proxy.key_rates import KeyRates
from tutelage.proxy.keys import KeyRing
from tutelage.proxy.routes import RouteReader
from tutelage.proxy.upstream import Timeouts
from tutelage.proxy.upstream_http1 import Http1Upstream
from tutelage.traffic.canonical import loads
from tutelage.traffic.journal import JournalWriter
from tutelage.traffic.layout import DataDir
from tutelage.traffic.patterns import RegistryReader, facts_of
from tutelage.traffic.records import CallRecord, encode, new_call_id

from .proxy_gateways import Gateway
from .proxy_mock import answer, request_body
from .proxy_rates import CONNECTIONS
from .proxy_site import Site, known_pattern
from .report import Bar

Raw = dict[str, Any]
_HEADERS = {"content-type": "application/json", "authorization": "Bearer sk-bench"}


def cost(site: Site) -> tuple[list[Bar], Raw]:
    """The table of what a call costs, in microseconds of CPU time. There is no bar for it."""
    seconds = 2 if site.quick else 8
    with site.data_plane() as own:
        site.wrk(own, CONNECTIONS, 1)
        whole, threads = _from_outside(site, own, seconds)
        profile = _profile(site, own, seconds)
    parts = _parts(site.folder, site.mock.base() + "/chat/completions", 200 if site.quick else 2_000)
    parts["HTTP with the agent, headers, event loop (the rest)"] = whole - sum(parts.values())
    return [], {"worker_us": whole, "parts_us": parts, "threads_us": threads, "profile": profile}


def _from_outside(site: Site, own: Gateway, seconds: float) -> tuple[float, dict[str, float]]:
    """CPU time per call of the worker, and of its threads by name."""
    worker = own.worker()
    before, busy = _threads(worker), sum(worker.cpu_times()[:2])
    calls = max(1, site.wrk(own, CONNECTIONS, seconds).good)
    spent = sum(worker.cpu_times()[:2]) - busy
    threads = {name: (used - before.get(name, 0)) / calls * 1e6 for name, used in _threads(worker).items()}
    return spent / calls * 1e6, threads


def _threads(worker: psutil.Process) -> dict[str, float]:
    """CPU seconds by name of thread."""
    found: dict[str, float] = defaultdict(float)
    for thread in worker.threads():
        try:
            name = Path(f"/proc/{worker.pid}/task/{thread.id}/comm").read_text().strip()
        except FileNotFoundError:
            continue
        found[name] += thread.user_time + thread.system_time
    return found


def _parts(folder: Path, teacher: str, count: int) -> dict[str, float]:
    """CPU time of each part for one call, measured in this process with the data plane's own functions."""
    home = Path(tempfile.mkdtemp(prefix="cost-", dir=folder))
    data = known_pattern(home)
    body, keys = request_body(), KeyRing(data.keys, KeyRates(data.rates), data.read_secret())
    registry, routes = RegistryReader(data.patterns), RouteReader(data.routes)
    parsed: dict[str, Any] = loads(body)

    def identify() -> Any:
        facts = call_facts(names_in(_HEADERS), parsed, len(body), keys.admit(_HEADERS, time.time()).caller)
        shape = facts_of(parsed)
        return facts, registry.current().identify(shape) if shape is not None else None

    facts, match = identify()
    if match is None:
        raise RuntimeError("The benchmark's own call belongs to no pattern: the registry was not filled.")
    parts = {
        "parse": _loop(lambda: loads(body), count),
        "identify": _loop(identify, count),
        "decide": _loop(lambda: decide(facts, match, routes.current(), lambda: True), count),
        "forward": _forward(teacher, body, count),
        "record and journal": _journal(data, body, match.pattern_id, facts.session, count),
    }
    shutil.rmtree(home)
    return parts


def _loop(work: Callable[[], object], count: int) -> float:
    """Microseconds of this process's CPU time for one round: median of five batches."""

    def batch() -> float:
        began = time.process_time()
        for _ in range(count):
            work()
        return (time.process_time() - began) / count * 1e6

    return statistics.median(batch() for _ in range(5))


def _forward(teacher: str, body: bytes, count: int) -> float:
    """The way to the mock and back with the data plane's client, the kernel's share included."""

    async def call(upstream: Http1Upstream) -> None:
        reply = await upstream.send("POST", teacher, list(_HEADERS.items()), body, whole=True)
        while await reply.piece() is not None:
            pass
        await reply.close()

    async def work() -> float:
        upstream = Http1Upstream(Timeouts())
        batches: list[float] = []
        for _ in range(6):
            began = time.process_time()
            await _sixteen_at_a_time(lambda: call(upstream), count)
            batches.append((time.process_time() - began) / count * 1e6)
        await upstream.close()
        return statistics.median(batches[1:])  # The first opens the connections.

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work())


async def _sixteen_at_a_time(call: Callable[[], Awaitable[None]], count: int) -> None:
    async def some(number: int) -> None:
        for _ in range(number):
            await call()

    each, more = divmod(count, CONNECTIONS)
    await asyncio.gather(*(some(each + (number < more)) for number in range(CONNECTIONS)))


def _journal(data: DataDir, body: bytes, pattern: str, session: str, count: int) -> float:
    """Making the record and appending it, the journal's own thread included."""
    journal = JournalWriter(data.journal)

    def append() -> None:
        now = time.time()
        record = CallRecord(
            call_id=new_call_id(now),
            started_at=now,
            caller="0123456789abcdef",
            reason="state:shadow",
            pattern=pattern,
            session=session,
            status=200,
            latency_ms=1.0,
            request=body,
            response=answer(),
            response_type="application/json",
        )
        journal.append(encode(record))

    try:
        return _loop(append, count)
    finally:
        journal.close()


def _profile(site: Site, own: Gateway, seconds: float) -> Raw:
    """Where the worker's Python threads were, sampled while wrk loads it; a note where py-spy is missing."""
    tool = shutil.which("py-spy") or shutil.which("py-spy", path=str(Path(sys.executable).parent))
    if tool is None:
        return {"note": "py-spy is not installed (pip install py-spy)"}
    file = site.folder / "profile.txt"
    command = [tool, "record", "--pid", str(own.worker().pid), "--duration", str(round(seconds)), "--rate", "250"]
    sampler = subprocess.Popen(
        [*command, "--format", "raw", "--output", str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    # Longer than the sampler needs to start and to finish: it is to see nothing but work.
    site.wrk(own, CONNECTIONS, seconds + 2)
    said = sampler.communicate(timeout=60)[1].decode()
    if sampler.returncode or not file.exists():
        return {"note": f"py-spy could not look: {said.strip()[-300:]}"}
    return top_of(file.read_text())


def top_of(folded: str, lines: int = 25) -> Raw:
    """Shares of samples by function, alone and with what it calls, from stacks in py-spy's raw form."""
    alone: Counter[str] = Counter()
    within: Counter[str] = Counter()
    for line in folded.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [_function(frame) for frame in stack.split(";")]
        alone[frames[-1]] += int(count)
        for frame in set(frames):
            within[frame] += int(count)
    total = max(1, alone.total())
    return {
        "samples": alone.total(),
        "alone": {name: round(count / total, 4) for name, count in alone.most_common(lines)},
        "with_callees": {name: round(count / total, 4) for name, count in within.most_common(lines)},
    }


def _function(frame: str) -> str:
    """`name (path/file.py:12)` → `name (path/file.py)`."""
    name, bracket, place = frame.rpartition(" (")
    if not (bracket and ":" in place):
        return frame or "(no Python)"
    return f"{name} ({place.rstrip(')').rpartition(':')[0]})"
