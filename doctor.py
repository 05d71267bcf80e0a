"""Whether Tutelage will work here: one check for each thing that it needs, each with what to do about it.

The world is handed in (`World`), so that every finding can be brought about in a test. Nothing is changed by a check.
"""

import json
import os
import re
import shutil
import socket
import ssl
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import httpx

from .config import Config
from .proxy.control_lock import read_owner
from .proxy.metrics_workers import is_alive
from .proxy.options import TeacherOptions
from .serving.bases import locate
from .serving.engines import check, reached
from .serving.local import chosen_here, is_installed, suits_torch
from .serving.native import processor_flags, unused_here
from .traffic.errors import TutelageError

Verdict = Literal["ok", "warning", "problem"]
LEAST_DISK_BYTES = 2 << 30
"""Less than this free on the disk of the data folder is a problem."""
ENOUGH_DISK_BYTES = 10 << 30
LEAST_MEMORY_BYTES = 3 << 30
"""Training the smallest base takes about two gigabytes."""
_ANSWER_S = 10.0
_EXTRAS = {
    "distill": ("training students", ("torch", "transformers", "peft", "trl", "presidio_analyzer")),
    "serving": ("serving students", ("xllamacpp",)),
    "intents": ("intents within patterns", ("sklearn", "torch")),
    "litellm": ("teachers that do not speak OpenAI's protocol", ("litellm",)),
    "langchain": ("the LangChain plugin", ("langchain_openai", "langgraph")),
}


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    check: str
    verdict: Verdict
    found: str
    advice: str = ""
    """What to do; empty where nothing has to be done."""


def _memory_bytes() -> int:
    """What programs can still get: the system's own estimate where it makes one, else what nobody uses."""
    info = Path("/proc/meminfo")
    found = re.search(r"MemAvailable: +(\d+) kB", info.read_text()) if info.exists() else None
    return int(found[1]) * 1024 if found else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")


@dataclass(frozen=True)
class World:
    """What the checks look at."""

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    installed: Callable[[str], bool] = is_installed
    free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free
    memory_bytes: Callable[[], int] = _memory_bytes
    transport: httpx.BaseTransport | None = None
    """How teachers are reached; None: the network."""
    alive: Callable[[int], bool] = is_alive
    """Whether a process of that id runs."""
    unused: Callable[[], Sequence[str]] = unused_here
    """What the processor has and llama.cpp's build does not use."""
    flags: Callable[[], frozenset[str]] = processor_flags
    """What the processor can do."""


def examine(config: Config, world: World | None = None) -> Iterator[Finding]:
    """One finding after the other, as soon as it is known. The settings have been read already."""
    world = world or World()
    yield Finding("settings", "ok", str(config.file or "no config file: defaults and environment"))
    yield _python()
    yield from _folder(config, world)
    yield from _instance(config, world)
    yield from _ports(config)
    for teacher in (config.teacher(), *config.teachers()):
        yield _teacher(config, teacher, world)
    yield _audit_key(config, world)
    yield from _extras(config, world)
    yield _base(config)
    yield from _engine(config, world)
    yield _memory(world)


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    return Finding("python", "ok", found)


def _folder(config: Config, world: World) -> Iterator[Finding]:
    root = config.data.root
    standing = next(path for path in (root, *root.parents) if path.exists())
    if not standing.is_dir() or not os.access(standing, os.W_OK | os.X_OK):
        yield Finding("data folder", "problem", f"{root} cannot be written", "Choose another folder with --data.")
        return
    yield Finding("data folder", "ok", str(root) + ("" if root.exists() else " (will be made)"))
    free = world.free_bytes(standing)
    verdict: Verdict = "problem" if free < LEAST_DISK_BYTES else "warning" if free < ENOUGH_DISK_BYTES else "ok"
    advice = "" if verdict == "ok" else "Free some, or set [store] keep_days or max_bytes: what is full cannot log."
    yield Finding("disk", verdict, f"{free / (1 << 30):.1f} GiB free", advice)


