"""How fast does a large store answer? Everything that people, the pages, the planes and the curator ask it.

    python -m benchmarks.store_queries [--calls N] [--folder DIR] [--quick] [--seed N] [--json FILE]

A store of ten million calls (`--quick`: 200,000) is made in `--folder`, or taken from there when one is; it lies over
90 days and has the shapes of recorded agent runs (`benchmarks.store_world`). A control plane is opened on it, with a
student version in shadow and in service, and then asked: every address of its admin API and dashboard that only reads,
as the application itself knows them, so none can be forgotten; every view of the dashboard as HTML with nothing
remembered (`benchmarks.store_pages`) and every table behind them; and what the keeper, the judge, the verifiers, the
budgets, the export and the intents ask without an address. Each question is put `ROUNDS` times with other calls, runs
and patterns, the busiest among them, after one round that does not count. `UNCOUNTED` calls are new, as in the middle
of a day: not yet in the sums, and counted on the spot. DuckDB may use 4 GB and the cores that there are.

Bars: every question at p95 below 300 ms. A time is the lesser of the seconds on the clock and the CPU seconds of all
threads: on an idle machine the first, on a busy one what the question would take on a single core of its own.
"""

import argparse
import multiprocessing
import os
import random
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from tutelage.proxy import comparisons, sessions
from tutelage.proxy.control import ControlPlane
from tutelage.proxy.draws import draw_for
from tutelage.proxy.judge_queue import JudgeQueue
from tutelage.proxy.key_budgets import span_of, spending
from tutelage.proxy.lean import settle
from tutelage.proxy.noise_labels import NOISE, NoiseSource
from tutelage.proxy.options import ControlOptions
from tutelage.proxy.pairs import list_pairs
from tutelage.proxy.shadow import AUDIT, SHADOW
from tutelage.traffic import export, feedback_rows, intents, outcomes, rollup, sums
from tutelage.traffic.layout import DataDir
from tutelage.traffic.newest import answered_as, since_when
from tutelage.traffic.outcome_rules import OutcomeRules
from tutelage.traffic.store import Store
from tutelage.traffic.students import Manifest, PromptSpec, StudentRegister

from . import store_pages, store_world
from .report import Bar, at_most, finish, percentile, start

ROUNDS = 20
LIMIT_MS = 300.0
MEMORY = "4GB"
CALLS, QUICK_CALLS = 10_000_000, 200_000
NOW = store_world.END
UNCOUNTED = rollup.MOST_UNCOUNTED // 2
ANALYSES = (
    "/api/store/stats",
    "/api/opportunities",
    "/api/replay",
    "/api/patterns/{pattern}/openings",
    "/api/patterns/{pattern}/graph",
    "/api/patterns/{pattern}/differences",
)
"""Read all messages, thousands of conversations or all events for a person's question: measured once each, no bar."""
BESIDE = ("/scrub/{trajectory:path}",)
"""Starts a process of its own; as a page it is among the views."""

