"""The demo's surroundings: free ports, a data folder, the teacher, `tutelage serve`, and how much memory they take."""

import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

CONFIG = """# The demo's settings; everything else is as it is for everyone.
[routing]
epsilon_tools = 0.10
session_idle_s = 2.0
audit_share = 0.05  # of live sessions: some hundred in the demo, where a service has thousands

[distill]
teacher_distillable = "yes"
targets = ["all-linear"]
layers_from = 15
batch = 4
epochs = 2.0
learning_rate = 2e-3
max_held_out = 16
epoch_sessions = 0
anchors = 8
canaries = 1
"""
STOP_S = 40.0


def free_port(wanted: int) -> int:
    """`wanted` when nobody listens there, else a port that the system picks."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return probe.getsockname()[1]
    raise RuntimeError("The system has no free port.")


@dataclass
class World:
    """Processes of the demo. Use it as a context manager: leaving it ends them."""

    data: Path | None = None
    upstream: str = ""
    """The teacher's base URL; without one the parcel desk's teacher is started."""
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    peak_mb: dict[str, float] = field(default_factory=dict)
    """Largest resident memory seen, in MB, by process."""

    def __post_init__(self) -> None:
        self._folder = None if self.data else tempfile.TemporaryDirectory(prefix="tutelage-demo-")
        self.root = self.data or Path(self._folder.name if self._folder else "")
        self.root.mkdir(parents=True, exist_ok=True)
        self.config = self.root / "demo.toml"
        self.config.write_text(CONFIG)
        self.ports = {name: free_port(port) for name, port in PORTS.items()}
        self._client = httpx.Client(timeout=30, trust_env=False)
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch_memory, daemon=True)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['plane']}/v1"

    @property
    def dashboard(self) -> str:
        return f"http://127.0.0.1:{self.ports['control']}"

    @property
    def teacher(self) -> str:
        return f"http://127.0.0.1:{self.ports['teacher']}"

    def __enter__(self) -> "World":
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._client.close()
        for name in ("serve", "teacher"):
            if process := self.processes.pop(name, None):
                process.terminate()
                try:
                    process.wait(STOP_S)
                except subprocess.TimeoutExpired:
                    process.kill()
        if self._folder:
            self._folder.cleanup()

    def start(self) -> None:
        """Start the teacher and `tutelage serve`, and wait until both answer."""
        if not self.upstream:
            teacher = ["-m", "tutelage.examples.parcels.teacher", "--port", str(self.ports["teacher"])]
            self._spawn("teacher", teacher, f"{self.teacher}/v1/models")
        upstream = self.upstream or f"{self.teacher}/v1"
        serve = ["-m", "tutelage", "serve", "--teacher", upstream, "--data", str(self.root)]
        serve += ["--port", str(self.ports["plane"]), "--control-port", str(self.ports["control"])]
        serve += ["--student-port", str(self.ports["student"]), "--config", str(self.config)]
        self._spawn("serve", serve, f"{self.dashboard}/healthz", f"{self.base_url.removesuffix('/v1')}/tutelage/health")

    def _spawn(self, name: str, arguments: list[str], *ready: str) -> None:
        log = self.root / f"{name}.log"
        with log.open("wb") as file:
            self.processes[name] = subprocess.Popen([sys.executable, *arguments], stdout=file, stderr=file)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.processes[name].poll() is None:
            try:
                if all(self._client.get(url).status_code == 200 for url in ready):
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
        raise RuntimeError(f"The {name} did not start:\n{log.read_text(errors='replace')[-2000:]}")

    def ask(self, path: str) -> Any:
        """GET from the admin API."""
        return self._client.get(f"{self.dashboard}{path}").raise_for_status().json()

    def change_teacher(self, **habits: bool) -> None:
        """Make the teacher change its ways."""
        self._client.post(f"{self.teacher}/habits", json=habits).raise_for_status()

    def _watch_memory(self) -> None:
        while not self._ended.wait(0.5):
            for name, pid in self._pids().items():
                # The children of `serve` are counted by their own names.
                self.peak_mb[name] = max(self.peak_mb.get(name, 0.0), resident_mb(pid, name != "serve"))

    def _pids(self) -> dict[str, int]:
        pids = {name: process.pid for name, process in dict(self.processes).items()}
        try:
            pids |= json.loads((self.root / "serve.json").read_text())["pids"]
        except (OSError, ValueError, KeyError):
            return pids
        return pids


PORTS = {"plane": 8400, "control": 8401, "student": 8402, "teacher": 8410}


def resident_mb(pid: int, with_children: bool = True) -> float:
    """Resident memory of a process, and of its children, in MB; 0 where the system has no /proc."""
    total = 0.0
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        total += next((float(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS")), 0.0)
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return total
    return total + sum(resident_mb(int(child)) for child in children if with_children)
