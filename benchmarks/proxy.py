"""The data plane beside its peers: speed, delay, streams, memory, and whether every answered call is in the log.

    python -m benchmarks.proxy [--quick] [--parts rates,steady,streams,memory,cost] [--peers DIR] [--json FILE]
    python -m benchmarks.proxy --install-peers [--peers DIR]

Gateways run one after the other on one core; the mock teacher (nginx) and the load share another. The data plane runs
as it is shipped, with body logging on; peers that can log have it switched off, except rllm. A peer that is not
installed or does not start is named, and its bars are left out. What each figure means: docs/benchmarks.md.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from . import report
from .proxy_cost import cost
from .proxy_gateways import PEERS, direct
from .proxy_log import LogCheck
from .proxy_mock import NotInstalled, check_programs, program, start_mock
from .proxy_rates import memory, rates, steady
from .proxy_site import OWN, Site, allow_many_connections, log_check, two_cores
from .proxy_streams import alone, together
from .report import ROOT, Bar, at_most, finish, start

Part = Callable[[Site], tuple[list[Bar], dict[str, Any]]]
STREAMS = 500


def streams(site: Site) -> tuple[list[Bar], dict[str, Any]]:
    """Streams one at a time beside the direct way, then 500 together, at a steady pace and as fast as they come."""
    rounds, each = (1, 10) if site.quick else (5, 40)
    raw: dict[str, Any] = {}
    with site.data_plane("/stream") as own:
        raw["alone"], calls = alone(own, direct(site.mock.base("/stream")), rounds, each)
        site.count(own, calls)
        raw["together_100_per_s"] = [_together(site, own, usage) for usage in (False, True)]
    with site.data_plane("/many") as own:
        raw["together_10_per_s_direct"] = together(direct(site.mock.base("/many")), STREAMS, usage=True)[0]
        raw["together_10_per_s"] = [_together(site, own, usage) for usage in (False, True)]
    wrong = sum(run["wrong"] for name in ("together_100_per_s", "together_10_per_s") for run in raw[name])
    one = raw["alone"]
    return [
        at_most("first chunk of a stream delayed, median", one["first_added_ms"], "ms", 1),
        at_most("change of the gaps between chunks, median, largest", one["largest_gap_shift_ms"], "ms", 1),
        at_most("chunks merged with the one before, beyond direct", one["merged_share_beyond_direct"], "share", 0.001),
        at_most(f"streams not as sent, {STREAMS} at once, four times", wrong, "streams", 0),
    ], raw


def _together(site: Site, own: Any, usage: bool) -> dict[str, Any]:
    result, calls = together(own, STREAMS, usage)
    site.count(own, calls)
    return result


PARTS: dict[str, Part] = {"rates": rates, "steady": steady, "streams": streams, "memory": memory, "cost": cost}


def log_bars(log: LogCheck) -> list[Bar]:
    """Every answered call is in the log, once, as it went over the wire."""
    return [
        at_most(f"of {log.acknowledged:,} answered calls, missing in the log", log.unlogged, "calls", 0),
        at_most("calls in the log more than once, or that nobody made", log.duplicates + log.unexplained, "calls", 0),
        at_most("logged bodies that are not what went over the wire", log.bodies_wrong, "calls", 0),
    ]


def measure(site: Site, parts: Sequence[str]) -> tuple[list[Bar], dict[str, Any]]:
    """Run the parts; all bars and raw figures."""
    bars: list[Bar] = []
    raw: dict[str, Any] = {}
    for name in parts:
        print(f"{name} …", file=sys.stderr, flush=True)
        found, raw[name] = PARTS[name](site)
        bars += found
    log = site.log
    counted = ("acknowledged", "cut_off", "logged", "duplicates", "bodies_wrong", "damaged", "missing_ids")
    raw["log"] = {name: getattr(log, name) for name in counted} | {"recognised": log.recognised}
    return [*bars, *log_bars(log)], raw


def install(peers: Path) -> int:
    """Install all peers; 1 when one could not be."""
    failed = 0
    for peer in PEERS:
        print(f"{peer.name}: {peer.package} {peer.version} …", file=sys.stderr, flush=True)
        try:
            peer.install(peers)
        except (NotInstalled, OSError, subprocess.CalledProcessError) as error:
            failed += 1
            print(f"{peer.name} could not be installed: {error}", file=sys.stderr)
    return 1 if failed else 0


def surroundings(site: Site) -> dict[str, Any]:
    """Versions and the machine, as far as the figures depend on them."""
    said = {}
    for name in ("wrk", "nginx"):
        done = subprocess.run([program(name), "-v"], capture_output=True, text=True)
        said[name] = (done.stdout + done.stderr).splitlines()[0]
    return {
        "programs": said,
        "peers": {peer.name: peer.installed(site.peers) or "not installed" for peer in PEERS},
        "cores": {"gateways": site.gateway_core, "mock_and_load": site.load_core},
        "load_average_at_start": os.getloadavg(),
    }


def rate_table(found: dict[str, dict[str, Any]], installed: dict[str, str]) -> str:
    """The gateways side by side, in Markdown."""
    lines = ["| gateway | calls/s | ×, ours beside it | p50 alone, added (ms) | CPU per call (µs) | worker (MB) |"]
    lines.append("|---|---|---|---|---|---|")
    for name, row in found.items():
        beside = f"{found[OWN]['per_s'] / row['per_s']:.1f}" if row["per_s"] else "–"
        delay = f"{row['alone_p50_ms']:.2f}, {row['alone_added_ms']:.2f}"
        more = " | ".join("–" if row[key] is None else f"{row[key]:,.0f}" for key in ("cpu_us_per_call", "worker_mb"))
        title = f"{name} {installed.get(name, '')}".strip()
        lines.append(f"| {title} | {row['per_s']:,.0f} | {beside} | {delay} | {more} |")
    return "\n".join(lines)


def cost_table(parts: dict[str, float], whole: float) -> str:
    """What one call costs, in Markdown."""
    lines = ["| part | CPU time (µs) | share |", "|---|---|---|"]
    for name, us in [*parts.items(), ("all of the worker", whole)]:
        lines.append(f"| {name} | {us:.1f} | {us / whole:.0%} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Install or measure; 2 when something needed is missing."""
    own = argparse.ArgumentParser(add_help=False)
    own.add_argument("--peers", type=Path, default=ROOT / "artefacts" / "peers")
    own.add_argument("--install-peers", action="store_true")
    own.add_argument("--parts", default=",".join(PARTS))
    options, others = own.parse_known_args(arguments)
    peers, parts = options.peers.resolve(), [part for part in options.parts.split(",") if part]
    if options.install_peers:
        return install(peers)
    run = start("proxy", __doc__, others)
    unknown = set(parts) - set(PARTS)
    if unknown or not parts:
        print(f"--parts takes some of {', '.join(PARTS)}; got {options.parts!r}.", file=sys.stderr)
        return 2
    try:
        check_programs()
        gateway_core, load_core = two_cores()
    except (NotInstalled, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 2
    # Ended from outside, it still stops what it has started, some of which may be frozen.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.sched_setaffinity(0, {load_core})
    allow_many_connections()
    with tempfile.TemporaryDirectory(prefix="tutelage-proxy-") as folder:
        mock = start_mock(Path(folder))
        try:
            site = Site(Path(folder), mock, gateway_core, load_core, peers, run.quick, run.seed, log_check())
            around = surroundings(site)
            bars, raw = measure(site, parts)
        finally:
            mock.stop()
    return _tell(run, bars, {**raw, **around, "notes": site.notes})


def _tell(run: report.Run, bars: list[Bar], raw: dict[str, Any]) -> int:
    if "rates" in raw:
        print(rate_table(raw["rates"]["summary"], raw["peers"]))
    if "cost" in raw:
        print(cost_table(raw["cost"]["parts_us"], raw["cost"]["worker_us"]))
    for note in raw["notes"]:
        print(f"note: {note}", file=sys.stderr)
    return finish(run, bars, raw, ["granian", "httptools", "msgspec", "pyreqwest", "uvloop"])


if __name__ == "__main__":
    sys.exit(main())
