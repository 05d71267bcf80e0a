"""The processes behind the commands: what `serve` runs, and a distillation run with its progress on the terminal.

Only this module and the command line see all parts. The planes and the student server are started as processes with
their options in the environment, so nothing heavy can reach the request path.
"""

import os
import secrets
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import msgspec
from rich.console import Console

from .autopilot import Pilot
from .config import Config
from .distill.options import DistillOptions
from .distill.progress import Progress, line
from .plugins.litellm_options import BRIDGE_KEY_ENV, BridgeOptions
from .plugins.litellm_options import check as check_bridge
from .proxy.admin_client import AdminClient
from .proxy.options import DataPlaneOptions, to_environment
from .proxy.supervisor import Part, Supervisor
from .proxy.teachers import Teachers
from .serving.local import is_installed
from .traffic.errors import MissingExtra
from .traffic.layout import DataDir
from .traffic.logs import FORMAT_ENV, LEVEL_ENV
from .traffic.students import StudentRegister

PLANE, CONTROL, STUDENT, BRIDGE = "data plane", "control plane", "student server", "teacher bridge"
AUTOPILOT = "autopilot"
_TRAINING = ("torch", "transformers", "peft", "trl", "presidio_analyzer", "gguf")


def supervisor(
    config: Config, say: Callable[[str], None], installed: Callable[[str], bool] | None = None
) -> Supervisor:
    """The supervisor of `serve`; the data folder is prepared.

    `installed` says whether a package is there. Raises DataFolderError when the folder cannot be used, BadInput for a
    teacher that cannot be, MissingExtra when one needs LiteLLM and it is not installed: all before anything runs.
    """
    bridge, plane = config.bridge(), config.data_plane()
    logs = {FORMAT_ENV: config.settings.log_format, LEVEL_ENV: config.settings.log_level}
    shared = {**logs, BRIDGE_KEY_ENV: secrets.token_urlsafe(32)} if bridge else logs
    _check_teachers(plane, bridge, {**os.environ, **shared}, installed or is_installed)
    data = config.data.prepare()
    parts = []
    if bridge:
        parts.append(_part(BRIDGE, "plugins.litellm_teacher", bridge, f"{_root(config.bridge_url)}/health", shared))
    parts.append(_part(CONTROL, "proxy.control", config.control(), f"{config.control_url}/healthz", shared))
    ready = f"{_root(config.data_plane_url)}/tutelage/health"
    parts.append(_part(PLANE, "proxy.dataplane", plane, ready, shared))
    if not config.settings.student_url:
        parts.append(_student_part(config, data, say, logs))
    if config.settings.autopilot:
        require_training(installed or is_installed)
        command = [sys.executable, "-m", "tutelage.autopilot"]
        parts.append(Part(AUTOPILOT, command, {**to_environment(pilot(config)), **logs}, "", optional=True))
    addresses = {"control_url": config.control_url, "url": config.data_plane_url, "student_url": config.student_url}
    return Supervisor(data, parts, (AUTOPILOT, PLANE, CONTROL, BRIDGE, STUDENT), addresses, say)


def _check_teachers(
    plane: DataPlaneOptions,
    bridge: BridgeOptions | None,
    environ: Mapping[str, str],
    installed: Callable[[str], bool],
) -> None:
    if bridge:
        if not installed("litellm"):
            raise MissingExtra("litellm", "litellm")
        check_bridge(bridge, environ)
    Teachers.build(plane, environ)


def _part(name: str, module: str, options: object, ready_url: str, shared: Mapping[str, str]) -> Part:
    command = [sys.executable, "-m", f"tutelage.{module}"]
    return Part(name, command, {**to_environment(options), **shared}, ready_url)


def _student_part(config: Config, data: DataDir, say: Callable[[str], None], logs: Mapping[str, str]) -> Part:
    register, told, served, bases = StudentRegister(data), False, False, config.serving().bases

    def wanted() -> bool:
        nonlocal told, served
        if not bases and not any(manifest.status == "candidate" for manifest in register.list()):
            return False
        # Late: `serve` starts sooner without it where nobody has a student.
        from .serving.engines import check

        problems = [] if served else check(config.serving())
        if problems and not told:
            what, advice = problems[0]
            say(f"A student exists, but cannot be served here: {what}. {advice}")
        told, served = told or bool(problems), not problems
        return served

    environment = {**to_environment(config.serving()), **logs}
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
            f"  teacher    {_teachers(config)}",
            f"  dashboard  {config.control_url}",
            f"  student    {config.student_url} ({student})",
            f"  data       {config.data.root}",
            "",
            f"  processes  {', '.join(f'{name} {pid}' for name, pid in pids.items())}",
            "  stop       Ctrl-C or SIGTERM: running calls are finished, everything is kept.",
        ]
    )


def _teachers(config: Config) -> str:
    """The default teacher, and the others by name."""
    shown = config.settings.teacher.rstrip("/") + (" through LiteLLM" if config.teacher().model else "")
    others = [teacher.name for teacher in config.teachers()]
    return f"{shown}; by model: {', '.join(others)}" if others else shown


def pilot(config: Config) -> Pilot:
    """Settings of the process that trains by itself."""
    return Pilot(config.distill(), config.schedule(), config.control())


def require_training(installed: Callable[[str], bool]) -> None:
    """Raises MissingExtra where training is not installed."""
    for package in _TRAINING:
        if not installed(package):
            raise MissingExtra("distill", package)
    if not installed("xllamacpp"):
        raise MissingExtra("serving", "xllamacpp")


def distill(config: Config, options: DistillOptions, console: Console) -> dict[str, Any]:
    """Run a distillation with its progress on `console`; the new version's manifest. Raises MissingExtra."""
    require_training(is_installed)
    from .distill.run import run

    return msgspec.to_builtins(run(options, _export(config, options), _reporting(console)))


def select(config: Config, options: DistillOptions, bases: list[str], console: Console) -> list[dict[str, Any]]:
    """Distil from several bases, smallest first, until one reaches `options.bar`; a row for each."""
    require_training(is_installed)
    from .distill.run import run
    from .distill.select import select as choose

    export = _export(config, options)

    def train(base: str) -> Any:
        console.print(f"base {base}", highlight=False)
        return run(replace(options, base=base), export, _reporting(console))

    tried = choose(bases, options.bar, train, StudentRegister(config.data))
    return [one.to_json() for one in tried]


def _export(config: Config, options: DistillOptions) -> Path:
    with AdminClient.open(config.data, config.control()) as client:
        return Path(client.post("/api/exports", {"agent": options.agent})["path"])


def _reporting(console: Console) -> Callable[[Progress], None]:
    def report(event: Progress) -> None:
        console.print(line(event), highlight=False)

    return report
