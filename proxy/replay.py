"""Drives recorded agents through a proxy: `tutelage replay FILE`.

Each trajectory is an agent: its calls follow one another, and each sends the recorded conversation, whatever was
answered to the one before. So a replay loads the proxy as the agents did and is the same every time.
"""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from ..traffic.canonical import canonical_message
from ..traffic.errors import BadInput
from .recorded import Message, RecordedTrajectory, read_all
from .upstream import Headers, ReqwestUpstream, Upstream, UpstreamError

Progress = Callable[[int, int], None]
"""Called with the calls done and the calls in all."""


@dataclass(frozen=True)
class ReplaySummary:
    """What came of a replay."""

    trajectories: int
    calls: int
    same: int
    """Answers that equal the recorded one in canonical form."""
    different: int
    failed: int
    """Calls without a 200."""
    statuses: dict[str, int]
    """Calls by HTTP status; errors of the connection by their code."""
    routes: dict[str, int]
    """Calls by `x-tutelage-route`."""
    seconds: float
    calls_per_s: float
    p50_ms: float
    p95_ms: float


@dataclass
class _Tally:
    total: int
    progress: Progress | None
    same: int = 0
    different: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    routes: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)

    def note(self, status: str, route: str, seconds: float, same: bool | None) -> None:
        self.statuses[status] += 1
        self.latencies.append(seconds * 1000)
        if route:
            self.routes[route] += 1
        self.same += same is True
        self.different += same is False
        if self.progress is not None:
            self.progress(len(self.latencies), self.total)


def replay(
    files: list[Path],
    base_url: str,
    concurrency: int = 8,
    limit: int | None = None,
    progress: Progress | None = None,
) -> ReplaySummary:
    """Replay the files against `base_url` (with its `/v1`), `limit` trajectories at most. Raises BadInput.

    The key is taken from OPENAI_API_KEY when it is set.
    """
    if concurrency < 1:
        raise BadInput(f"The concurrency must be at least 1, not {concurrency}.")
    return asyncio.run(_replay_files(read_all(files, limit), base_url, concurrency, progress))


async def _replay_files(
    trajectories: list[RecordedTrajectory], base_url: str, concurrency: int, progress: Progress | None
) -> ReplaySummary:
    upstream = ReqwestUpstream()
    try:
        return await replay_trajectories(trajectories, base_url, upstream, concurrency, progress)
    finally:
        await upstream.close()


async def replay_trajectories(
    trajectories: list[RecordedTrajectory],
    base_url: str,
    upstream: Upstream,
    concurrency: int = 8,
    progress: Progress | None = None,
) -> ReplaySummary:
    """The replay itself, through any client."""
    tally = _Tally(sum(len(trajectory.calls) for trajectory in trajectories), progress)
    waiting = iter(trajectories)
    headers = [("content-type", "application/json"), ("authorization", f"Bearer {_key()}")]
    url = base_url.rstrip("/") + "/chat/completions"

    async def agent() -> None:
        # All agents draw from one iterator, so a long trajectory does not hold up the others.
        for trajectory in waiting:
            for call in trajectory.calls:
                body = msgspec.json.encode(trajectory.request(call))
                await _call(tally, upstream, url, headers, body, trajectory.answer(call))

    started = time.perf_counter()
    await asyncio.gather(*(agent() for _ in range(concurrency)))
    return _summary(tally, len(trajectories), time.perf_counter() - started)


async def _call(tally: _Tally, upstream: Upstream, url: str, headers: Headers, body: bytes, recorded: Message) -> None:
    started = time.perf_counter()
    status, route, content = "", "", b""
    try:
        answer = await upstream.send("POST", url, headers, body)
        status, route = str(answer.status), dict(answer.headers).get("x-tutelage-route", "")
        try:
            while (piece := await answer.piece()) is not None:
                content += piece
        finally:
            await answer.close()
    except UpstreamError as error:
        status = error.problem.code
    seconds = time.perf_counter() - started
    tally.note(status, route, seconds, _same(content, recorded) if status == "200" else None)


def _same(content: bytes, recorded: Message) -> bool:
    try:
        message: Any = msgspec.json.decode(content)["choices"][0]["message"]
        return canonical_message(message) == canonical_message({"role": "assistant", **recorded})
    except (msgspec.DecodeError, KeyError, IndexError, TypeError):
        return False


def _summary(tally: _Tally, trajectories: int, seconds: float) -> ReplaySummary:
    latencies = sorted(tally.latencies)
    calls = len(latencies)
    return ReplaySummary(
        trajectories=trajectories,
        calls=calls,
        same=tally.same,
        different=tally.different,
        failed=calls - tally.statuses["200"],
        statuses=dict(tally.statuses),
        routes=dict(tally.routes),
        seconds=round(seconds, 3),
        calls_per_s=round(calls / seconds, 1) if seconds else 0.0,
        p50_ms=round(_quantile(latencies, 0.50), 2),
        p95_ms=round(_quantile(latencies, 0.95), 2),
    )


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def _key() -> str:
    return os.environ.get("OPENAI_API_KEY") or "replay"
