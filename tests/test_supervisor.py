"""The supervisor, with real processes that stand for the parts."""

import json
import os
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from tutelage.proxy.supervisor import Part, PartFailed, Supervisor, answers
from tutelage.traffic.layout import DataDir

SERVER = """
import http.server, signal, sys, pathlib
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *_): pass
def stop(*_):
    with open(sys.argv[2], "a") as log: log.write(sys.argv[3] + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def part(name: str, order: Path, code: str = SERVER, optional: bool = False) -> Part:
    port = free_port()
    command = [sys.executable, "-c", code, str(port), str(order), name]
    return Part(name, command, dict(os.environ), f"http://127.0.0.1:{port}/", optional=optional)


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    return DataDir(tmp_path).prepare()


def test_parts_start_and_stop_in_their_orders(data: DataDir, tmp_path: Path) -> None:
    order = tmp_path / "order"
    parts = [part("control", order), part("plane", order)]
    supervisor = Supervisor(data, parts, ("plane", "control"), {"control_url": "http://c"})
    supervisor.start()
    assert all(answers(one.ready_url) for one in parts)
    written = json.loads(data.serve.read_text())
    assert written["control_url"] == "http://c"
    assert written["pids"] == supervisor.pids()
    supervisor.stop()
    assert order.read_text().split() == ["plane", "control"]
    assert not any(answers(one.ready_url) for one in parts)
    assert not data.serve.exists()


def test_a_part_that_cannot_start_ends_all_with_its_own_words(data: DataDir, tmp_path: Path) -> None:
    good = part("control", tmp_path / "order")
    bad = part("plane", tmp_path / "order", "import sys; sys.exit('the port is taken')")
    supervisor = Supervisor(data, [good, bad], ("plane", "control"), {})
    supervisor.log("plane").write_text("words of an earlier run\n")
    with pytest.raises(PartFailed, match="the port is taken") as failed:
        supervisor.start()
    assert "earlier run" not in str(failed.value)
    assert supervisor.pids() == {}
    assert not answers(good.ready_url)


def test_a_killed_part_comes_back_and_a_late_one_starts_when_wanted(data: DataDir, tmp_path: Path) -> None:
    order, flag, said = tmp_path / "order", tmp_path / "flag", []
    plane = part("plane", order)
    late = part("student", order, optional=True)
    late = Part(late.name, late.command, late.environment, late.ready_url, wanted=flag.exists, optional=True)
    supervisor = Supervisor(data, [plane, late], ("plane", "student"), {}, say=said.append)
    supervisor.start()
    watcher = threading.Thread(target=supervisor.watch, args=(0.02,))
    watcher.start()
    try:
        first = supervisor.pids()["plane"]
        assert "student" not in supervisor.pids()
        os.kill(first, 9)
        flag.touch()
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and not (answers(plane.ready_url) and answers(late.ready_url)):
            time.sleep(0.02)
        assert supervisor.pids()["plane"] != first
        assert supervisor.restarts == {"plane": 1}
        assert json.loads(data.serve.read_text())["pids"] == supervisor.pids()
        assert any("code -9" in text for text in said)
    finally:
        supervisor.request_stop()
        watcher.join()
        supervisor.stop()
    assert sorted(order.read_text().split()) == ["plane", "student"]
