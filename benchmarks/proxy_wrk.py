"""wrk as the closed-loop load of the proxy's benchmark: calls per second, and latency of one call at a time."""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .proxy_gateways import Gateway
from .proxy_mock import CONFIGS, program, request_body

_UNITS_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


@dataclass(frozen=True)
class WrkResult:
    """What one run of wrk found. Latencies in milliseconds."""

    requests: int
    """Answers that arrived whole."""
    per_s: float
    p50_ms: float
    p99_ms: float
    bad: int
    """Answers that were no 2xx or 3xx, and errors of the sockets."""

    @property
    def good(self) -> int:
        """Answers with 2xx. An error of a socket may hide in `bad` beside an answer: this is a lower bound."""
        return max(0, self.requests - self.bad)


def run_wrk(gateway: Gateway, connections: int, seconds: float, folder: Path) -> WrkResult:
    """Load the gateway from the core that this process is bound to. Raises ValueError when wrk said something else."""
    body = folder / "body.json"
    body.write_bytes(request_body(gateway.model))
    lines = "".join(f"{name}: {value}\n" for name, value in gateway.headers.items())
    command = [program("wrk"), "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "30s"]
    command += ["-s", str(CONFIGS / "call.lua"), "--latency", gateway.url]
    environment = {**os.environ, "BODY": str(body), "HEADERS": lines}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    return parse_wrk(done.stdout + done.stderr)


def parse_wrk(text: str) -> WrkResult:
    """The figures in wrk's output with `--latency`. Raises ValueError when they are not there."""
    total = re.search(r"(\d+) requests in ", text)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    p50, p99 = _latency(text, "50"), _latency(text, "99")
    if total is None or rate is None or p50 is None or p99 is None:
        raise ValueError(f"Expected figures of wrk --latency, but this came:\n{text}")
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    sockets = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    bad = int(refused[1]) if refused else 0
    bad += sum(map(int, sockets.groups())) if sockets else 0
    return WrkResult(int(total[1]), float(rate[1]), p50, p99, bad)


def _latency(text: str, share: str) -> float | None:
    found = re.search(rf"^\s+{share}%\s+([\d.]+)(us|ms|s|m)\s*$", text, re.MULTILINE)
    return float(found[1]) * _UNITS_MS[found[2]] if found else None
