"""The whole loop with real processes: observe, shadow, canary, live, a change of the teacher, quarantine, off switch.

The student server is another instance of the example teacher, so its risk is known: 0 at first, then 1 on every tool
call once the teacher changes its ways. The demo tells the same story with a trained student.
"""

import asyncio
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console
from scripted_student import register_scripted

from tutelage.examples import story as told
from tutelage.examples.demo_world import CONFIG, World, free_port
from tutelage.examples.parcels.agent import Desk, Tally, serve_all
from tutelage.examples.parcels.tasks import make_tasks

pytestmark = pytest.mark.slow
VERSION = "desk@000000000000"


class Story:
    """A running proxy whose student server is scripted."""

    def __init__(self, world: World) -> None:
        self.world, self.tasks, self.sent = world, make_tasks(11), 0

    def serve(self, sessions: int) -> Tally:
        async def work() -> Tally:
            async with httpx.AsyncClient(timeout=60) as client:
                desk = Desk(client, self.world.base_url)
                await serve_all(desk, islice(self.tasks, sessions), 4)
                return desk.tally

        tally = asyncio.run(work())
        self.sent += tally.calls
        assert (tally.errors, tally.unfinished) == (0, 0)
        return tally

    def serve_until(self, reached: Callable[[list[str]], bool], batch: int, batches: int) -> None:
        for _ in range(batches):
            self.serve(batch)
            self.wait(lambda: reached(self.states()) or not self.world.ask("/api/status")["pending_sessions"], 60)
            if reached(self.states()):
                return
        raise AssertionError(f"{self.world.ask('/api/routes')}")

    def states(self) -> list[str]:
        return sorted(row["state"] for row in self.world.ask("/api/routes") if row["student"])

    def wait(self, done: Callable[[], bool], seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, self.world.ask("/api/status")
            time.sleep(0.1)

    def register(self) -> None:
        """A student version for the patterns found; there are no weights, for the server is scripted."""
        register_scripted(self.world.root, VERSION, self.world.ask("/api/patterns"))


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    port = free_port(0)
    module = "tutelage.examples.parcels.teacher"
    student = subprocess.Popen([sys.executable, "-m", module, "--port", str(port)])
    root = tmp_path_factory.mktemp("story")
    try:
        with World(root) as world:
            world.ports = {name: free_port(0) for name in world.ports}
            world.config.write_text(f'student_url = "http://127.0.0.1:{port}/v1"\n{CONFIG}')
            world.start()
            yield Story(world)
    finally:
        student.terminate()
        student.wait(10)


class Silent:
    """A running proxy that has nothing to decide: its states change with the customers that come."""

    def __init__(self, *states: str) -> None:
        self.states = list(states)

    def ask(self, path: str) -> Any:
        if path == "/api/status":
            return {"pending_sessions": 0}
        return [{"student": "s", "state": self.states[0], "share": 0.5, **NO_SESSIONS}]


NO_SESSIONS = {"name": "n", "role": "user", "sessions": 0}


class Told(told.Story):
    """A story without processes: each batch of customers brings the next state."""

    plan = told.Plan("s", observe=1, shadow_batch=3, live=1, drift_batch=4, patterns=1, limit_s=5.0)

    def surroundings(self) -> Any:
        raise AssertionError

    def change(self) -> str:
        return "it changes."

    def serve(self, sessions: int) -> Tally:
        self.tally.add(Tally(sessions=sessions))
        states: list[str] = self.world.states  # pyright: ignore[reportAttributeAccessIssue]
        if len(states) > 1:
            states.pop(0)
        return self.tally


def test_a_stage_goes_on_until_the_proxy_has_decided() -> None:
    shown = Console(record=True, file=io.StringIO())
    one = Told(shown)
    one.world = Silent("shadow", "shadow", "canary", "canary", "live", "quarantined")  # pyright: ignore[reportAttributeAccessIssue]
    for stage in (one.shadow, one.ramp, one.drift):
        stage()
    assert one.facts == {"promoted": True, "demoted": True}
    assert one.tally.sessions == 2 * 3 + 2 * 20 + 4  # at half the sessions, 20 give the student ten
    assert "Over night it changes." in shown.export_text()


def test_a_decision_that_does_not_come_is_said() -> None:
    shown = Console(record=True, file=io.StringIO())
    one = Told(shown)
    one.plan = told.Plan("s", observe=1, shadow_batch=3, live=1, drift_batch=4, patterns=1, limit_s=0.1)  # pyright: ignore[reportAttributeAccessIssue]
    one.world = Silent("canary")  # pyright: ignore[reportAttributeAccessIssue]
    one.ramp()
    assert one.facts == {"promoted": False}
    assert "No decision" in shown.export_text()


def test_observe_finds_the_patterns_and_logs_every_call_once(story: Story) -> None:
    tally = story.serve(60)
    assert tally.routes == {"teacher": tally.calls}
    story.wait(lambda: story.world.ask("/api/store/stats")["calls"] == story.sent)
    assert {row["role"] for row in story.world.ask("/api/patterns")} == {"user", "tool"}
    assert story.world.ask("/api/store/stats")["trajectories"] == 60


def test_an_agreeing_student_is_shadowed_promoted_and_serves(story: Story) -> None:
    time.sleep(0.1)
    story.register()
    story.wait(lambda: story.states() == ["shadow", "shadow"])
    story.serve_until(lambda states: "shadow" not in states, batch=25, batches=6)
    assert story.states() == ["canary", "canary"]
    story.serve_until(lambda states: states == ["live", "live"], batch=120, batches=12)
    time.sleep(1.0)  # by then every worker has the new routes
    tally = story.serve(20)
    assert tally.routes == {"student": tally.calls}


def test_a_tool_schema_that_the_student_never_saw_goes_to_the_teacher(story: Story) -> None:
    async def serve() -> Tally:
        async with httpx.AsyncClient(timeout=30) as client:
            desk = Desk(client, story.world.base_url, id_field="number")
            await serve_all(desk, islice(story.tasks, 5), 2)
            return desk.tally

    tally = asyncio.run(serve())
    story.sent += tally.calls
    assert tally.routes == {"teacher": tally.calls}


def test_when_the_teacher_changes_the_guard_takes_the_work_back(story: Story) -> None:
    story.world.change_teacher(plain_numbers=True)
    story.serve_until(lambda states: "quarantined" in states, batch=15, batches=20)
    transitions = story.world.ask("/api/transitions?limit=50")
    assert any("evidence" in str(change) for change in transitions)


def test_the_off_switch_works_within_a_second_and_is_kept(story: Story) -> None:
    switched: dict[str, Any] = httpx.post(
        f"{story.world.dashboard}/api/off", json={"reason": "test", "actor": "test"}, timeout=10
    ).json()
    assert switched
    time.sleep(1.0)
    tally = story.serve(5)
    assert tally.routes == {"teacher": tally.calls}
    assert story.world.ask("/api/status")["off"] is True


def test_the_command_line_says_the_same_while_serving_and_afterwards(story: Story) -> None:
    def stats() -> str:
        command = [sys.executable, "-m", "tutelage", "store", "stats", "--json", "--data", str(story.world.root)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    story.wait(lambda: story.world.ask("/api/store/stats")["calls"] == story.sent)
    while_serving = stats()
    serve = story.world.processes.pop("serve")
    serve.terminate()
    assert serve.wait(60) == 0
    first, second = json.loads(while_serving), json.loads(stats())
    assert {name: first[name] for name in ("calls", "trajectories", "messages", "patterns")} == {
        name: second[name] for name in ("calls", "trajectories", "messages", "patterns")
    }
    assert second["calls"] == story.sent


def test_nothing_secret_is_stored(story: Story) -> None:
    found = [path for path in Path(story.world.root).rglob("*") if path.is_file() and b"sk-demo" in path.read_bytes()]
    assert found == []
