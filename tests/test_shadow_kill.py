"""The shadow runner, killed again and again: no label is lost, none repeated, hardly a question asked twice."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

import httpx
import pytest
from test_control import free_port

from tutelage.proxy.options import to_environment
from tutelage.traffic.store import Store

pytestmark = [pytest.mark.chaos, pytest.mark.slow]
SESSIONS, KILLS, AT_A_TIME = 90, 2, 4


class Student(ThreadingHTTPServer):
    """Does what it is asked for after a moment, but for every seventh parcel; counts the questions on each."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.asked: Counter[str] = Counter()


class Answer(BaseHTTPRequestHandler):
    """One answer."""

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        parcel = request["messages"][-1]["content"].split()[1]
        cast(Student, self.server).asked[parcel] += 1
        time.sleep(0.02)
        arguments = json.dumps({"parcel": parcel, "status": "lost" if int(parcel[1:]) % 7 == 0 else "sent"})
        call = {"id": "c", "type": "function", "function": {"name": "set_status", "arguments": arguments}}
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
        usage = {"prompt_tokens": 30, "completion_tokens": 9}
        body = json.dumps({"choices": [{"message": message, "finish_reason": "tool_calls"}], "usage": usage}).encode()
        try:
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            pass  # whoever asked has been killed

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def student() -> Iterator[Student]:
    with Student() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def test_killed_while_it_shadows(control_world: Any) -> None:
    world = control_world
    world.play(40)
    world.add_student()
    world.play(SESSIONS)
    pattern = world.pattern
    world.plane.close()
    with student() as server:
        address = f"http://127.0.0.1:{server.server_address[1]}/v1"
        chosen = {"port": free_port(), "student_url": address, "shadow_concurrency": AT_A_TIME}
        options = replace(world.options, teacher_url="", **chosen)
        url = f"http://127.0.0.1:{options.port}/api/pairs"
        killed_at = [SESSIONS * (kill + 1) // (KILLS + 2) for kill in range(KILLS)]
        for wanted in (*killed_at, SESSIONS):
            process = subprocess.Popen(
                [sys.executable, "-m", "tutelage.proxy.control"], env=to_environment(options), stderr=subprocess.DEVNULL
            )
            try:
                labelled(url, pattern, wanted)
            finally:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
    with Store(world.data.store) as store:
        rows = store.query("SELECT call_id, loss, student_prompt_tokens, student_ms FROM comparisons")
        assert len(rows) == len({row["call_id"] for row in rows}) == SESSIONS
        numbers = range(41, 41 + SESSIONS)
        assert sum(row["loss"] for row in rows) == sum(number % 7 == 0 for number in numbers)
        assert all(row["student_prompt_tokens"] == 30 and row["student_ms"] >= 20 for row in rows)
    assert set(server.asked) == {f"P{number:05d}" for number in numbers}
    # Asked twice is only what was in flight, or answered within the keeper's last round, when it was killed.
    assert server.asked.total() - SESSIONS <= KILLS * 16 * AT_A_TIME
    world.plane = world.open()


def labelled(url: str, pattern: str, wanted: int) -> None:
    """Wait until so many pairs are in the store."""
    until = time.monotonic() + 120
    while True:
        try:
            rows = httpx.get(url, params={"pattern": pattern, "limit": 10_000}, trust_env=False).json()
            if len(rows) >= wanted:
                return
        except httpx.HTTPError:
            pass  # it is starting
        assert time.monotonic() < until
        time.sleep(0.05)
