"""The running data plane when something around it goes wrong: slow agents, dead upstreams, stops, switches.

Real processes and raw sockets; teacher and student are servers in this process.
"""

import concurrent.futures
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from conformance.plane import Plane, Response, free_port, post, started
from conformance.wire import DROP, Seen, Step, WireServer, chunked, whole

from tutelage.proxy.options import ControlOptions, TeacherOptions, to_environment
from tutelage.proxy.routes import Route, RouteTable, publish_table
from tutelage.proxy.supervisor import answers
from tutelage.traffic.facts import facts_of
from tutelage.traffic.layout import DataDir
from tutelage.traffic.patterns import PatternEntry, Registry

PATTERN, STUDENT = "p_0123456789", "small@0123456789ab"
FRAME = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
COMPLETION = json.dumps({"choices": [{"index": 0, "message": {"role": "assistant", "content": "small"}}]}).encode()
DOWN = whole("503 Service Unavailable", b"{}")


def chat(task: str, **fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": task}], **fields}).encode()


def health(plane: Plane) -> dict[str, Any]:
    with plane.wire() as wire:
        wire.send(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        return json.loads(wire.read().body)


def until(true: Callable[[], bool], seconds: float = 10.0) -> float:
    """Seconds until `true` is."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds, "it did not come to that"
        time.sleep(0.02)
    return time.monotonic() - began


def processes() -> tuple[psutil.Process, list[psutil.Process]]:
    """The newest data plane that this process runs, and its workers."""
    plane = max(_running("tutelage.proxy.dataplane", psutil.Process()), key=psutil.Process.create_time)
    return plane, _running("tutelage.proxy.worker", plane)


def _running(module: str, parent: psutil.Process) -> list[psutil.Process]:
    found = []
    for child in parent.children():
        with contextlib.suppress(psutil.Error):  # it may be ending
            found += [child] if module in child.cmdline() else []
    return found


def test_slow_senders_are_cut_and_hurt_nobody(tmp_path: Path) -> None:
    beginnings = [b"POST /v1/chat", post(chat("slow"))[:-5], b"POST /v1/chat/completions HTTP/1.1\r\nx-a: "]
    with started(tmp_path, request_timeout_s=1) as plane, contextlib.ExitStack() as stack:
        began = time.monotonic()
        slow = [stack.enter_context(plane.wire()) for _ in range(60)]
        for number, wire in enumerate(slow):
            wire.send(beginnings[number % len(beginnings)])
        drips = threading.Thread(target=lambda: [_drip(wire.socket.send, b"a") for wire in slow[2::3]])
        drips.start()
        slowest = 0.0
        while time.monotonic() - began < 1.5:
            asked = time.monotonic()
            assert plane.ask(chat("quick")).status == 200
            slowest = max(slowest, time.monotonic() - asked)
        drips.join()
        for wire in slow:
            answer = wire.line()
            assert answer == b"" or b" 408 " in answer
        assert time.monotonic() - began < 8
        assert slowest < 0.7


def _drip(send: Callable[[bytes], int], piece: bytes) -> None:
    with contextlib.suppress(OSError):
        send(piece)


def test_a_head_that_is_too_large_is_refused(tmp_path: Path) -> None:
    with started(tmp_path, max_header_bytes=8192) as plane:
        with plane.wire() as wire:
            wire.send(post(chat("x"), ("x-long", "a" * 600_000)))
            assert wire.read().status == 431
        with plane.wire() as endless:
            endless.send(b"GET /v1/models HTTP/1.1\r\n")
            for _ in range(100):
                endless.send(b"x-a: " + b"b" * 200 + b"\r\n")
            assert endless.read().status == 431
        assert plane.ask(chat("x"), ("x-long", "a" * 5000)).status == 200


@pytest.mark.slow
def test_an_agent_that_does_not_read_its_stream_costs_no_memory(tmp_path: Path) -> None:
    pieces = [FRAME * 1000] * 3500  # 200 MB
    size = sum(map(len, pieces))
    with started(tmp_path) as plane:
        assert plane.ask(chat("warm")).status == 200
        _, (worker,) = processes()
        before = worker.memory_info().rss
        with plane.wire() as wire:
            script = plane.teacher.play(chunked(pieces))
            wire.send(post(chat("flood", stream=True), ("x-script", script)))
            peak = 0
            for _ in range(20):
                time.sleep(0.1)
                peak = max(peak, worker.memory_info().rss)
                assert plane.ask(chat("other")).status == 200
            got, tail = 0, b""
            while not tail.endswith(b"0\r\n\r\n"):
                piece = wire.socket.recv(1 << 20)
                assert piece, "the answer broke off"
                got, tail = got + len(piece), (tail + piece)[-8:]
            peak = max(peak, worker.memory_info().rss)
        assert got > size
        # What is kept for the log is at most one body's limit, 32 MB, and is copied when the record is written.
        assert peak - before < 120 << 20, f"{(peak - before) >> 20} MB"


def test_more_calls_than_allowed_are_told_to_come_again(tmp_path: Path) -> None:
    with started(tmp_path, max_concurrent=3) as plane, contextlib.ExitStack() as stack:
        script = plane.teacher.play([1.5, *whole("200 OK", COMPLETION)])
        busy = [stack.enter_context(plane.wire()) for _ in range(3)]
        for wire in busy:
            wire.send(post(chat("long"), ("x-script", script)))
        until(lambda: health(plane)["in_flight"] == 3)
        refused = plane.ask(chat("one too many"))
        assert refused.status == 503
        assert json.loads(refused.body)["error"]["code"] == "proxy_busy"
        assert (refused.get("retry-after"), refused.get("x-should-retry")) == ("1", "true")
        assert [wire.read().status for wire in busy] == [200] * 3
        assert plane.ask(chat("again")).status == 200
        assert plane.record(refused.call_id).error == "proxy_busy"


def test_a_teacher_that_is_down_is_left_alone_until_it_is_back(tmp_path: Path) -> None:
    with started(tmp_path, breaker_failures=4, breaker_window_s=10, breaker_pause_s=1, retries=0) as plane:
        statuses = [plane.played(DOWN, chat("down")).status for _ in range(2)]
        statuses += [plane.played([DROP], chat("down")).status for _ in range(2)]
        assert statuses == [503, 503, 502, 502]
        asked = len(plane.teacher.seen)
        began = time.monotonic()
        refused = [plane.ask(chat("refused")) for _ in range(20)]
        assert time.monotonic() - began < 0.9
        assert {answer.status for answer in refused} == {503}
        assert json.loads(refused[0].body)["error"]["code"] == "upstream_breaker_open"
        assert refused[0].get("retry-after") == "1"
        assert len(plane.teacher.seen) == asked
        assert health(plane)["breakers"]["default"]["state"] == "open"
        until(lambda: plane.ask(chat("back?")).status == 200, 3)
        assert health(plane)["breakers"]["default"]["state"] == "closed"
        assert plane.record(refused[0].call_id).error == "upstream_breaker_open"


def test_nobody_at_the_teachers_address_is_tried_again_and_then_said(tmp_path: Path) -> None:
    nobody = TeacherOptions(name="gone", models=("gone-*",), url=f"http://127.0.0.1:{free_port()}/v1")
    with started(tmp_path, retries=2, teachers=(nobody,)) as plane:
        answer = plane.ask(chat("x", model="gone-1"))
        error = json.loads(answer.body)["error"]
        assert (answer.status, error["code"]) == (502, "upstream_unreachable")
        assert "refused" in error["message"]
        assert health(plane)["retries"] == 2
        assert plane.ask(chat("x")).status == 200


class Student(WireServer):
    """A student server that plays `steps`."""

    def __init__(self, steps: list[Step]) -> None:
        super().__init__(self._answer_of)
        self.steps: Sequence[Step] = steps

    async def _answer_of(self, seen: Seen) -> list[Step]:
        return list(self.steps)


@contextlib.contextmanager
def with_student(data: Path, student: Student, **options: Any) -> Iterator[Plane]:
    """A data plane whose calls `chat(…)` are the student's, for a caller that the teacher has accepted."""
    with started(data, student_url=f"http://127.0.0.1:{student.port}/v1", **options) as plane:
        facts = facts_of(json.loads(chat("x")))
        assert facts is not None
        entry = PatternEntry(
            pattern_id=PATTERN,
            agent_id="a_0123456789",
            name="task",
            version=1,
            role=facts.role,
            agent_key=facts.agent_key,
        )
        Registry([entry]).publish(DataDir(data).patterns)
        publish_routes(data, 1)
        until(lambda: route_of(plane.ask(chat("x"))) == "student")
        yield plane


def publish_routes(data: Path, serial: int, state: str = "live", off: bool = False) -> None:
    route = Route(state=state, student=STUDENT, share=1.0, salt="s")
    publish_table(DataDir(data).routes, RouteTable(serial=serial, off=off, routes={PATTERN: route}))


def route_of(answer: Response) -> str:
    assert answer.status == 200
    return answer.get("x-tutelage-route")


def test_a_student_that_hangs_costs_a_delay_only_until_its_breaker_opens(tmp_path: Path) -> None:
    good = whole("200 OK", COMPLETION)
    with (
        Student(good) as student,
        with_student(
            tmp_path, student, student_timeout_s=0.4, breaker_failures=3, breaker_window_s=10, breaker_pause_s=1
        ) as plane,
    ):
        student.steps = [5.0]
        # Half of the calls of the window must fail: those before were answered.
        until(lambda: plane.ask(chat("x")).get("x-tutelage-reason") == "student_breaker_open", 20)
        began = time.monotonic()
        late = [plane.ask(chat("x")) for _ in range(5)]
        assert time.monotonic() - began < 0.4
        assert {route_of(answer) for answer in late} == {"teacher"}
        student.steps = good
        until(lambda: route_of(plane.ask(chat("x"))) == "student", 5)


@pytest.mark.parametrize("steps", [[DROP], DOWN, [b"garbage\r\n\r\n"], whole("200 OK", b"")])
def test_whatever_the_student_does_wrong_the_teacher_answers(tmp_path: Path, steps: list[Step]) -> None:
    with Student(whole("200 OK", COMPLETION)) as student, with_student(tmp_path, student) as plane:
        student.steps = steps
        for stream in (False, True):
            answer = plane.ask(chat("x", stream=stream))
            assert route_of(answer) == "teacher"
            assert answer.get("x-tutelage-reason").startswith("student_")
            assert plane.record(answer.call_id).fallback.startswith("student_")


@pytest.mark.parametrize("switch", [{"off": True}, {"state": "off"}], ids=["all", "one pattern"])
def test_switching_off_reaches_every_worker_within_a_second(tmp_path: Path, switch: dict[str, Any]) -> None:
    with Student(whole("200 OK", COMPLETION)) as student, with_student(tmp_path, student, workers=3) as plane:
        assert len(processes()[1]) == 3
        stop, seen = threading.Event(), list[tuple[float, str]]()

        def load() -> None:
            while not stop.is_set():
                asked = time.monotonic()
                seen.append((asked, route_of(plane.ask(chat("x")))))

        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            loads = [pool.submit(load) for _ in range(6)]
            time.sleep(1)
            publish_routes(tmp_path, 2, **switch)
            switched = time.monotonic()
            time.sleep(2)
            stop.set()
            for one in loads:
                one.result(20)
        late = [asked - switched for asked, route in seen if route == "student" and asked > switched + 1]
        assert late == []
        assert sum(route == "student" for asked, route in seen if asked < switched) > 20
        assert sum(route == "teacher" for asked, route in seen if asked > switched + 1) > 20


def test_sigterm_lets_streams_run_to_their_end_and_takes_no_more(tmp_path: Path) -> None:
    with started(tmp_path, workers=2) as plane:
        plane_process, workers = processes()
        script = plane.teacher.play(chunked([FRAME] * 20, pause_s=0.1))
        with contextlib.ExitStack() as stack:
            running = [stack.enter_context(plane.wire()) for _ in range(10)]
            for wire in running:
                wire.send(post(chat("long", stream=True), ("x-script", script)))
            until(lambda: sum(b"long" in seen.body for seen in plane.teacher.seen) == 10)
            plane_process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            with pytest.raises(OSError):
                plane.wire()
            ended = [wire.read() for wire in running]
        assert {answer.body.count(FRAME) for answer in ended} == {20}
        gone, alive = psutil.wait_procs([plane_process, *workers], timeout=10)
        assert alive == [], f"{len(gone)} have ended"
        for answer in ended:
            assert not plane.record(answer.call_id).cancelled


@pytest.mark.chaos
def test_a_worker_that_is_killed_is_replaced_and_the_others_go_on(tmp_path: Path) -> None:
    with started(tmp_path, workers=2) as plane:
        _, workers = processes()
        os.kill(workers[0].pid, signal.SIGKILL)
        answered = 0
        for _ in range(50):
            with contextlib.suppress(OSError, AssertionError):
                answered += plane.ask(chat("x")).status == 200
        assert answered >= 45
        until(lambda: len(processes()[1]) == 2)
        assert plane.ask(chat("x")).status == 200


@pytest.mark.chaos
def test_a_control_plane_that_stands_still_or_is_killed_changes_nothing_for_agents(tmp_path: Path) -> None:
    with started(tmp_path, workers=2) as plane:
        options = ControlOptions(data=str(tmp_path), teacher_url=plane.teacher.url, port=free_port())
        command = [sys.executable, "-m", "tutelage.proxy.control"]
        log = tmp_path / "control.log"
        with log.open("wb") as out, subprocess.Popen(command, env=to_environment(options), stderr=out) as control:
            try:
                until(lambda: answers(f"http://127.0.0.1:{options.port}/healthz"), 30)
                took = {"running": calls(plane, 100)}
                control.send_signal(signal.SIGSTOP)
                took["stopped"] = calls(plane, 100)
            finally:
                control.kill()
        took["killed"] = calls(plane, 100)
        assert max(took.values()) < 5, took


def calls(plane: Plane, count: int) -> float:
    """Seconds that so many calls take, all of them answered."""
    began = time.monotonic()
    for number in range(count):
        assert plane.ask(chat("x", stream=number % 2 == 0)).status == 200
    return time.monotonic() - began
