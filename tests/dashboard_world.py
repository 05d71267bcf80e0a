"""A whole proxy for the dashboard's tests: recorded agents replayed through a real data plane, a recorded student.

The desk's agent looks an order up, sets its status and says so: three calls a run. The student knows the same runs and
gets one order in DIFFERS wrong. Everything between is the real thing: journal, ingest, shadow, gate, audits.
"""

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from conformance.plane import PROXIES, free_port, started

from tutelage.proxy.control import ControlPlane, serve
from tutelage.proxy.options import ControlOptions, Price, RoutingOptions, Setting, to_environment
from tutelage.proxy.replay import replay
from tutelage.traffic.layout import DataDir
from tutelage.traffic.students import Manifest, PromptSpec, StudentRegister

OLD, VERSION = "order-desk@0000000000aa", "order-desk@0000000000bb"
RUN = "20261121-080000-order-desk"
DIFFERS = 20
SYSTEM = "You work at the order desk.\nLook every order up before you change it.\nAnswer in one sentence."
_STRINGS = {"type": "object", "properties": {"order": {"type": "string"}}, "required": ["order"]}
_STATUS = {
    "type": "object",
    "properties": {"order": {"type": "string"}, "status": {"type": "string", "enum": ["sent", "held"]}},
    "required": ["order", "status"],
}
TOOLS = [
    {"type": "function", "function": {"name": "get_order", "description": "Look an order up.", "parameters": _STRINGS}},
    {"type": "function", "function": {"name": "set_status", "description": "Change it.", "parameters": _STATUS}},
]


def recorded(number: int, wrong: bool = False) -> dict[str, Any]:
    """One run as recorded traffic (docs/recorded-traffic.md)."""
    order, status = f"W{number:06d}", "sent" if number % 3 else "held"
    says = "held" if wrong and status == "sent" else status
    mail = f"customer{number}@example.com"
    messages = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": f"Please mark order {order} as {status}. My mail is {mail}."},
        _calls("get_order", f"call_a{number}", {"order": order}),
        {"role": "tool", "tool_call_id": f"call_a{number}", "content": json.dumps({"order": order, "mail": mail})},
        _calls("set_status", f"call_b{number}", {"order": order, "status": says}),
        {"role": "tool", "tool_call_id": f"call_b{number}", "content": '{"done": true}'},
        {"role": "assistant", "content": f"Order {order} is marked as {status}."},
    ]
    calls = [{"i": 2, "usage": [180, 14]}, {"i": 4, "usage": [220, 20]}, {"i": 6, "usage": [260, 12]}]
    return {
        "trajectory_id": f"run-{number}",
        "teacher": "gpt-desk",
        "tools": TOOLS,
        "messages": messages,
        "calls": calls,
    }


def _calls(name: str, call: str, arguments: dict[str, str]) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": call, "type": "function", "function": function}],
    }


def write_runs(path: Path, numbers: Sequence[int], differs: int = 0) -> Path:
    """Recorded runs; with `differs`, the second answer of every so many-th is wrong."""
    runs = [run for number in numbers for run in _answered(number, bool(differs) and number % differs == 1)]
    path.write_text("".join(json.dumps(run) + "\n" for run in runs), encoding="utf-8")
    return path


def _answered(number: int, wrong: bool) -> list[dict[str, Any]]:
    right = recorded(number)
    if not wrong:
        return [right]
    first, second, third = right["calls"]
    return [right | {"calls": [first, third]}, recorded(number, wrong=True) | {"calls": [second]}]


@dataclass
class Recorded:
    """A `tutelage teacher` process, as a context manager with an address."""

    file: Path
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> "Recorded":
        command = [sys.executable, "-m", "tutelage", "teacher", str(self.file), "--port", str(self.port)]
        environment = {name: value for name, value in to_environment({}).items() if name.lower() not in PROXIES}
        self._process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: _answers(f"{self.url}/models"))
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)


@dataclass
class DashboardWorld:
    """The running whole."""

    url: str
    """Of the dashboard."""
    plane: ControlPlane
    data: DataDir
    agents_url: str
    folder: Path

    def replay(self, numbers: Sequence[int]) -> None:
        """Agents work through these runs, through the data plane."""
        file = write_runs(self.folder / f"replay{numbers[0]}.jsonl", numbers)
        # In a thread of its own: where a browser is driven, the caller's has an event loop already.
        with ThreadPoolExecutor(1) as pool:
            summary = pool.submit(replay, [file], self.agents_url).result()
        assert summary.failed == 0, summary

    def get(self, path: str) -> Any:
        """What the admin API answers."""
        return httpx.get(self.url + path, trust_env=False, timeout=30).raise_for_status().json()

    def state(self, pattern: str) -> str:
        return self.get(f"/api/routes/{pattern}")["state"]

    def patterns(self) -> list[str]:
        return [row["pattern_id"] for row in self.get("/api/patterns")]

    def register(self, version: str, status: str, patterns: list[str], agent: str) -> None:
        """A student version with everything that a distillation leaves, but for weights."""
        draft = self.data.root / f"draft-{version}"
        draft.mkdir()
        learnt = [row["trajectory_id"] for row in self.get("/api/trajectories?limit=12")]
        lines = [json.dumps({"row": f"r{n}", "trajectory_id": one, "call_ids": []}) for n, one in enumerate(learnt)]
        (draft / "lineage.jsonl").write_text("\n".join(lines) + "\n")
        (draft / "report.json").write_text(json.dumps(_report(version)))
        scores = {"calls": 36, "sessions": 12, "agreement": 0.92, "low": 0.65, "high": 0.99, "floor": 0.31, "base": 0.1}
        each = [{**scores, "pattern_id": one, "reasons": {"argument_differs": 1}} for one in patterns]
        manifest = Manifest(
            version=version,
            name="order-desk",
            status=status,
            created_at=time.time() - (60 if status == "rejected" else 0),
            agent_id=agent,
            pattern_ids=patterns,
            base="recorded",
            base_digest="0" * 12,
            prompt=PromptSpec(),
            snapshot_at=time.time(),
            data_digest="ab" * 32,
            sessions={"train": 12, "held_out": 12},
            rows={"kept": 12, "duplicate": 3, "not_successful": 2},
            config={"epochs": 2.0 if status == "candidate" else 1.0, "rank": 16},
            scores={**scores, "patterns": each},
            reason="" if status == "candidate" else "agreement 0.300 does not beat the floor 0.310",
            seconds={"curate": 0.4, "train": 61.0},
        )
        StudentRegister(self.data).publish(draft, manifest)


