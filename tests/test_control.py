"""The control plane as a process."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from lock_holder import held_by_a_child

from tutelage.proxy.admin_client import AdminClient
from tutelage.proxy.control import ControlPlane
from tutelage.proxy.options import ControlOptions, to_environment
from tutelage.traffic.errors import DataFolderLocked, UnknownName
from tutelage.traffic.journal import JournalWriter
from tutelage.traffic.layout import DataDir
from tutelage.traffic.records import encode


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def running(data: DataDir) -> Iterator[tuple[subprocess.Popen[str], str]]:
    port = free_port()
    options = ControlOptions(data=str(data.root), teacher_url="http://127.0.0.1:9/v1", port=port)
    process = subprocess.Popen(
        [sys.executable, "-m", "tutelage.proxy.control"], env=to_environment(options), stderr=subprocess.PIPE, text=True
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(400):
            try:
                if httpx.get(f"{url}/healthz", trust_env=False).status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.05)
        yield process, url
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="who has lost its parent is told by /proc")
def test_it_waits_for_one_whose_parent_was_killed(tmp_path: Path) -> None:
    """And for nobody else: see the test of two on one folder."""
    data = DataDir(tmp_path).prepare()
    with held_by_a_child(data, 2.5) as starter:
        starter.kill()
        starter.wait()
        with running(data) as (process, url):
            assert process.poll() is None
            assert httpx.get(f"{url}/healthz", trust_env=False).status_code == 200


def wait_for_calls(url: str, calls: int) -> None:
    until = time.monotonic() + 20
    while httpx.get(f"{url}/api/store/stats", trust_env=False).json()["calls"] < calls:
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_process_takes_in_the_journal_survives_a_kill_and_stops_in_order(tmp_path: Path, make_call: Any) -> None:
    data = DataDir(tmp_path / "data").prepare()
    writer = JournalWriter(data.journal)

    def say(number: int) -> None:
        messages = [{"role": "user", "content": f"question {number}"}]
        assert writer.append(encode(make_call(messages, {"role": "assistant", "content": "yes"})))
        assert writer.flush()

    for number in range(10):
        say(number)
    with running(data) as (process, url):
        wait_for_calls(url, 10)
        with pytest.raises(DataFolderLocked):
            ControlPlane.open(data, ControlOptions(data=str(data.root), teacher_url=""))
        with AdminClient.open(data) as client:  # over HTTP, for a control plane runs
            assert client.get("/api/store/stats")["calls"] == 10
            with pytest.raises(UnknownName, match="no pattern"):
                client.get("/api/routes/nonsense")
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    for number in range(10, 15):
        say(number)
    with running(data) as (process, url):
        wait_for_calls(url, 15)
        say(15)
        process.terminate()
        assert process.wait(20) == 0
    with AdminClient.open(data) as client:  # in this process, for none runs
        assert client.get("/api/store/stats")["calls"] == 16
    writer.close()


def test_a_locked_folder_is_one_clear_line(tmp_path: Path) -> None:
    data = DataDir(tmp_path / "data").prepare()
    options = ControlOptions(data=str(data.root), teacher_url="")
    plane = ControlPlane.open(data, options, "http://127.0.0.1:8401")
    command = [sys.executable, "-m", "tutelage.proxy.control"]
    second = subprocess.run(command, env=to_environment(options), capture_output=True, text=True, check=False)
    plane.close()
    assert second.returncode == 1
    assert "in use by process" in second.stderr
    assert "Traceback" not in second.stderr


def test_nothing_is_held_when_the_store_cannot_be_opened(tmp_path: Path) -> None:
    data = DataDir(tmp_path / "data").prepare()
    data.store.write_bytes(b"this is no database" * 100)
    options = ControlOptions(data=str(data.root), teacher_url="")
    with pytest.raises(Exception, match="store"):
        ControlPlane.open(data, options)
    data.store.unlink()
    ControlPlane.open(data, options).close()


def test_heavy_packages_stay_out(tmp_path: Path) -> None:
    code = (
        "import sys, json, tutelage.proxy.control;"
        "print(json.dumps([m for m in ('torch', 'transformers', 'peft', 'trl', 'presidio_analyzer', 'xllamacpp')"
        " if m in sys.modules]))"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert json.loads(child.stdout) == []
