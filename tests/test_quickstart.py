"""docs/quickstart.md is run as it stands: on ports and in a folder of the test's own, up to the first training."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

PAGE = Path(__file__).parent.parent / "docs" / "quickstart.md"
STARTED_S = 120


class Reader:
    """Somebody who does what the page says, in an empty folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        sockets = [socket.socket() for _ in range(4)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        given = [str(one.getsockname()[1]) for one in sockets]
        self.ports: dict[str, str] = dict(zip(("8400", "8401", "8402", "8410"), given, strict=True))
        for one in sockets:
            one.close()
        self.environ = os.environ | {f"TUTELAGE_{name}": self.ports[port] for name, port in NAMED.items()}
        self.environ |= {"TUTELAGE_URL": self.moved("http://127.0.0.1:8400/v1"), "NO_COLOR": "1"}
        self.environ |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        self.running: list[subprocess.Popen[bytes]] = []

    def moved(self, text: str) -> str:
        return re.sub(r"\b84(00|01|02|10)\b", lambda match: self.ports[match[0]], text)

    def follow(self, heading: str) -> str:
        """Do everything that is in the blocks below a heading; returns what was printed."""
        part = PAGE.read_text().split(f"\n## {heading}", 1)[1].split("\n## ", 1)[0]
        shown = ""
        for language, block in re.findall(r"^```(\w+)\n(.*?)^```$", part, re.M | re.S):
            if language == "python":
                shown += self.done([sys.executable, "-c", self.moved(block)])
                continue
            for line in self.moved(block).replace("\\\n", " ").splitlines():
                shown += self.shell(line)
        return shown

    def shell(self, line: str) -> str:
        words = shlex.split(line)
        if words[0] == "export":
            self.environ |= dict(word.split("=", 1) for word in words[1:])
            return ""
        if "pip" in words:
            return ""  # it is installed already
        if "agent" in words[2]:
            words += ["--base-url", self.moved("http://127.0.0.1:8400/v1")]
        if words[-1] == "&":
            with (self.folder / "log").open("ab") as log:
                self.running.append(
                    subprocess.Popen(words[:-1], cwd=self.folder, env=self.environ, stdout=log, stderr=log)
                )
            return ""
        if words[:3] in (["tutelage", "calls", "list"], ["tutelage", "patterns", "list"]):
            return self.listed(words)
        return self.done(words)

    def listed(self, words: list[str]) -> str:
        """What a list shows once the store has caught up: "a moment later", as the page says."""
        deadline = time.monotonic() + STARTED_S
        while (found := self.done(words)) == "Nothing yet.\n" and time.monotonic() < deadline:
            time.sleep(0.5)
        return found

    def done(self, command: list[str]) -> str:
        done = subprocess.run(command, cwd=self.folder, env=self.environ, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, (command, done.stderr, (self.folder / "log").read_text())
        return done.stdout

    def wait(self) -> None:
        deadline = time.monotonic() + STARTED_S
        while time.monotonic() < deadline:
            try:
                if httpx.get(self.moved("http://127.0.0.1:8400/tutelage/health"), trust_env=False).is_success:
                    return
            except httpx.TransportError:
                time.sleep(0.2)
        raise AssertionError((self.folder / "log").read_text())


NAMED = {"PORT": "8400", "CONTROL_PORT": "8401", "STUDENT_PORT": "8402"}


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    reader = Reader(tmp_path)
    yield reader
    for process in reversed(reader.running):
        process.send_signal(signal.SIGTERM)
        process.wait(60)


@pytest.mark.slow
def test_the_page_can_be_followed_up_to_the_training(reader: Reader) -> None:
    reader.follow("2. Start a teacher and the proxy")
    reader.wait()
    first = reader.follow("3. First answer")
    assert "teacher answered: For parcel PA-12345" in first
    assert "unknown_pattern" in first
    traffic = reader.follow("4. Traffic")
    assert "sessions=240" in traffic
    assert "errors=0" in traffic
    assert len(set(re.findall(r"\bp_[0-9a-f]{10}\b", traffic))) == 2
    assert "on its way in Lyon" in reader.follow("With LangGraph")
    listed = reader.done(["tutelage", "trajectories", "list", "--data", "first"])
    assert "plugin:langchain" in listed
    assert "error" not in reader.shell('tutelage routes off all --data first --reason "trying the switch"').lower()
