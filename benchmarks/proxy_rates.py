"""Calls per second, latency of one call at a time, latency at a steady rate, and memory: the proxy and its peers."""

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import psutil

from .proxy_gateways import PEERS, Gateway, Peer, awake, direct, start
from .proxy_load import Sent, open_loop, parse_reply, run_precisely, schedule
from .proxy_mock import NotInstalled, free_port, request_body
from .proxy_site import OWN, Site
from .proxy_wrk import WrkResult
from .report import Bar, at_least, at_most, percentile

CONNECTIONS = 16
PER_S = 500
SHARED = 0.1
"""Above this share of their core taken by others, the figures of gateways are doubtful."""
AIM_MS = 0.5
"""What one call alone should at most take longer through the proxy; an aim beside the bar."""
Raw = dict[str, Any]


def rates(site: Site) -> tuple[list[Bar], Raw]:
    """Calls per second with 16 connections, and the median of one call at a time; rounds interleaved."""
    rounds = 1 if site.quick else 3
    results: dict[str, list[Raw]] = {}
    with site.data_plane() as own, _peers(site, PEERS) as others:
        ways = [direct(site.mock.base()), own, *others]
        for way in ways:
            way.pause()
        for _ in range(rounds):
            for way in ways:
                with awake(way):
                    results.setdefault(way.name, []).append(_rate(site, way))
        commands = {way.name: " ".join(way.command) for way in ways}
    # With the direct way the core is free for others; it is of no matter then.
    shared = max(each["core_busy_with_others"] for way in ways[1:] for each in results[way.name])
    if shared > SHARED:
        site.say(f"Other programs took up to {shared:.0%} of the gateways' core: measure again on a quiet machine.")
    raw: Raw = {"rounds": results, "commands": commands, "connections": CONNECTIONS, "summary": summary(results)}
    return rate_bars(raw["summary"], site.notes), raw


@contextmanager
def _peers(site: Site, peers: Sequence[Peer], path: str = "") -> Iterator[list[Gateway]]:
    """The peers that are installed and start; the others are noted."""
    with ExitStack() as stack:
        running: list[Gateway] = []
        for peer in peers:
            folder = site.new_folder()
            try:
                plan = peer.plan(site.peers / peer.home, folder, site.mock.base(path), free_port())
                gateway = start(peer.name, plan, folder, site.gateway_core)
            except (NotInstalled, RuntimeError) as error:
                site.say(f"{peer.name} was not measured, its bars were not checked: {error}")
                continue
            stack.callback(gateway.stop)
            gateway.pause()
            running.append(gateway)
        yield running


def _rate(site: Site, way: Gateway) -> Raw:
    seconds = 2 if site.quick else 6
    site.wrk(way, CONNECTIONS, 1 if site.quick else 2)
    busy, core, began = _cpu_s(way), _core_s(site), time.perf_counter()
    many = site.wrk(way, CONNECTIONS, seconds)
    busy, core, took = _cpu_s(way) - busy, _core_s(site) - core, time.perf_counter() - began
    alone = site.wrk(way, 1, seconds)
    for result in (many, alone):
        if result.bad:
            site.say(f"{way.name}: {result.bad} of {result.requests} answers were errors.")
    return {
        "per_s": _good_per_s(many),
        "p50_ms": many.p50_ms,
        "p99_ms": many.p99_ms,
        "alone_p50_ms": alone.p50_ms,
        "alone_p99_ms": alone.p99_ms,
        "core_busy_with_others": max(0.0, core - busy) / took,
        "cpu_us_per_call": busy / many.good * 1e6 if many.good else None,
        "worker_mb": _megabytes(way) if way.process is not None else None,
        "bad": many.bad + alone.bad,
    }


def _good_per_s(result: WrkResult) -> float:
    return result.per_s * result.good / result.requests if result.requests else 0.0


def _core_s(site: Site) -> float:
    """CPU seconds that the gateways' core has spent on anything."""
    times = psutil.cpu_times(percpu=True)[site.gateway_core]
    return times.user + times.nice + times.system + times.irq + times.softirq + times.steal


def _cpu_s(way: Gateway) -> float:
    """CPU seconds of the gateway with all its processes."""
    if way.process is None:
        return 0.0
    top = psutil.Process(way.process.pid)
    return sum(sum(process.cpu_times()[:2]) for process in [top, *top.children(recursive=True)])


def summary(results: dict[str, list[Raw]]) -> dict[str, Raw]:
    """Medians over the rounds; what is added is the difference to the direct way in the same round."""
    found: dict[str, Raw] = {}
    for name, rounds in results.items():
        added = [
            mine["alone_p50_ms"] - theirs["alone_p50_ms"]
            for mine, theirs in zip(rounds, results["direct"], strict=True)
        ]
        found[name] = {
            key: statistics.median(each[key] for each in rounds)
            for key in ("per_s", "p50_ms", "p99_ms", "alone_p50_ms", "alone_p99_ms")
        }
        found[name] |= {"alone_added_ms": statistics.median(added), "bad": sum(each["bad"] for each in rounds)}
        for key in ("cpu_us_per_call", "worker_mb"):
            known = [each[key] for each in rounds if each[key]]
            found[name][key] = statistics.median(known) if known else None
    return found


