"""Health and settings: the processes and what they say of themselves, the journal, the store, and every setting."""

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version as version_of
from typing import Any

import duckdb
import httpx

from .. import __version__
from .figures import count, duration, size
from .metrics_workers import Report, is_alive, reports_in
from .options import Setting
from .views import Site
from .views_overview import HealthItem, health

ASKED_S = 1.0
"""Longest wait for a process to say how it is."""

Ask = Callable[[str], dict[str, Any] | None]
"""What a health address answers; None when it does not."""


@dataclass(frozen=True)
class ProcessLine:
    """One process of `tutelage serve`."""

    name: str
    state: str
    tone: str
    address: str
    pid: str
    facts: tuple[HealthItem, ...]


@dataclass(frozen=True)
class SettingsGroup:
    """The settings of one section."""

    name: str
    rows: tuple[Setting, ...]


@dataclass(frozen=True)
class HealthPage:
    """Everything on the page."""

    processes: tuple[ProcessLine, ...]
    health: tuple[HealthItem, ...]
    versions: tuple[HealthItem, ...]
    changed: tuple[Setting, ...]
    """Settings that are not as they come."""
    groups: tuple[SettingsGroup, ...]
    settings_note: str
    data: str


def ask(url: str) -> dict[str, Any] | None:
    """One GET, given up after ASKED_S seconds."""
    try:
        answer = httpx.get(url, timeout=ASKED_S, trust_env=False)
        found = answer.json() if answer.status_code == 200 else None
    except (httpx.HTTPError, ValueError):
        return None
    return found if isinstance(found, dict) else {}


def health_page(site: Site, asked: Ask = ask) -> HealthPage:
    """The page as of now."""
    settings = site.options.settings
    note = "" if settings else "This control plane was started without `tutelage serve`: its settings came with it."
    return HealthPage(
        processes=_processes(site, asked),
        health=health(site, site.clock()),
        versions=_versions(site),
        changed=tuple(one for one in settings if one.source not in ("default", "another setting")),
        groups=_groups(settings),
        settings_note=note,
        data=str(site.data.root),
    )


def _processes(site: Site, asked: Ask) -> tuple[ProcessLine, ...]:
    options, pids = site.options, _pids(site)
    plane_url = options.data_plane_url.removesuffix("/v1") + "/tutelage/health"
    student_url = options.student_url.removesuffix("/v1") + "/health"
    plane = site.memo.get("data plane's health", lambda: asked(plane_url), 2.0)
    student = site.memo.get("student server's health", lambda: asked(student_url), 2.0)
    return (
        _line("data plane", plane, options.data_plane_url, pids, _plane_facts(plane, reports_in(site.data.workers))),
        _line("student server", student, options.student_url, pids, _student_facts(site, student)),
        ProcessLine("control plane", "answers", "good", "this page", pids.get("control plane", "–"), ()),
    )


