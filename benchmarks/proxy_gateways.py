"""Starting and watching the gateways of the proxy's benchmark: this program's data plane and its peers.

All run on one core and are frozen (SIGSTOP) while another is measured, so that rounds can be interleaved without the
resting ones taking part. A peer lives in an environment of its own below `--peers`; see docs/benchmarks.md.
"""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tutelage.proxy.options import DataPlaneOptions, to_environment

from .proxy_mock import CONFIGS, MODEL, NotInstalled, program, request_body

START_S = 120
"""Longest start of a gateway, in seconds."""
_KEY = "sk-bench"


@dataclass(frozen=True)
class Plan:
    """How a gateway is started and called."""

    command: list[str]
    url: str
    """Of its chat completions; empty when the gateway prints its base URL."""
    environment: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    model: str = MODEL


@dataclass(frozen=True)
class Peer:
    """A gateway that this program is compared with."""

    name: str
    home: str
    """Its folder below `--peers`."""
    package: str
    version: str
    plan: Callable[[Path, Path, str, int], Plan]
    """From its folder, a working folder, the teacher's base URL and a free port."""
    times: float | None
    """So many times its calls per second are wanted of the data plane; None: shown without a bar."""
    note: str = "no log"

    def install(self, peers: Path) -> None:
        """Install it. Raises NotInstalled (no npm) and subprocess.CalledProcessError."""
        home = peers / self.home
        if self.package.startswith("@"):
            home.mkdir(parents=True, exist_ok=True)
            (home / "package.json").write_text((CONFIGS / "package.json").read_text())
            subprocess.run([program("npm"), "install", "--no-audit", "--no-fund"], cwd=home, check=True)
            return
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        pip = [str(home / "bin" / "python"), "-m", "pip", "install", "-q"]
        subprocess.run([*pip, f"{self.package}=={self.version}"], check=True)

    def installed(self, peers: Path) -> str:
        """The version found there, empty when there is none."""
        home = peers / self.home
        if self.package.startswith("@"):
            manifest = home / "node_modules" / self.package / "package.json"
            return str(json.loads(manifest.read_text())["version"]) if manifest.exists() else ""
        name = self.package.split("[")[0]
        code = f"import importlib.metadata; print(importlib.metadata.version({name!r}))"
        try:
            done = subprocess.run([home / "bin" / "python", "-c", code], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return ""
        return done.stdout.strip()


def _written(name: str, folder: Path, upstream: str) -> str:
    """The peer's configuration with the upstream in it; its path."""
    path = folder / name
    head, _, rest = (CONFIGS / name).read_text().partition("\n")
    path.write_text(head + "\n" + rest.replace("UPSTREAM", upstream))
    return str(path)


def _tensorzero(home: Path, folder: Path, upstream: str, port: int) -> Plan:
    script, config = str(CONFIGS / "tensorzero_gateway.py"), _written("tensorzero.toml", folder, upstream)
    return Plan([str(home / "bin" / "python"), script, config], "", model=f"tensorzero::model_name::{MODEL}")


def _mlflow(home: Path, folder: Path, upstream: str, port: int) -> Plan:
    command = [str(home / "bin" / "mlflow"), "gateway", "start", "--workers", "1", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--config-path", _written("mlflow.yaml", folder, upstream)]
    return Plan(command, f"http://127.0.0.1:{port}/v1/chat/completions", {"OPENAI_API_KEY": "x"})


def _portkey(home: Path, folder: Path, upstream: str, port: int) -> Plan:
    script = home / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    if not script.exists():
        raise _missing("Portkey", script)
    config = {"provider": "openai", "api_key": "x", "custom_host": upstream}
    command = [program("node"), str(script), "--headless", f"--port={port}"]
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    return Plan(command, url, headers={"x-portkey-config": json.dumps(config)})


def _litellm(home: Path, folder: Path, upstream: str, port: int) -> Plan:
    command = [str(home / "bin" / "litellm"), "--config", _written("litellm.yaml", folder, upstream)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    environment = {"LITELLM_MASTER_KEY": _KEY, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    return Plan(command, f"http://127.0.0.1:{port}/v1/chat/completions", environment)


def _rllm(home: Path, folder: Path, upstream: str, port: int) -> Plan:
    command = [str(home / "bin" / "rllm-model-gateway"), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--worker", upstream, "--db-path", str(folder / "rllm.db")]
    return Plan(command, f"http://127.0.0.1:{port}/sessions/bench/v1/chat/completions")


PEERS = (
    Peer("TensorZero", "tensorzero", "tensorzero", "2026.6.0", _tensorzero, 2),
    Peer("MLflow", "mlflow", "mlflow[gateway]", "3.17.2", _mlflow, 6),
    Peer("Portkey", "portkey", "@portkey-ai/gateway", "1.15.2", _portkey, 10),
    Peer("LiteLLM", "litellm", "litellm[proxy]", "1.106.2", _litellm, 40),
    Peer("rllm", "rllm", "rllm-model-gateway", "0.1.0", _rllm, None, "SQLite log"),
)


def tutelage_plan(data: Path, upstream: str, port: int) -> Plan:
    """This program's data plane as it is shipped: one worker, body logging on."""
    options = DataPlaneOptions(data=str(data), teacher_url=upstream, port=port, workers=1)
    environment = {name: text for name, text in to_environment(options).items() if name.startswith("TUTELAGE_")}
    command = [sys.executable, "-m", "tutelage.proxy.dataplane"]
    return Plan(command, f"http://127.0.0.1:{port}/v1/chat/completions", environment)


@dataclass
class Gateway:
    """A running gateway; `process` is None for the way straight to the mock."""

    name: str
    url: str
    headers: dict[str, str]
    model: str
    command: list[str] = field(default_factory=list)
    process: "subprocess.Popen[bytes] | None" = None
    answered: int = 0
    """Calls it has answered with 2xx until it was ready."""

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it, politely at first, and then whatever it has left behind in its group."""
        if self.process is None:
            return
        self.resume()
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(15)
        self._signal(signal.SIGKILL)
        self.process.wait(15)

    def _signal(self, number: signal.Signals) -> None:
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def worker(self) -> psutil.Process:
        """The process that does the work: the one that has used most CPU time so far."""
        assert self.process is not None
        top = psutil.Process(self.process.pid)
        return max([top, *top.children(recursive=True)], key=lambda process: sum(process.cpu_times()[:2]))

    def get(self, path: str) -> dict[str, Any]:
        """A JSON document of the gateway's own."""
        with urllib.request.urlopen(self.url.partition("/v1/")[0] + path, timeout=10) as answer:
            return json.loads(answer.read())


def start(name: str, plan: Plan, folder: Path, core: int) -> Gateway:
    """Start a gateway on one core and wait for its first good answer; left running.

    Raises NotInstalled when its program is missing, RuntimeError with its last words when it does not come up.
    """
    if not Path(plan.command[0]).exists():
        raise _missing(name, Path(plan.command[0]))
    environment = {key: text for key, text in os.environ.items() if not key.lower().endswith("_proxy")}
    environment |= {"TENSORZERO_DISABLE_PSEUDONYMOUS_USAGE_ANALYTICS": "1", "PYTHONUNBUFFERED": "1", **plan.environment}
    log = folder / "output.log"
    with log.open("wb") as output, on_core(core):
        process = subprocess.Popen(
            plan.command, stdout=output, stderr=output, cwd=folder, env=environment, start_new_session=True
        )
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {_KEY}", **plan.headers}
    gateway = Gateway(name, plan.url, headers, plan.model, plan.command, process)
    try:
        if not _comes_up(gateway, log):
            raise RuntimeError(f"{name} did not start or answer. Its last words:\n{log.read_text()[-1500:]}")
    except BaseException:
        # Also when this program is told to end while it waits.
        gateway.stop()
        raise
    return gateway


def _missing(name: str, path: Path) -> NotInstalled:
    return NotInstalled(f"{name} is not installed: there is no {path}. Use --install-peers or --peers.")


def direct(upstream: str) -> Gateway:
    """The way straight to the mock."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {_KEY}"}
    return Gateway("direct", f"{upstream}/chat/completions", headers, MODEL)


def _comes_up(gateway: Gateway, log: Path) -> bool:
    until = time.monotonic() + START_S
    assert gateway.process is not None
    while time.monotonic() < until and gateway.process.poll() is None:
        if not gateway.url:
            found = [line for line in log.read_text().splitlines() if line.startswith("http://")]
            gateway.url = f"{found[-1].rstrip('/')}/chat/completions" if found else ""
        elif _answers(gateway):
            gateway.answered = 1
            return True
        time.sleep(0.1)
    return False


def _answers(gateway: Gateway) -> bool:
    request = urllib.request.Request(gateway.url, request_body(gateway.model), gateway.headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status == 200 and b'"choices"' in answer.read()
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Processes started within run on this core; a child inherits what its starting thread had."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def awake(gateway: Gateway) -> Iterator[None]:
    """Within, the gateway runs; before and after it is frozen."""
    gateway.resume()
    try:
        yield
    finally:
        gateway.pause()