def _instance(config: Config, world: World) -> Iterator[Finding]:
    """What `tutelage serve` says of itself in this data folder, if it runs or has not been stopped properly."""
    try:
        found = json.loads(config.data.serve.read_bytes())
        pids = {str(name): int(pid) for name, pid in found["pids"].items()}
        urls = {name: str(found[name]) for name in ("url", "control_url")}
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        yield Finding("running", "warning", f"{config.data.serve} cannot be read", "Start `tutelage serve` anew.")
        return
    gone = [f"{name} (process {pid})" for name, pid in pids.items() if not world.alive(pid)]
    told = ", ".join(f"{name} {pid}" for name, pid in pids.items())
    if len(gone) == len(pids):
        yield Finding("running", "ok", "not now; the last `tutelage serve` ended without stopping its parts")
    elif gone:
        advice = "`tutelage serve` starts what dies again; where it does not, look into its log and start it anew."
        yield Finding("running", "warning", f"gone: {', '.join(gone)}", advice)
    elif urls["url"] != config.data_plane_url:
        advice = "The checks below are about the settings here, and not about those that it was started with."
        yield Finding("running", "warning", f"at {urls['url']}, not {config.data_plane_url} as set here", advice)
    else:
        yield Finding("running", "ok", f"agents {urls['url']}, control plane {urls['control_url']}; processes: {told}")


def _ports(config: Config) -> Iterator[Finding]:
    settings = config.settings
    ports = {"agents' port": (settings.host, settings.port), "control port": ("127.0.0.1", settings.control_port)}
    if not settings.student_url:
        ports["student port"] = ("127.0.0.1", settings.student_port)
    if config.bridge():
        ports["bridge port"] = ("127.0.0.1", settings.bridge_port)
    running = _running(config)
    for name, (host, port) in ports.items():
        if _free(host, port):
            yield Finding(name, "ok", f"{port} is free")
        elif running:
            yield Finding(name, "ok", f"{port} is in use; Tutelage runs here already")
        else:
            setting = name.replace("agents' port", "port").replace(" ", "_")
            yield Finding(name, "problem", f"{port} is in use", f"Stop what uses it, or set {setting} to another one.")