def rate_bars(found: dict[str, Raw], notes: list[str]) -> list[Bar]:
    """The bars of this part; those of peers that were not measured are left out, which a note says."""
    own = found[OWN]
    bars = [
        at_least(f"calls/s beside {peer.name} ({peer.note})", own["per_s"] / found[peer.name]["per_s"], "×", peer.times)
        for peer in PEERS
        if peer.times is not None and peer.name in found and found[peer.name]["per_s"] > 0
    ]
    added = own["alone_added_ms"]
    if "TensorZero" in found:
        theirs = found["TensorZero"]["alone_added_ms"]
        bars.append(Bar("p50 added to one call alone", added, "ms", f"< {theirs:.3g} (TensorZero)", added < theirs))
    notes.append(f"p50 added to one call alone is {added:.3g} ms; the aim of {AIM_MS:g} ms is {_reached(added)}.")
    return [*bars, at_most("calls answered with errors", own["bad"], "calls", 0)]


def _reached(added: float) -> str:
    return "reached" if added <= AIM_MS else "missed"


def steady(site: Site) -> tuple[list[Bar], Raw]:
    """What is added to calls that come at 500 a second, whatever becomes of them, to a teacher that takes 50 ms."""
    rounds, seconds = (1, 4) if site.quick else (3, 20)
    results: dict[str, list[Raw]] = {}
    fast = [peer for peer in PEERS if peer.name == "TensorZero"]
    with site.data_plane("/slow") as own, _peers(site, fast, "/slow") as others:
        ways = [direct(site.mock.base("/slow")), own, *others]
        own.pause()
        for number in range(rounds):
            due = schedule(PER_S, seconds, site.seed + number)
            for way in ways:
                with awake(way):
                    warm = run_precisely(open_loop(way, request_body(way.model), schedule(100, 1, site.seed)))
                    began, busy = time.perf_counter(), time.process_time()
                    calls = run_precisely(open_loop(way, request_body(way.model), due))
                    share = (time.process_time() - busy) / (time.perf_counter() - began)
                site.count(way, [*warm, *calls])
                results.setdefault(way.name, []).append({**timings(calls), "generator_cpu_share": share})
    return _steady_bars(results), {"per_s": PER_S, "teacher_ms": 50, "rounds": results}


def timings(calls: Sequence[Sent]) -> Raw:
    """Latency of the answered calls from when they were due, and how late the generator was in sending them."""
    good = [call for call in calls if call.done and parse_reply(call.raw).status == 200]
    latency, late = [call.latency_ms for call in good], [(call.sent - call.due) * 1000 for call in good]
    result: Raw = {"calls": len(calls), "failed": len(calls) - len(good)}
    for share, name in ((0.5, "p50"), (0.99, "p99"), (0.999, "p999")):
        result[f"{name}_ms"] = percentile(latency, share) if good else float("inf")
        result[f"late_{name}_ms"] = percentile(late, share) if good else float("inf")
    return result


def _steady_bars(results: dict[str, list[Raw]]) -> list[Bar]:
    added = [mine["p99_ms"] - theirs["p99_ms"] for mine, theirs in zip(results[OWN], results["direct"], strict=True)]
    failed = sum(each["failed"] for each in results[OWN])
    late = statistics.median(each["late_p99_ms"] for each in results["direct"])
    return [
        at_most(f"p99 added at {PER_S} calls/s, teacher of 50 ms", statistics.median(added), "ms", 5),
        at_most(f"calls unanswered at {PER_S} calls/s", failed, "calls", 0),
        at_most("lateness of the load generator itself, p99", late, "ms", 1),
    ]


def memory(site: Site) -> tuple[list[Bar], Raw]:
    """Resident memory of the worker at the start, in the middle and at the end of many calls."""
    wanted = 10_000 if site.quick else 200_000
    with site.data_plane() as own:
        calls = site.wrk(own, CONNECTIONS, 1).good
        worker, done, points = own.worker(), 0, [_megabytes(own)]
        while done < wanted:
            done += site.wrk(own, CONNECTIONS, 1 if site.quick else 5).good
            time.sleep(0.5)  # What waits for the disk is written.
            if len(points) == 1 and done >= wanted / 2:
                points.append(_megabytes(own))
        points.append(_megabytes(own))
        status = own.get("/tutelage/health")
        raw: Raw = {
            "calls": done,
            "calls_before_start": calls,
            "start_mb": points[0],
            "middle_mb": points[1],
            "end_mb": points[2],
            "peak_mb": _peak_megabytes(worker.pid),
            "journal": status["journal"],
        }
    growth = (raw["end_mb"] / raw["middle_mb"] - 1) * 100
    return [
        at_most(f"worker's memory in {wanted:,} calls, largest", max(points), "MB", 120),
        at_most("growth of it from the middle to the end", growth, "%", 3),
    ], raw


def _megabytes(own: Gateway) -> float:
    return own.worker().memory_info().rss / 1e6


def _peak_megabytes(pid: int) -> float:
    with open(f"/proc/{pid}/status") as file:
        found = [line for line in file if line.startswith("VmHWM")]
    return int(found[0].split()[1]) * 1024 / 1e6
