"""Where the proxy's benchmark happens: two cores, the mock, the data planes that are measured, and their log.

The gateways run on one core, the mock and the load on another. Each data plane gets a data folder in which the pattern
of the benchmark's call is known and in shadow, so that identifying and deciding do their usual work; when it has ended,
its journal is read and held against what the load has seen.
"""

import os
import resource
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from tutelage.proxy.routes import Route, RouteTable, publish_table
from tutelage.traffic.discovery import Discovery
from tutelage.traffic.layout import DataDir
from tutelage.traffic.patterns import Registry, facts_of

from .proxy_gateways import Gateway, start, tutelage_plan
from .proxy_load import Sent
from .proxy_log import LogCheck, told_ids
from .proxy_mock import Mock, answer, frames, free_port, request_body
from .proxy_wrk import WrkResult, run_wrk

OWN = "Tutelage"


@dataclass
class Site:
    """What all parts of the benchmark share."""

    folder: Path
    mock: Mock
    gateway_core: int
    load_core: int
    peers: Path
    quick: bool
    seed: int
    log: LogCheck
    notes: list[str] = field(default_factory=list)
    """What people have to know beside the figures: peers that are missing, answers that were errors."""
    _told: list[str] = field(default_factory=list)
    _folders: int = 0

    def new_folder(self) -> Path:
        self._folders += 1
        path = self.folder / f"{self._folders:02}"
        path.mkdir()
        return path

    @contextmanager
    def data_plane(self, path: str = "") -> Iterator[Gateway]:
        """A data plane before the mock's `path`. At the end it is stopped, and its journal read and deleted."""
        folder = self.new_folder()
        data = known_pattern(folder / "data")
        gateway = start(OWN, tutelage_plan(data.root, self.mock.base(path), free_port()), folder, self.gateway_core)
        self.log.acknowledged += gateway.answered
        try:
            yield gateway
        finally:
            gateway.stop()
        self.log.read(data.journal, self._told)
        self._told.clear()
        shutil.rmtree(folder)

    def wrk(self, gateway: Gateway, connections: int, seconds: float) -> WrkResult:
        """Load a gateway with wrk; what the data plane answers is counted."""
        result = run_wrk(gateway, connections, seconds, self.folder)
        if gateway.name == OWN:
            self.log.acknowledged += result.good
            self.log.cut_off += connections
        return result

    def count(self, gateway: Gateway, calls: Iterable[Sent]) -> None:
        """Remember calls of our own load that the data plane has answered: each id must be in its journal."""
        if gateway.name == OWN:
            told = told_ids(calls)
            self.log.acknowledged += len(told)
            self._told += told

    def say(self, note: str) -> None:
        self.notes.append(note)


def known_pattern(root: Path) -> DataDir:
    """A data folder in which the benchmark's call belongs to a known pattern that is in shadow."""
    data = DataDir(root).prepare()
    registry = Registry()
    discovery = Discovery(registry)
    body: dict[str, Any] = msgspec.json.decode(request_body())
    for number in range(40):
        system, asked, *rest = body["messages"]
        varied = {**body, "messages": [system, {**asked, "content": f"{asked['content']} ({number})"}, *rest]}
        facts = facts_of(varied)
        if facts is not None:
            discovery.observe(str(number), facts)
    registry.publish(data.patterns)
    routes = {entry.pattern_id: Route(state="shadow") for entry in registry.entries()}
    publish_table(data.routes, RouteTable(serial=1, routes=routes))
    return data


def log_check() -> LogCheck:
    """A check of journals that may hold the benchmark's calls and nothing else."""
    requests = {
        request_body(stream=stream, asks_for_usage=asks) for stream in (False, True) for asks in (False, stream)
    }
    return LogCheck(frozenset(requests), frozenset({answer(), b"".join(frames())}))


def two_cores() -> tuple[int, int]:
    """The cores for gateways and for load. Raises RuntimeError when there are none to choose."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(cores) < 2:
        raise RuntimeError("The benchmark needs Linux and two cores: one for the gateways, one for mock and load.")
    return cores[0], cores[1]


def allow_many_connections() -> None:
    """500 streams are 1,000 connections: use as many files as the system lets this process have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
