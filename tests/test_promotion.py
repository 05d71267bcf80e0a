"""A student of known risk behind the real proxy: promoted and demoted within the sessions that the statistics say.

And a control plane that dies in the middle of a transition: what is in force afterwards is what the log says.
"""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from scripted_models import wrong
from scripted_student import register_scripted

from tutelage.examples.demo_world import World, free_port
from tutelage.proxy.gate import Gate, alpha_for
from tutelage.proxy.guard import Guard
from tutelage.proxy.options import RoutingOptions

VERSION, EPSILON = "parcels@000000000000", 0.10
RISK, WORSE = 0.02, 0.6
CONFIG = 'student_url = "http://127.0.0.1:{port}/student/v1"\n[routing]\nepsilon_tools = 0.10\nsession_idle_s = 1.0\n'
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "set_status",
            "parameters": {
                "type": "object",
                "properties": {"parcel": {"type": "string"}, "status": {"type": "string", "enum": ["sent", "lost"]}},
                "required": ["parcel", "status"],
            },
        },
    }
]


class Desk(World):
    """The proxy with its processes, between agents that mark parcels and two scripted models."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.ports = {name: free_port(0) for name in self.ports}
        self.models, self.sent = free_port(0), 0
        self.config.write_text(CONFIG.format(port=self.models))

    def open(self) -> None:
        """Start the models and the proxy."""
        script = str(Path(__file__).with_name("scripted_models.py"))
        self._spawn("teacher", [script, str(self.models)], f"http://127.0.0.1:{self.models}/v1/models")
        serve = ["-m", "tutelage", "serve", "--teacher", f"http://127.0.0.1:{self.models}/teacher/v1"]
        serve += ["--data", str(self.root), "--config", str(self.config), "--port", str(self.ports["plane"])]
        serve += ["--control-port", str(self.ports["control"]), "--student-port", str(self.ports["student"])]
        self._spawn("serve", serve, f"{self.dashboard}/healthz", f"{self.base_url.removesuffix('/v1')}/tutelage/health")

    def risk(self, risk: float) -> None:
        httpx.post(f"http://127.0.0.1:{self.models}/risk", json={"risk": risk}, trust_env=False).raise_for_status()

    def play(self, sessions: int) -> list[str]:
        """So many sessions of one call each; who answered them."""

        async def one(client: httpx.AsyncClient, number: int) -> str:
            messages = [
                {"role": "system", "content": "You work at a parcel desk.\nMark parcels with the tool."},
                {"role": "user", "content": f"Parcel P{number:05d} has left."},
            ]
            body = {"model": "desk", "messages": messages, "tools": TOOLS}
            answer = await client.post("/chat/completions", json=body, headers={"authorization": "Bearer sk-x"})
            assert answer.status_code == 200
            return answer.headers["x-tutelage-route"]

        async def every() -> list[str]:
            async with httpx.AsyncClient(base_url=self.base_url, timeout=60, trust_env=False) as client:
                found = []
                for start in range(self.sent, self.sent + sessions, 8):
                    ends = min(start + 8, self.sent + sessions)
                    found += await asyncio.gather(*(one(client, number) for number in range(start, ends)))
                return found

        routes = asyncio.run(every())
        self.sent += sessions
        return routes

    def route(self) -> dict[str, Any]:
        return next(iter(self.ask("/api/routes")), {"state": ""})

    def settle(self) -> None:
        """Wait until every session that can be evidence is evidence."""
        self.wait(lambda: not self.ask("/api/status")["pending_sessions"])

    def wait(self, done: Callable[[], bool], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while True:
            try:
                if done():
                    return
            except httpx.HTTPError:
                pass  # the control plane is being restarted
            assert time.monotonic() < deadline, self.route()
            time.sleep(0.1)

    def play_until(self, state: str, batch: int, batches: int) -> None:
        for _ in range(batches):
            self.play(batch)
            self.settle()
            if self.route()["state"] == state:
                return
        raise AssertionError(self.route())

    def register(self) -> None:
        """A version without weights, for the server is scripted."""
        register_scripted(self.root, VERSION, self.ask("/api/patterns"))

    def change(self, reason: str) -> dict[str, Any]:
        return next(one for one in self.ask("/api/transitions") if one["reason"] == reason)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    found = Desk(tmp_path_factory.mktemp("desk"))
    with found:
        found.open()
        yield found


def most(decided: Callable[[random.Random], int], runs: int = 300) -> int:
    """What nearly all runs stay within: the largest of `runs` simulated ones."""
    rng = random.Random(1)
    return max(decided(rng) for _ in range(runs))


def to_promote(rng: random.Random) -> int:
    alpha = (1 - RoutingOptions().confidence_alpha) * alpha_for(1, 0.05)
    gate = Gate(epsilon=EPSILON, alpha=alpha)
    while not gate.crossed:
        gate = gate.update(float(rng.random() < RISK))
    return gate.n


def to_demote(rng: random.Random) -> int:
    guard = Guard(epsilon=EPSILON)
    while not guard.alarmed:
        guard = guard.update(float(rng.random() < WORSE))
    return guard.n


@pytest.mark.slow
def test_a_good_student_is_promoted_within_the_expected_sessions(desk: Desk) -> None:
    desk.risk(RISK)
    assert set(desk.play(40)) == {"teacher"}
    desk.wait(lambda: desk.route()["state"] == "observe")
    desk.register()
    desk.wait(lambda: desk.route()["state"] == "shadow")
    desk.play_until("canary", batch=30, batches=12)
    shadow = desk.change("gate_crossed")["evidence"]["shadow"]
    assert shadow["n"] <= most(to_promote)
    assert shadow["losses"] == sum(wrong(f"P{number:05d}", RISK) for number in range(40, 40 + shadow["n"]))
    os.kill(desk._pids()["control plane"], signal.SIGKILL)
    desk.play_until("live", batch=60, batches=20)
    assert desk.ask("/api/replay")["differences"] == []
    assert set(desk.play(20)) == {"student"}


@pytest.mark.slow
def test_when_it_becomes_bad_it_is_demoted_within_the_expected_sessions(desk: Desk) -> None:
    desk.settle()
    before = desk.ask(f"/api/routes/{desk.route()['pattern_id']}")["guard"]["n"]
    desk.risk(WORSE)
    desk.play_until("quarantined", batch=40, batches=30)
    guard = desk.change("guard")["evidence"]["guard"]
    assert guard["n"] - before <= most(to_demote) + 5
    assert guard["m"] >= 1e4
    desk.wait(lambda: desk.play(1) == ["teacher"], seconds=1)  # Workers look at the routes five times a second.
    assert set(desk.play(8)) == {"teacher"}


@pytest.mark.slow
def test_the_command_proves_that_the_log_tells_everything(desk: Desk) -> None:
    command = [sys.executable, "-m", "tutelage", "routes", "replay", "--data", str(desk.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("equal: 1 student versions")


DIES = """
import os, signal, sys
from tutelage.proxy.keeper import Keeper
from tutelage.proxy.options import RoutingOptions
from tutelage.traffic.layout import DataDir
from tutelage.traffic.store import Store

