"""A real student server behind the real proxy, and everything goes wrong: agents see nothing but answers.

Whatever fails, each call is answered with 200 by somebody, its reason is in the answer's head and in the log, and what
cannot be served at all is named by the server's health, which the dashboard shows.
"""

import concurrent.futures
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from conformance.plane import Plane, Response, free_port, started
from conformance.wire import whole
from test_serving_main import publish

from tutelage.proxy.routes import Route, RouteTable, publish_table
from tutelage.proxy.views_health import _student_facts
from tutelage.traffic.facts import facts_of
from tutelage.traffic.layout import DataDir
from tutelage.traffic.patterns import PatternEntry, Registry
from tutelage.traffic.students import ADAPTER, ADAPTER_GGUF, MANIFEST

TEACHER = whole("200 OK", b'{"choices":[{"index":0,"message":{"role":"assistant","content":"I, the teacher."}}]}')
pytestmark = [pytest.mark.chaos, pytest.mark.slow]
ENDLESS = {"type": "object", "properties": {"x": {"$ref": "#"}}, "required": ["x"]}
HUGE = {"type": "object", "properties": {f"p{n}": {"enum": [f"{n:099}"]} for n in range(1500)}}
SWITCH = {"type": "object", "properties": {"on": {"type": "boolean"}}, "required": ["on"]}
VERSIONS = {"good": "tiny@1", "torn": "torn@1", "homeless": "homeless@1", "endless": "tiny@1", "huge": "tiny@1"}
"""What each tool's pattern is served by."""
SCHEMAS = {"endless": ENDLESS, "huge": HUGE}


def chat(tool: str, **fields: Any) -> bytes:
    function = {"name": tool, "parameters": SCHEMAS.get(tool, SWITCH)}
    request = {
        "model": "gpt-conformance",
        "messages": [{"role": "user", "content": "Please."}],
        "tools": [{"type": "function", "function": function}],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        **fields,
    }
    return json.dumps(request).encode()


@dataclass
class World:
    """A proxy whose patterns are all live, and a student server that can be killed and started again."""

    plane: Plane
    options: dict[str, Any]
    process: "subprocess.Popen[bytes] | None" = None

    def start(self, limit_bytes: int = 0) -> None:
        """Start the server, with at most so much address space; wait until it answers."""
        command = [sys.executable, "-m", "tutelage.serving"]
        if limit_bytes:
            command = ["sh", "-c", f'ulimit -v {limit_bytes // 1024}; exec "$@"', "sh", *command]
        environment = {**os.environ, "TUTELAGE_OPTIONS": json.dumps(self.options)}
        self.process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        until(lambda: self.health() is not None)

    def health(self) -> dict[str, Any] | None:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{self.options['port']}/health", timeout=30).json()
        return None

    def stop(self, how: int) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(60)

    def ask(self, tool: str, **fields: Any) -> Response:
        answer = self.plane.played(TEACHER, chat(tool, **fields))
        assert answer.status == 200, answer.body
        assert json.loads(answer.body)["choices"][0]["message"]
        return answer

    def reason(self, tool: str) -> str:
        return self.ask(tool).get("x-tutelage-reason")


def until(true: Callable[[], Any], seconds: float = 120.0) -> None:
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "it did not come to that"
        time.sleep(0.1)


def until_reason(world: World, wanted: str) -> None:
    """The good student's pattern is taken up by the proxy, and its calls come back for this reason."""
    said = Counter[str]()
    for _ in range(300):
        reason = world.reason("good")
        if reason == wanted:
            return
        said[reason] += 1
        time.sleep(0.1)
    raise AssertionError(f"expected {wanted}, but it said {said}")


def add_broken_versions(data: DataDir) -> None:
    """One whose adapter was cut off, and one whose base is not on this machine."""
    for version in ("torn@1", "homeless@1"):
        shutil.copytree(data.students / "tiny@1", data.students / version)
        path = data.students / version / MANIFEST
        manifest = json.loads(path.read_bytes()) | {"version": version}
        path.write_text(json.dumps(manifest | ({"base": "/nowhere/none.gguf"} if version == "homeless@1" else {})))
    torn = data.students / "torn@1"
    for adapter, cut in ((torn / ADAPTER_GGUF, 200), (torn / ADAPTER / "adapter_model.safetensors", 50)):
        adapter.write_bytes(adapter.read_bytes()[:-cut])


def publish_all(data: DataDir) -> None:
    entries, routes = [], {}
    for number, (tool, version) in enumerate(VERSIONS.items()):
        facts = facts_of(json.loads(chat(tool)))
        assert facts is not None
        pattern = f"p_{number:010}"
        entries.append(
            PatternEntry(
                pattern_id=pattern,
                agent_id=f"a_{number:010}",
                name=tool,
                version=1,
                role=facts.role,
                agent_key=facts.agent_key,
            )
        )
        routes[pattern] = Route(state="live", student=version, share=1.0, salt="s")
    Registry(entries).publish(data.patterns)
    publish_table(data.routes, RouteTable(serial=1, routes=routes))