def _pids(site: Site) -> dict[str, str]:
    try:
        found = json.loads(site.data.serve.read_bytes())["pids"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {str(name): str(pid) for name, pid in found.items()} if isinstance(found, dict) else {}


def _line(
    name: str, said: Mapping[str, Any] | None, url: str, pids: Mapping[str, str], facts: tuple[HealthItem, ...]
) -> ProcessLine:
    wanted = name in pids
    if said is None:
        state, tone = ("does not answer", "bad") if wanted else ("does not run", "")
    else:
        state = str(said.get("status", "ok"))
        tone = "good" if state == "ok" else "warn"
    return ProcessLine(name, state, tone, url, pids.get(name, "–"), facts)


def _plane_facts(said: Mapping[str, Any] | None, workers: Sequence[Report]) -> tuple[HealthItem, ...]:
    """What all workers have counted, and what the one that answered says of itself; they share the port."""
    if not said:
        return _losses(workers) if workers else ()
    journal = said.get("journal") or {}
    waiting = int(journal.get("queue_bytes", 0))
    shut = [name for name, state in (said.get("breakers") or {}).items() if _is_open(state)]
    return (
        *_losses(workers or [_answered(journal)]),
        HealthItem("Waiting in memory", size(waiting), "warn" if journal.get("behind") else ""),
        HealthItem("Calls in progress", count(int(said.get("in_flight", 0))), ""),
        HealthItem("Breakers", f"open: {', '.join(shut)}" if shut else "closed", "bad" if shut else ""),
        HealthItem("Route table", f"serial {said.get('table_serial', 0)}, {said.get('patterns', 0)} patterns", ""),
        *(HealthItem("Problem", str(problem), "warn") for problem in said.get("problems") or ()),
    )


def _losses(workers: Sequence[Report]) -> tuple[HealthItem, ...]:
    """Records that no worker could write, all together and, where there are any, worker by worker."""
    bad = [one for one in workers if one.lost + one.dropped]
    lost = sum(one.lost + one.dropped for one in bad)
    found = [HealthItem("Records lost or dropped", _of_workers(lost, workers), "bad" if lost else "good")]
    if unsynced := sum(one.unsynced for one in workers):
        found.append(HealthItem("Records not on the disk for sure", _of_workers(unsynced, workers), "warn"))
    return (*found, *(_worker(one) for one in bad if len(workers) > 1))


def _worker(one: Report) -> HealthItem:
    told = f"{count(one.lost)} lost, {count(one.dropped)} dropped of {count(one.appended)} records"
    return HealthItem(f"Worker {one.pid}" + ("" if is_alive(one.pid) else ", gone"), told, "bad")


def _of_workers(n: int, workers: Sequence[Report]) -> str:
    return count(n) if len(workers) < 2 else f"{count(n)} in {len(workers)} workers"


def _answered(journal: Mapping[str, Any]) -> Report:
    """The worker that answered, where workers leave no reports."""
    return Report(at=0.0, pid=0, lost=int(journal.get("lost", 0)), dropped=int(journal.get("dropped", 0)))


def _is_open(state: Any) -> bool:
    return isinstance(state, dict) and state.get("state", "closed") != "closed"


def _student_facts(site: Site, said: Mapping[str, Any] | None) -> tuple[HealthItem, ...]:
    if said is None:
        if any(one.status == "candidate" for one in site.students.list()):
            return (HealthItem("Students", "calls go to the teacher until it answers", "warn"),)
        return (HealthItem("Students", "starts with the first student version", ""),)
    loaded = said.get("students")
    return (
        HealthItem("Students", ", ".join(map(str, loaded)) if isinstance(loaded, list) and loaded else "none", ""),
        HealthItem("Calls in progress", count(int(said.get("running", 0))), ""),
        *(HealthItem("Problem", str(problem), "warn") for problem in said.get("problems") or ()),
    )


def _versions(site: Site) -> tuple[HealthItem, ...]:
    names = [name for (name,) in site.store.rows("SELECT name FROM migrations ORDER BY applied_at, rowid")]
    return (
        HealthItem("Tutelage", __version__, ""),
        HealthItem("Python", platform.python_version(), ""),
        HealthItem("DuckDB", duckdb.__version__, ""),
        HealthItem("FastAPI", version_of("fastapi"), ""),
        HealthItem("Schema of the store", f"{len(names)} steps, the newest {names[-1].replace('_', ' ')}", ""),
        HealthItem("Running for", duration(max(site.clock() - site.started, 0.0)), ""),
    )


def _groups(settings: tuple[Setting, ...]) -> tuple[SettingsGroup, ...]:
    groups: dict[str, list[Setting]] = {}
    for one in settings:
        section = one.name.rpartition(".")[0] or "top level"
        groups.setdefault(section, []).append(one)
    return tuple(SettingsGroup(name, tuple(rows)) for name, rows in groups.items())