root, when, now = sys.argv[1], sys.argv[2], float(sys.argv[3])

class Dies(Store):
    def bulk(self, sql, batch):
        moves = "route_events" in sql and "transition" in batch.column("kind").to_pylist()
        if moves and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        done = super().bulk(sql, batch)
        if moves and when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return done

data = DataDir(__import__("pathlib").Path(root))
keeper = Keeper(data, Dies(data.store), RoutingOptions(epsilon_tools=0.10, session_idle_s=60.0), clock=lambda: now)
keeper.catch_up()
"""


@pytest.mark.chaos
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_in_the_middle_of_a_transition_leaves_a_consistent_state(control_world: Any, when: str) -> None:
    """Killed right before or right after the commit that moves a version to canary; nothing was published then."""
    world = control_world
    world.play(40)
    world.add_student()
    world.play(60)
    world.label(loss=0.0)
    world.now += 120.0
    world.plane.close()
    child = subprocess.run([sys.executable, "-c", DIES, str(world.data.root), when, str(world.now)], check=False)
    assert child.returncode == -signal.SIGKILL
    world.plane = world.open()
    state = world.plane.keeper.board.state(world.pattern)
    assert state.state == ("canary" if when == "after" else "shadow")
    world.plane.catch_up()
    state = world.plane.keeper.board.state(world.pattern)
    proof = Gate(epsilon=0.10, alpha=(1 - RoutingOptions().confidence_alpha) * alpha_for(1, 0.05)).clean_needed()
    assert (state.state, state.shadow.n, state.shadow.total) == ("canary", proof, 0.0)
    told = "SELECT count(*), count(DISTINCT detail->>'session') FROM route_events WHERE kind = 'session'"
    assert world.plane.store.rows(told) == [(proof, proof)]
    found = world.plane.keeper.retell()
    assert found.differences == []