def _running(config: Config) -> bool:
    """Whether a control plane of this data folder answers."""
    url = read_owner(config.data).url
    try:
        return bool(url) and httpx.get(f"{url}/healthz", timeout=2, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _teacher(config: Config, teacher: TeacherOptions, world: World) -> Finding:
    name = f"teacher {teacher.name}"
    if teacher.url == config.bridge_url:
        missing = not world.installed("litellm")
        advice = "Run: pip install 'tutelage[litellm]'" if missing else ""
        return Finding(name, "problem" if missing else "ok", f"{teacher.model} through LiteLLM; not asked", advice)
    key = world.environ.get(teacher.key_env, "") if teacher.key_env else ""
    if teacher.key_env and not key:
        return Finding(name, "problem", f"{teacher.key_env} is not set", f"Set it to the key of {teacher.url}.")
    key = key or world.environ.get(config.settings.teacher_key_env, "")
    ca_file = config.data_plane().ca_file
    try:
        trusted = ssl.create_default_context(cafile=ca_file) if ca_file else True
        with httpx.Client(transport=world.transport, timeout=_ANSWER_S, verify=trusted) as client:
            answer = client.get(f"{teacher.url}/models", headers={"authorization": f"Bearer {key}"} if key else {})
    except (httpx.HTTPError, OSError) as error:
        detail = str(error) or type(error).__name__
        advice = "Check the address, the network and, for TLS, proxy.ca_file."
        return Finding(name, "problem", f"{teacher.url} does not answer: {detail}", advice)
    return _of_answer(name, teacher, answer, bool(key))


def _of_answer(name: str, teacher: TeacherOptions, answer: httpx.Response, with_key: bool) -> Finding:
    if answer.status_code in (401, 403):
        if not with_key:
            return Finding(name, "ok", f"{teacher.url} answers, and wants a key: agents' own keys pass through")
        return Finding(name, "problem", f"{teacher.url} refuses the key ({answer.status_code})", "Check the key.")
    if answer.status_code != 200:
        advice = "Not every server lists its models. Is it the base URL, with /v1?"
        return Finding(name, "warning", f"{teacher.url}/models answers {answer.status_code}", advice)
    try:
        models = [str(model["id"]) for model in answer.json()["data"]]
    except (ValueError, KeyError, TypeError):
        return Finding(name, "warning", f"{teacher.url}/models is no list of models", "Is it the base URL, with /v1?")
    wanted = [model for model in (teacher.model, *teacher.models) if model and not set("*?[") & set(model)]
    missing = [model for model in wanted if model not in models] if models else []
    if missing:
        advice = f"It has: {', '.join(models[:8])}{', …' if len(models) > 8 else ''}."
        return Finding(name, "problem", f"{teacher.url} has no model {missing[0]!r}", advice)
    return Finding(name, "ok", f"{teacher.url} answers, {len(models)} models")


def _audit_key(config: Config, world: World) -> Finding:
    variable = config.settings.teacher_key_env
    if config.bridge() or world.environ.get(variable):
        return Finding("key for audits", "ok", f"{variable} is set" if world.environ.get(variable) else "the bridge's")
    advice = f"Set {variable}. Without it students can be shadowed, but live ones cannot be audited."
    return Finding("key for audits", "warning", f"{variable} is not set", advice)


def _extras(config: Config, world: World) -> Iterator[Finding]:
    for extra, (purpose, packages) in _EXTRAS.items():
        missing = [package for package in packages if not world.installed(package)]
        if not missing:
            yield Finding(f"extra {extra}", "ok", purpose)
        else:
            advice = f"For {purpose}: pip install 'tutelage[{extra}]'"
            yield Finding(f"extra {extra}", "warning", f"{', '.join(missing)} not installed", advice)


def _base(config: Config) -> Finding:
    name = config.distill().base
    try:
        return Finding("base model", "ok", f"{name}: {locate(name) or 'fetched from the hub when it is needed'}")
    except TutelageError as error:
        return Finding("base model", "warning", name, str(error))


def _engine(config: Config, world: World) -> Iterator[Finding]:
    """Which engine serves, and what keeps it from doing so; missing packages are the extras' matter."""
    if config.settings.student_url:
        return
    options = config.serving()
    problems = check(options, lambda package: True) or reached(options, world.transport)
    for problem in problems:
        yield Finding("engine", "problem", problem.what, problem.advice)
    engine = chosen_here(options.engine, world.installed, world.flags)
    if not problems:
        chosen = f"{engine}, the faster one here" if options.engine == "auto" else engine
        yield Finding("engine", "ok", chosen + (f" at {options.engine_url}" if options.engine_url else ""))
    if engine == "llama" and suits_torch(world.installed, world.flags):
        advice = "Set serving.engine to auto: see docs/serving.md."
        yield Finding("faster engine", "ok", "torch reads prompts several times as fast on this processor", advice)
    if engine == "llama" and (unused := world.unused()):
        found = f"llama.cpp as installed does not use {', '.join(unused)}, which this processor has"
        yield Finding("engine's build", "ok", found, "Students answer sooner if it is built here: see docs/serving.md.")


def _memory(world: World) -> Finding:
    free = world.memory_bytes()
    found = f"{free / (1 << 30):.1f} GiB free"
    if free >= LEAST_MEMORY_BYTES:
        return Finding("memory", "ok", found)
    return Finding("memory", "warning", found, "Enough for the proxy; training a student wants about 3 GiB.")
