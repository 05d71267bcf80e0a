"""The demo's surroundings. The story itself is told by tests/test_story.py."""

import os
import socket
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from tutelage import config
from tutelage.examples.demo_world import CONFIG, World, free_port, resident_mb
from tutelage.examples.story import risk


def test_a_taken_port_is_replaced() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port) != port
    assert free_port(0) > 0


def test_the_demo_only_shortens_the_idle_gap_audits_more_and_takes_the_allowed_limit(tmp_path: Path) -> None:
    file = tmp_path / "demo.toml"
    file.write_text(CONFIG)
    routing, usual = config.load(file).control().routing, config.load().control().routing
    before, after = asdict(usual), asdict(routing)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"epsilon_tools", "session_idle_s", "audit_share"}
    assert routing.epsilon_tools == 0.10
    assert routing.alpha == 0.05


def test_memory_of_a_process_counts_its_children() -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as process:
        assert 1 < resident_mb(os.getpid()) < 100_000
        assert resident_mb(process.pid, with_children=False) <= resident_mb(process.pid)
        process.communicate(b"\n")
    assert resident_mb(process.pid) == 0


def test_teacher_and_serve_come_up_and_go_down_again(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        world.start()
        assert world.ask("/api/store/stats")["calls"] == 0
        world.change_teacher(plain_numbers=True)
        serve = world.processes["serve"]
    assert serve.returncode == 0
    assert "Stopped." in (tmp_path / "serve.log").read_text()


@pytest.mark.parametrize(
    ("sessions", "words"), [(0, "no compared session"), (40, "2.5% (0.1% to 12.0%) in 40 sessions")]
)
def test_a_share_is_never_shown_without_its_interval(sessions: int, words: str) -> None:
    assert words in risk({"sessions": sessions, "risk": 0.025, "low": 0.001, "high": 0.12})