@pytest.fixture
def world(tmp_path: Path, tiny_gguf: Path) -> Iterator[World]:
    data = DataDir(tmp_path / "data").prepare()
    publish(data, tiny_gguf)
    add_broken_versions(data)
    options = {"data": str(data.root), "port": free_port(), "threads": 1, "slots": 1, "queue": 0, "context": 1024}
    url = f"http://127.0.0.1:{options['port']}/v1"
    with started(data.root, student_url=url, student_timeout_s=60) as plane:
        publish_all(data)
        made = World(plane, {**options, "max_tokens": 700})
        try:
            yield made
        finally:
            made.stop(signal.SIGKILL)


def test_what_cannot_be_served_is_said_and_costs_no_agent_an_answer(world: World) -> None:
    until_reason(world, "student_unreachable")
    world.start()
    until(lambda: (world.health() or {})["students"])
    until(lambda: world.ask("good").get("x-tutelage-route") == "student")
    arguments = json.loads(world.ask("good").body)["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]
    assert arguments in ('{"on":true}', '{"on":false}')
    assert world.reason("torn") == "student_model_not_found"
    assert world.reason("homeless") == "student_model_not_found"
    assert world.reason("endless") == "student_schema_unsupported"
    assert world.reason("huge") == "student_schema_unsupported"
    health = world.health()
    assert health is not None
    assert (health["status"], health["students"]) == ("degraded", ["tiny@1"])
    assert sorted(problem.split(":")[0] for problem in health["problems"]) == ["homeless@1", "torn@1"]
    shown = [item.value for item in _student_facts(None, health) if item.name == "Problem"]  # type: ignore[arg-type]
    assert any("none.gguf" in text for text in shown)


def test_the_score_goes_from_the_student_through_its_head_into_the_log_and_meets_the_threshold(world: World) -> None:
    world.start()
    until(lambda: (world.health() or {})["students"])
    until(lambda: world.ask("good").get("x-tutelage-route") == "student")
    data = DataDir(Path(world.options["data"]))
    served = world.ask("good")
    score = float(served.get("x-tutelage-confidence"))
    record = world.plane.record(served.call_id)
    assert record.confidence == pytest.approx(score, abs=1e-4)
    assert score < 0

    def bounded(threshold: float, serial: int, tool: str = "good") -> None:
        [pattern] = [f"p_{number:010}" for number, name in enumerate(VERSIONS) if name == tool]
        route = Route(state="live", student="tiny@1", share=1.0, salt="s", threshold=threshold)
        publish_table(data.routes, RouteTable(serial=serial, routes={pattern: route}))

    bounded(score + 0.01, 2)
    until_reason(world, "low_confidence")
    unsure = world.ask("good")
    record = world.plane.record(unsure.call_id)
    assert (unsure.get("x-tutelage-route"), record.fallback) == ("teacher", "low_confidence")
    assert record.confidence == pytest.approx(score, abs=1e-4)
    bounded(score - 0.01, 3)
    until_reason(world, "state:live")
    assert world.ask("good").get("x-tutelage-route") == "student"


def test_a_full_queue_sends_calls_to_the_teacher(world: World) -> None:
    world.start()
    until(lambda: world.ask("good").get("x-tutelage-route") == "student")
    with concurrent.futures.ThreadPoolExecutor(6) as agents:
        answers = list(agents.map(lambda _: world.ask("good"), range(18)))
    said = Counter(answer.get("x-tutelage-reason") for answer in answers)
    assert set(said) == {"state:live", "student_queue_full"}


def test_killed_under_load_and_started_again(world: World) -> None:
    world.start()
    until(lambda: world.ask("good").get("x-tutelage-route") == "student")
    ends, said = time.monotonic() + 6.0, Counter[str]()

    def agent(number: int) -> None:
        while time.monotonic() < ends:
            said[world.ask("good", stream=False).get("x-tutelage-reason")] += 1

    with concurrent.futures.ThreadPoolExecutor(4) as agents:
        running = [agents.submit(agent, number) for number in range(4)]
        time.sleep(1.0)
        world.stop(signal.SIGKILL)
        for one in running:
            one.result()
    assert said["student_unreachable"] + said["student_breaker_open"] > 0, said
    assert all(reason == "state:live" or reason.startswith("student_") for reason in said), said
    world.start()
    until(lambda: world.ask("good").get("x-tutelage-route") == "student")


def test_memory_that_is_too_small(world: World) -> None:
    """The server lives, says why it has no student, and the proxy asks the teacher."""
    world.options |= {"context": 8_000_000}  # a cache of some GiB
    world.start(limit_bytes=4 * 2**30)
    until(lambda: (world.health() or {}).get("problems"))
    until_reason(world, "student_model_not_found")
    health = world.health() or {}
    assert health["students"] == []
    assert any("of them for what all slots read" in problem for problem in health["problems"])
