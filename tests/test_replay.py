import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tutelage.proxy import openai_errors
from tutelage.proxy.recorded import RecordedTrajectory
from tutelage.proxy.replay import ReplaySummary, replay, replay_trajectories
from tutelage.proxy.upstream import Body, Headers, UpstreamError
from tutelage.traffic.errors import BadInput


def run(name: str) -> RecordedTrajectory:
    messages = [{"role": "user", "content": name}, {"role": "assistant", "content": "one"}]
    messages += [{"role": "user", "content": "more"}, {"role": "assistant", "content": "two"}]
    raw = {"trajectory_id": name, "messages": messages, "calls": [{"i": 1}, {"i": 3}], "teacher": "m"}
    return msgspec.convert(raw, RecordedTrajectory)


class Answer:
    def __init__(self, status: int, body: Any) -> None:
        self.status, self.headers = status, [("x-tutelage-route", "teacher")]
        self._pieces = [json.dumps(body).encode()]

    async def piece(self) -> bytes | None:
        await asyncio.sleep(0)
        return self._pieces.pop() if self._pieces else None

    async def close(self) -> None:
        return


class Proxy:
    """Answers the second calls otherwise than recorded, and those of `down` not at all."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.at_once = self.most = 0

    async def send(self, method: str, url: str, headers: Headers, body: Body, *, whole: bool = False) -> Answer:
        assert isinstance(body, bytes)
        request = json.loads(body)
        name, length = request["messages"][0]["content"], len(request["messages"])
        self.asked.append((name, length))
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await asyncio.sleep(0.005)
        self.at_once -= 1
        if name == "down":
            raise UpstreamError(openai_errors.unreachable("refused"))
        if name == "odd":
            return Answer(200, {"no": "choices"})
        message = {"role": "assistant", "content": "one", "refusal": None}
        return Answer(429 if name == "busy" else 200, {"choices": [{"message": message}]})

    async def close(self) -> None:
        return


def play(runs: list[RecordedTrajectory], proxy: Proxy, concurrency: int, **options: Any) -> ReplaySummary:
    return asyncio.run(replay_trajectories(runs, "http://p/v1/", proxy, concurrency, **options))


def test_the_order_within_a_trajectory_is_kept_and_the_concurrency_held() -> None:
    proxy, runs = Proxy(), [run(str(n)) for n in range(9)]
    steps: list[tuple[int, int]] = []
    summary = play(runs, proxy, 3, progress=lambda done, total: steps.append((done, total)))
    assert sorted(proxy.asked) == sorted((str(n), length) for n in range(9) for length in (1, 3))
    assert all(proxy.asked.index((str(n), 1)) < proxy.asked.index((str(n), 3)) for n in range(9))
    assert proxy.most == 3
    assert steps[-1] == (18, 18)
    assert (summary.calls, summary.same, summary.different, summary.failed) == (18, 9, 9, 0)
    assert summary.routes == {"teacher": 18}
    assert 0 < summary.p50_ms <= summary.p95_ms
    assert summary.calls_per_s > 0


def test_failures_are_counted_by_kind() -> None:
    summary = play([run("down"), run("busy"), run("odd")], Proxy(), 1)
    assert summary.statuses == {"upstream_unreachable": 2, "429": 2, "200": 2}
    assert (summary.failed, summary.same, summary.different) == (4, 0, 2)


def test_nothing_to_replay() -> None:
    summary = play([], Proxy(), 4)
    assert (summary.calls, summary.p50_ms, summary.statuses) == (0, 0.0, {})


def test_bad_arguments(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="concurrency"):
        replay([], "http://p/v1", concurrency=0)
    with pytest.raises(BadInput, match="missing"):
        replay([tmp_path / "missing"], "http://p/v1")
