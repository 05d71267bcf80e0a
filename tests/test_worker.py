"""A worker made from its options, and how the process that holds the port looks after workers."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tutelage.proxy.dataplane import Workers, check, listen
from tutelage.proxy.options import DataPlaneOptions, TeacherOptions, to_environment
from tutelage.proxy.worker import LISTENER, build, limits_of, sync_of, upstream_of
from tutelage.traffic.errors import BadInput

SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]


def options(folder: Path, **chosen: object) -> DataPlaneOptions:
    settings: dict[str, object] = {"data": str(folder), "teacher_url": "http://teacher.test/v1/", **chosen}
    return DataPlaneOptions(**settings)  # pyright: ignore[reportArgumentType]


def eventually(holds: Callable[[], bool]) -> bool:
    ends = time.monotonic() + 10
    while not holds() and time.monotonic() < ends:
        time.sleep(0.02)
    return holds()


def test_the_options_reach_their_places(tmp_path: Path) -> None:
    other = TeacherOptions(name="other", models=("o-*",), url="http://other.test/v1")
    chosen = options(tmp_path, teachers=(other,), max_body_bytes=7, max_header_bytes=8, request_timeout_s=9.0)
    upstream = upstream_of(chosen)
    plane = build(chosen, upstream)
    assert plane.journal.close()
    assert (plane.max_body_bytes, plane.max_concurrent) == (7, 2000)
    assert plane.relay.teachers.of("o-1").name == "other"
    assert plane.relay.teachers.of("m").url == "http://teacher.test/v1"
    assert set(plane.relay.breakers) == {"default", "other", "student"}
    limits = limits_of(chosen)
    assert (limits.body_bytes, limits.head_bytes, limits.request_s) == (7, 8, 9.0)


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({"journal_sync": "sometimes"}, "'interval', 'always' or 'os'"),
        ({"teacher_key_env": "TUTELAGE_NOT_SET"}, "TUTELAGE_NOT_SET"),
        ({"ca_file": "/nowhere/ca.pem"}, "ca_file"),
        ({"teacher_url": "teacher"}, "URL"),
    ],
)
def test_what_would_keep_a_worker_from_starting_is_said_before(
    tmp_path: Path, chosen: dict[str, object], words: str
) -> None:
    with pytest.raises(BadInput, match=words):
        check(options(tmp_path, **chosen))


def test_the_ways_to_sync() -> None:
    assert [sync_of(name) for name in ("interval", "always", "os")] == ["interval", "always", "os"]


def test_dead_workers_are_replaced_and_living_ones_ended() -> None:
    listener = listen("127.0.0.1", 0)
    workers = Workers(SLEEPER, listener, 2)
    running = threading.Thread(target=workers.run)
    running.start()
    me = psutil.Process()
    assert eventually(lambda: len(me.children()) == 2)
    first = me.children()[0]
    os.kill(first.pid, signal.SIGKILL)
    assert eventually(lambda: first not in me.children() and len(me.children()) == 2)
    workers.stop()
    running.join(20)
    assert not running.is_alive()
    assert me.children() == []


def test_a_worker_whose_options_are_wrong_says_so(tmp_path: Path) -> None:
    listener = listen("127.0.0.1", 0)
    number = str(listener.fileno())
    environment = {**to_environment(options(tmp_path, teacher_url="nothing")), LISTENER: number}
    command = [sys.executable, "-m", "tutelage.proxy.worker"]
    done = subprocess.run(
        command, env=environment, pass_fds=[int(number)], capture_output=True, text=True, timeout=30, check=False
    )
    listener.close()
    assert done.returncode == 1
    assert "URL" in done.stderr
    assert "Traceback" not in done.stderr