Ask = Callable[[], object]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit code."""
    own = argparse.ArgumentParser(add_help=False)
    own.add_argument("--calls", type=int, default=0)
    own.add_argument("--folder", type=Path)
    options, others = own.parse_known_args(arguments)
    run = start("store_queries", __doc__, others)
    calls = options.calls or (QUICK_CALLS if run.quick else CALLS)
    raw: dict[str, Any] = {"calls_wanted": calls, "rounds": 5 if run.quick else ROUNDS, "memory_limit": MEMORY}
    with _folder(options.folder) as folder:
        data = DataDir(folder).prepare()
        if not data.store.exists():
            raw["made_in_s"] = _timed(lambda: _make(data.store, calls, run.seed))[0]
        bars = _measure(data, raw, random.Random(run.seed))
    return finish(run, bars, raw, ["duckdb", "pyarrow"])


@contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    if given is not None:
        yield given
        return
    folder = Path(tempfile.mkdtemp(prefix="tutelage-queries-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _make(path: Path, calls: int, seed: int) -> None:
    """Make the store in a process of its own, whose memory is none of ours, and wait until the disk has it."""
    maker = multiprocessing.get_context("spawn").Process(target=store_world.build, args=(path, calls, seed, _say))
    maker.start()
    maker.join()
    if maker.exitcode:
        raise RuntimeError(f"the process that makes {path} ended with {maker.exitcode}")
    os.sync()


def _say(day: int) -> None:
    if day % 10 == 0:
        print(f"{day} of {store_world.DAYS} days written", file=sys.stderr)


def _timed(ask: Ask) -> tuple[float, object]:
    begin = time.perf_counter()
    answer = ask()
    return time.perf_counter() - begin, answer


def _measure(data: DataDir, raw: dict[str, Any], chance: random.Random) -> list[Bar]:
    _add_student(data)
    options = ControlOptions(data=str(data.root), teacher_url="http://127.0.0.1:9/v1")
    raw["opened_in_s"], plane = _timed(lambda: ControlPlane.open(data, options, clock=lambda: NOW + 3_600.0))
    assert isinstance(plane, ControlPlane)
    try:
        plane.store.execute(f"SET memory_limit = '{MEMORY}'")
        raw["first_review_in_s"] = _timed(plane.keeper.tick)[0]
        settle()  # as after the keeper's first round
        _leave_uncounted(plane.store, UNCOUNTED)
        world = _World(plane, chance)
        with TestClient(plane.app, base_url="http://127.0.0.1:8401") as client:
            found: dict[str, dict[str, float]] = {}
            with store_pages.nothing_beside() as beside:
                for name, asks in _questions(world, client):
                    found[name] = _rounds(asks, raw["rounds"])
                    print(f"{name}: {found[name]}", file=sys.stderr)
            raw["analyses_s"] = {name: _timed(ask)[0] for name, ask in _addresses(world, client, ANALYSES)}
        raw["beside_pages_s"] = {name: _timed(make)[0] for name, make in beside.items() if name != "scrubbed"}
        raw["questions"] = found
        raw |= world.size() | {"peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)}
        return [at_most(f"{name}: p95", one["p95_ms"], "ms", LIMIT_MS) for name, one in found.items()]
    finally:
        plane.close()


def _leave_uncounted(store: Store, calls: int) -> None:
    """Take the newest calls out of the sums again, as if they had just come."""
    rollup.settle(store)
    since = since_when(store, calls).at
    newest = f"(SELECT * FROM calls WHERE started_at >= {since} ORDER BY started_at DESC, call_id LIMIT {calls})"
    with store.transaction():
        for statement in (sums.ADD_TRAFFIC, sums.ADD_DAYS, sums.ADD_LATENCIES, sums.ADD_CALLERS):
            store.execute(statement.format(source=newest, sign="-"))
        number = rollup.announce(store, calls)
        store.execute(f"UPDATE calls SET intake = {number} WHERE call_id IN (SELECT call_id FROM {newest})")


def _add_student(data: DataDir) -> None:
    """A version for the agents of which `store_world` says that a student has answered for them."""
    register = StudentRegister(data)
    agents = [store_world.Agent(number) for number in range(2, store_world.AGENTS, 8)]
    if any(one.version == store_world.STUDENT for one in register.list()):
        return
    manifest = Manifest(
        version=store_world.STUDENT,
        name=store_world.STUDENT.partition("@")[0],
        status="candidate",
        created_at=store_world.START + 30 * 86_400,
        agent_id=agents[0].agent_id,
        pattern_ids=[agent.pattern(role) for agent in agents for role in ("user", "tool")],
        base="tiny",
        base_digest="0",
        prompt=PromptSpec(),
        snapshot_at=store_world.START + 30 * 86_400,
        data_digest="0",
    )
    draft = data.root / "draft"
    draft.mkdir()
    register.publish(draft, manifest)


@dataclass
class _World:
    """The opened store, and what may be asked for."""

    plane: ControlPlane
    chance: random.Random

    def __post_init__(self) -> None:
        store = self.plane.store
        newest = store.value("SELECT max(started_at) FROM calls")
        sql = "SELECT call_id::VARCHAR, trajectory_id FROM calls WHERE started_at BETWEEN ? AND ? + 600 LIMIT 20"
        times = [newest - 600, *(newest - 86_400 * self.chance.uniform(0, store_world.DAYS - 1) for _ in range(20))]
        pairs = [pair for at in times for pair in store.rows(sql, [at, at])]
        self.calls, self.runs = [call for call, _ in pairs], [run for _, run in pairs]
        volumes = "SELECT pattern_id FROM traffic_hours WHERE pattern_id <> '' GROUP BY ALL ORDER BY sum(calls) DESC"
        self.patterns = [name for (name,) in store.rows(volumes)]
        sql = "SELECT caller, upstream_id FROM calls WHERE started_at BETWEEN ? AND ? + 60 LIMIT 5"
        self.answers = [row for at in times[:8] for row in store.rows(sql, [at, at])]
        self.pairs = [pair.pair_id for pair in list_pairs(store, limit=1_000)]
        self.cold = store_pages.Cold()
        self.site = store_pages.site_of(self.plane, self.cold)

    def pattern(self) -> str:
        """Half of the time one of the five busiest."""
        return self.chance.choice(self.patterns[: 5 if self.chance.random() < 0.5 else None])

    def value(self, name: str) -> str:
        """A value for a part of an address."""
        values = {
            "call_id": lambda: self.chance.choice(self.calls),
            "trajectory_id": lambda: self.chance.choice(self.runs),
            "trajectory": lambda: self.chance.choice(self.runs),
            "pattern": self.pattern,
            "pattern_id": self.pattern,
            "version": lambda: store_world.STUDENT,
            "pair": lambda: self.chance.choice(self.pairs),
        }
        return values[name]() if name in values else ""

    def size(self) -> dict[str, Any]:
        """What the store holds and takes."""
        store = self.plane.store
        counts = {name: store.value(f"SELECT count(*) FROM {name}") for name in ("calls", "messages", "trajectories")}
        memory = store.value("SELECT sum(memory_usage_bytes) FROM duckdb_memory()")
        return counts | {"file_bytes": store.bytes_on_disk(), "duckdb_memory_mb": round(memory / 2**20)}


def _rounds(ask: Ask, rounds: int) -> dict[str, float]:
    ask()
    walls, times = [], []
    for _ in range(rounds):
        cpu = time.process_time()
        wall = _timed(ask)[0]
        walls.append(1_000 * wall)
        times.append(1_000 * min(wall, time.process_time() - cpu))
    figures = {"p50_ms": (times, 0.5), "p95_ms": (times, 0.95), "wall_p95_ms": (walls, 0.95)}
    return {name: round(percentile(values, share), 1) for name, (values, share) in figures.items()}


def _questions(world: _World, client: TestClient) -> Iterator[tuple[str, Ask]]:
    yield from _addresses(world, client, [path for path in _reads(world) if path not in ANALYSES + BESIDE])
    yield from _tables(world, client)
    yield from store_pages.views(world.site, world.cold, world.value)
    yield from _narrowed(world, client)
    yield from _keeper(world)
    yield from _curator(world)


def _reads(world: _World) -> dict[str, APIRoute]:
    """Every address that only reads."""
    routes = (route for route in world.plane.app.routes if isinstance(route, APIRoute))
    return {route.path: route for route in routes if "GET" in (route.methods or ())}


def _addresses(world: _World, client: TestClient, paths: Iterable[str]) -> Iterator[tuple[str, Ask]]:
    """These addresses, with the parts that they need filled in; those whose parts the store does not tell are left
    out."""
    routes = _reads(world)
    for route in (routes[path] for path in paths):
        names = list(route.param_convertors)
        needed = [field.alias for field in route.dependant.query_params if field.field_info.is_required()]
        if all(world.value(name) for name in (*names, *needed)):
            yield f"GET {route.path}", _get(world, client, route.path, names, dict.fromkeys(needed, ""))


def _get(world: _World, client: TestClient, path: str, names: Sequence[str], query: dict[str, Any]) -> Ask:
    def ask() -> None:
        address = path.replace(":path}", "}").format(**{name: world.value(name) for name in names})
        response = client.get(address, params={name: value or world.value(name) for name, value in query.items()})
        if response.status_code != 200:
            raise RuntimeError(f"{address} answered {response.status_code}: {response.text[:300]}")

    return ask


def _tables(world: _World, client: TestClient) -> Iterator[tuple[str, Ask]]:
    for name, query in store_pages.TABLES.items():
        yield f"table {name}", _get(world, client, f"/tables/{name}.json", [], query)


def _narrowed(world: _World, client: TestClient) -> Iterator[tuple[str, Ask]]:
    """Lists as `tutelage … list` and the pages narrow them."""
    yield "calls of a pattern", _get(world, client, "/api/calls", [], {"pattern": ""})
    yield "calls of a run", _get(world, client, "/api/calls", [], {"trajectory": ""})
    middle = store_world.START + 86_400 * store_world.DAYS / 2
    yield "calls before a moment", _get(world, client, "/api/calls", [], {"before": middle})
    yield "1,000 calls", _get(world, client, "/api/calls", [], {"limit": 1_000})
    yield "runs before a moment", _get(world, client, "/api/trajectories", [], {"before": middle})
    yield "runs of an agent", _get(world, client, "/api/trajectories", [], {"agent": store_world.Agent(3).agent_id})
    yield "an hour of traffic by minute", _get(world, client, "/api/traffic", [], {"minutes": 60})
    yield "a day of traffic by minute", _get(world, client, "/api/traffic", [], {"minutes": 1_440})


def _keeper(world: _World) -> Iterator[tuple[str, Ask]]:
    """What the control plane asks by itself."""
    plane, store = world.plane, world.plane.store
    board = plane.keeper.board
    month, prices = span_of("month", NOW - 1), plane.options.prices
    callers = [f"caller{number:012}" for number in range(0, store_world.CALLERS, 7)]
    for kind in (SHADOW, AUDIT):
        scopes = list(board.scopes(kind))
        if scopes:
            yield f"{kind} labels to get, {len(scopes)} patterns", lambda kind=kind: plane.keeper.tasks(kind, 64)
            one = scopes[0]
            yield (
                f"{kind} sessions that are over, one pattern",
                lambda one=one: sessions.closed(store, one, fed=board.fed(one), idle_before=NOW),
            )
    yield "calls that students did not answer", lambda: sessions.served_badly(store)
    yield "sessions for a cooldown", lambda: sessions.passed(store, world.pattern(), NOW - 86_400, NOW)
    yield "whether a pattern is one turn", lambda: sessions.is_single_turn(store, world.pattern())
    yield "labels of a day", lambda: comparisons.count_since(store, SHADOW, NOW - 86_400)
    yield "sessions that wait for labels", lambda: plane.keeper.pending_sessions
    yield "round of the keeper without news", plane.keeper.tick
    yield "feedback whose call has come", lambda: feedback_rows.resolve(store, NOW)
    yield "outcomes of runs", lambda: outcomes.label_runs(store, OutcomeRules())
    noise = NoiseSource(store, draw_for(b"salt", NOISE, 0.05), 10_000, plane.clock)
    yield "noise labels to get", lambda: noise.tasks(NOISE, 64)
    queue = JudgeQueue(store, plane.options.judge, "judge", priced=True)
    yield "pairs for the judge", lambda: queue.cases(NOW, 32)
    yield "runs for a verifier", lambda: plane.verifying.waiting("checks:resolved", "1")
    yield "an answer by the provider's name", lambda: answered_as(store, *world.chance.choice(world.answers))
    yield "budgets of a month", lambda: spending(store, callers, month, prices)


def _curator(world: _World) -> Iterator[tuple[str, Ask]]:
    """What the export reads for training, a chunk of runs at a time, and what intents are found in."""
    store = world.plane.store

    def chunk() -> None:
        agent = store_world.Agent(world.chance.randrange(store_world.AGENTS - 1)).agent_id
        sql = "SELECT * FROM trajectories WHERE agent_id = ? AND finished AND last_at <= ? LIMIT ?"
        runs = store.query(sql, [agent, NOW, 50])
        list(islice(export.tables_of(store, runs), 1))

    yield "fifty runs for the curator", chunk
    yield "openings of 500 runs", lambda: intents.openings_of(store, world.pattern(), 500)


if __name__ == "__main__":
    sys.exit(main())
