"""The processes behind the commands: what `serve` runs, and a distillation run with its progress on the terminal.

Only this module and the command line see all parts. The planes and the student server are started as processes with
their options in the environment, so nothing heavy can reach the request path.
"""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
from rich.console import Console

from .config import Config
from .distill.options import DistillOptions
from .distill.progress import Progress, line
from .proxy.admin_client import AdminClient
from .proxy.options import to_environment
from .proxy.supervisor import Part, Supervisor
from .traffic.errors import MissingExtra
from .traffic.layout import DataDir
from .traffic.students import StudentRegister

PLANE, CONTROL, STUDENT = "data plane", "control plane", "student server"


def supervisor(config: Config, say: Callable[[str], None]) -> Supervisor:
    """The supervisor of `serve`; the data folder is prepared. Raises DataFolderError when it cannot be used."""
    data = config.data.prepare()
    parts = [_part(CONTROL, "proxy.control", config.control(), f"{config.control_url}/healthz")]
    parts.append(
        _part(PLANE, "proxy.dataplane", config.data_plane(), f"{_root(config.data_plane_url)}/tutelage/health")
    )
    if not config.settings.student_url:
        parts.append(_student_part(config, data, say))
    addresses = {"control_url": config.control_url, "url": config.data_plane_url, "student_url": config.student_url}
    return Supervisor(data, parts, (PLANE, CONTROL, STUDENT), addresses, say)


def _part(name: str, module: str, options: object, ready_url: str) -> Part:
    command = [sys.executable, "-m", f"tutelage.{module}"]
    return Part(name, command, to_environment(options), ready_url)


def _student_part(config: Config, data: DataDir, say: Callable[[str], None]) -> Part:
    register, told = StudentRegister(data), False

    def wanted() -> bool:
        nonlocal told
        if not any(manifest.status == "candidate" for manifest in register.list()):
            return False
        if importlib.util.find_spec("xllamacpp") is None:
            if not told:
                say("A student exists, but cannot be served here. Run: pip install 'tutelage[serving]'")
            told = True
            return False
        return True

    environment = to_environment(config.serving())
    command = [sys.executable, "-m", "tutelage.serving"]
    return Part(STUDENT, command, environment, f"{_root(config.student_url)}/health", wanted, optional=True)


def _root(url: str) -> str:
    return str(httpx.URL(url).copy_with(path="")).rstrip("/")


def screen(config: Config, running: Supervisor) -> str:
    """One screen: what runs where."""
    pids = running.pids()
    student = "running" if STUDENT in pids else "starts with the first student version"
    if config.settings.student_url:
        student = "runs elsewhere"
    return "\n".join(
        [
            "Tutelage is up. Point your agents at it:",
            "",
            f"  base_url   {config.data_plane_url}",
            f"  teacher    {config.data_plane().teacher_url}",
            f"  dashboard  {config.control_url}",
            f"  student    {config.student_url} ({student})",
            f"  data       {config.data.root}",
            "",
            f"  processes  {', '.join(f'{name} {pid}' for name, pid in pids.items())}",
            "  stop       Ctrl-C or SIGTERM: running calls are finished, everything is kept.",
        ]
    )


def distill(config: Config, options: DistillOptions, console: Console) -> dict[str, Any]:
    """Run a distillation with its progress on `console`; the new version's manifest. Raises MissingExtra."""
    for package in ("torch", "transformers", "peft", "trl", "presidio_analyzer", "gguf"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtra("distill", package)
    if importlib.util.find_spec("xllamacpp") is None:
        raise MissingExtra("serving", "xllamacpp")
    from .distill.run import run

    with AdminClient.open(config.data) as client:
        export = Path(client.post("/api/exports", {"agent": options.agent})["path"])

    def report(event: Progress) -> None:
        console.print(line(event), highlight=False)

    return msgspec.to_builtins(run(options, export, report))