def _report(version: str) -> dict[str, Any]:
    tokens = [{"role": "assistant", "trained": 420, "masked": 36}, {"role": "tool", "trained": 0, "masked": 310}]
    notes = ["People's names in running text were not looked for: no en_core_web model is installed."]
    return {"run": RUN, "version": version, "notes": notes, "tokens": tokens, "personal_values": {"EMAIL_ADDRESS": 12}}


def _write_run(data: DataDir) -> None:
    folder, now = data.runs / RUN, time.time() - 60
    folder.mkdir()
    events: list[dict[str, Any]] = [{"stage": "scrub", "fraction": 0.0, "message": "24 sessions", "at": now}]
    events += [
        {"stage": "train", "fraction": step / 60, "loss": 2.4 * 0.95**step + 0.08, "at": now + step}
        for step in range(60)
    ]
    events.append({"stage": "finished", "fraction": 1.0, "message": f"{VERSION} candidate", "at": now + 61})
    (folder / "progress.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    (folder / "report.json").write_text(json.dumps(_report(VERSION)))


def wait_until(done: Callable[[], Any], seconds: float = 180.0) -> None:
    """Look ten times a second; raises AssertionError when it takes too long."""
    ends = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < ends, "it took too long"
        time.sleep(0.1)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def _options(data: DataDir, teacher: str, student: str, agents_url: str) -> ControlOptions:
    given = (Setting("teacher", teacher, "command line"), Setting("routing.alpha", "0.05", "default"))
    return ControlOptions(
        data=str(data.root),
        teacher_url=teacher,
        student_url=student,
        data_plane_url=agents_url,
        port=free_port(),
        # One step, so that no pattern comes to live by itself while it is looked at.
        routing=RoutingOptions(epsilon_tools=0.25, epsilon_text=0.25, session_idle_s=1.0, ramp=(0.15,)),
        prices={"gpt-desk": Price(2.0, 8.0)},
        settings=given,
    )


@contextmanager
def serving(plane: ControlPlane) -> Iterator[str]:
    """The control plane over HTTP, with its keeper and its runners; the address."""
    loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def run() -> None:
        stopped = asyncio.Event()
        loops.append((asyncio.get_running_loop(), stopped))
        await serve(plane, stopped)

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    url = f"http://127.0.0.1:{plane.options.port}"
    try:
        wait_until(lambda: _answers(f"{url}/healthz"))
        yield url
    finally:
        loop, stopped = loops[0]
        loop.call_soon_threadsafe(stopped.set)
        thread.join(30)
        assert not thread.is_alive()


@contextmanager
def dashboard_world(folder: Path) -> Iterator[DashboardWorld]:
    """Everything started, observed, shadowed and in canary; a tenth of the sessions or more served by the student."""
    every = range(400)
    teacher = Recorded(write_runs(folder / "teacher.jsonl", every), free_port())
    student = Recorded(write_runs(folder / "student.jsonl", every, DIFFERS), free_port())
    data = DataDir(folder / "data").prepare()
    given: Any = teacher
    with student, started(data.root, given, student_url=student.url) as agents:
        plane = ControlPlane.open(data, _options(data, teacher.url, student.url, agents.url))
        try:
            with serving(plane) as url:
                world = DashboardWorld(url, plane, data, agents.url, folder)
                _play(world)
                yield world
        finally:
            plane.close()


def _play(world: DashboardWorld) -> None:
    world.replay(range(40))
    wait_until(lambda: len(world.patterns()) >= 2)
    agent = world.get("/api/patterns")[0]["agent_id"]
    _write_run(world.data)
    world.register(OLD, "rejected", world.patterns(), agent)
    world.register(VERSION, "candidate", world.patterns(), agent)
    wait_until(lambda: {world.state(one) for one in world.patterns()} == {"shadow"})
    world.replay(range(40, 110))
    wait_until(lambda: {world.state(one) for one in world.patterns()} == {"canary"})
    world.replay(range(110, 150))
    wait_until(lambda: any(row["kind"] == "audit" for row in world.get("/api/pairs")))
