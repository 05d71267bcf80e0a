"""`tutelage demo`: the whole story with real parts, on localhost, without a key.

A parcel desk's agents work through the proxy. A student is trained from their traffic, shadowed, promoted on proof and
serves live customers, until its teacher changes its ways over night: the guard sees it and takes the work back.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from .demo_world import World
from .parcels.agent import Desk, Tally, serve_all
from .parcels.tasks import make_tasks

OBSERVE_SESSIONS = 240
SHADOW_BATCH = 23
RAMP_SERVED = 10
"""Sessions that the student gets in one batch of the ramp, whatever its share."""
LIVE_SESSIONS = 25
DRIFT_BATCH = 16
NEW_SCHEMA_SESSIONS = 20
CONCURRENCY = 6
STAGE_LIMIT_S = 240.0
"""No stage may wait longer than this for a decision; the story then says that it did not come."""
DISTILL = ("--name", "parcels", "--max-sessions", "240")


@dataclass
class Demo:
    """One telling of the story."""

    console: Console
    seed: int = 1
    data: Path | None = None
    stages: dict[str, float] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)
    facts: dict[str, Any] = field(default_factory=dict)

    def run(self, leave_dashboard: bool, figures: Path | None = None) -> dict[str, Any]:
        """Tell it. Returns the figures, and writes them to `figures`; waits at the end if the dashboard is to stay."""
        self.tasks = make_tasks(self.seed)
        started = time.monotonic()
        with World(self.data) as self.world:
            for stage in (self.start, self.observe, self.distill, self.shadow, self.ramp, self.live, self.drift):
                stage()
            self.new_schema()
            result = self._figures(time.monotonic() - started)
            if figures:
                figures.write_text(json.dumps(result, indent=1))
            self._table(result)
            if leave_dashboard:
                self._wait()
        return result

    def start(self) -> None:
        with self._stage("start", "Starting the teacher, the proxy and the control plane."):
            self.world.start()
        self.say(f"Dashboard: {self.world.dashboard}")

    def observe(self) -> None:
        with self._stage("observe", f"{OBSERVE_SESSIONS} customers write; the teacher serves them through the proxy."):
            self.serve(OBSERVE_SESSIONS)
            self._until(lambda: self.world.ask("/api/store/stats")["calls"] >= self.tally.calls, 60)
            names = ", ".join(f"{row['name']} ({row['role']})" for row in self.world.ask("/api/patterns"))
        self.say(f"Patterns found: {names}.")

    def distill(self) -> None:
        with self._stage("distill", "A student is trained from what the teacher did: scrub, curate, train, evaluate."):
            time.sleep(self._idle_s)  # the last sessions must be over before they can be learned from
            command = [sys.executable, "-m", "tutelage", "distill", "run", "--data", str(self.world.root), "--json"]
            command += [*DISTILL, "--config", str(self.world.config)]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            self.world.processes["distill"] = process  # pyright: ignore[reportArgumentType]
            output, _ = process.communicate()
            del self.world.processes["distill"]
            if process.returncode:
                raise RuntimeError(f"Distillation failed with exit code {process.returncode}.")
        manifest = json.loads(output)
        self.facts["student"] = manifest["version"]
        self.say(f"{manifest['version']} is registered as {manifest['status']}.")

    def shadow(self) -> None:
        with self._stage("shadow", "The student answers copies of new calls; nobody is served by it yet."):
            waiting = {"observe", "shadow"}
            self._serve_until(lambda: not waiting.intersection(self.states()), lambda: SHADOW_BATCH)
        self._tell_routes()

    def ramp(self) -> None:
        with self._stage("ramp", "It serves a growing share of sessions, each one audited by the teacher."):
            self._serve_until(lambda: "live" in self.states(), self._ramp_batch)
        self.facts["promoted"] = "live" in self.states()
        self._tell_routes()

    def live(self) -> None:
        before = dict(self.tally.routes)
        with self._stage("live", f"{LIVE_SESSIONS} more customers; a random share is still audited."):
            self.serve(LIVE_SESSIONS)
        self.facts["agreement"] = self._agreement()
        served = self.tally.routes.get("student", 0) - before.get("student", 0)
        self.say(f"The student answered {served} of these calls.")

    def drift(self) -> None:
        self.world.change_teacher(plain_numbers=True)
        with self._stage("drift", "Over night the teacher changes how it writes parcel numbers. Nobody tells us."):
            self._serve_until(lambda: "quarantined" in self.states(), lambda: DRIFT_BATCH)
        self.facts["demoted"] = "quarantined" in self.states()
        self._tell_routes()

    def new_schema(self) -> None:
        with self._stage("new schema", "A new release of the agent renames a tool parameter."):
            tally = self.serve(NEW_SCHEMA_SESSIONS, id_field="tracking_number")
            self._until(lambda: self.world.ask("/api/store/stats")["calls"] >= self.tally.calls, 60)
        self.facts["new_schema_served_by_student"] = tally.routes.get("student", 0)
        self.say(f"All {tally.routes.get('teacher', 0)} calls went to the teacher: the student never learned this.")

    def serve(self, sessions: int, id_field: str = "parcel") -> Tally:
        """Let agents serve `sessions` customers through the proxy."""

        async def work() -> Tally:
            async with httpx.AsyncClient(timeout=120) as client:
                desk = Desk(client, self.world.base_url, id_field=id_field)
                await serve_all(desk, islice(self.tasks, sessions), CONCURRENCY)
                return desk.tally

        tally = asyncio.run(work())
        self.tally.add(tally)
        return tally

    def states(self) -> list[str]:
        """States of the student's patterns."""
        return [row["state"] for row in self.world.ask("/api/routes") if row["student"]]

    def say(self, text: str) -> None:
        self.console.print(f"    {text}", highlight=False)

    @property
    def _idle_s(self) -> float:
        return 2.5

    @contextmanager
    def _stage(self, name: str, text: str) -> Iterator[None]:
        self.console.print(f"[bold]{name}[/]  {text}", highlight=False)
        started = time.monotonic()
        yield
        self.stages[name] = round(time.monotonic() - started, 1)
        self.console.print(f"    [dim]{self.stages[name]} s[/]", highlight=False)

    def _until(self, reached: Callable[[], bool], limit_s: float) -> bool:
        deadline = time.monotonic() + limit_s
        while not reached():
            if time.monotonic() > deadline:
                return False
            time.sleep(1.0)
        return True

    def _serve_until(self, reached: Callable[[], bool], batch: Callable[[], int]) -> None:
        deadline = time.monotonic() + STAGE_LIMIT_S
        while not reached() and time.monotonic() < deadline:
            self.serve(batch())
            # Shadow and audits follow the traffic: give them time before more is sent than is needed.
            self._until(lambda: reached() or not self._pending(), max(0.0, deadline - time.monotonic()))
        if not reached():
            self.say("[yellow]No decision within the time of the demo.[/]")

    def _ramp_batch(self) -> int:
        shares = [row["share"] for row in self.world.ask("/api/routes") if row["state"] == "canary"]
        return round(RAMP_SERVED / max(shares, default=1.0))

    def _pending(self) -> bool:
        """Whether sessions are still waiting for labels or for their idle gap."""
        return bool(self.world.ask("/api/status")["pending_sessions"])

    def _tell_routes(self) -> None:
        for row in self.world.ask("/api/routes"):
            if row["student"]:
                self.say(f"{row['name']} ({row['role']}): {row['state']} {row['share']:.0%}, {_risk(row)}")

    def _agreement(self) -> list[dict[str, Any]]:
        rows = [row for row in self.world.ask("/api/routes") if row["student"]]
        keys = ("name", "role", "state", "risk", "low", "high", "sessions")
        return [{key: row[key] for key in keys} for row in rows]

    def _figures(self, seconds: float) -> dict[str, Any]:
        stats, status = self.world.ask("/api/store/stats"), self.world.ask("/api/status")
        return {
            "seconds": round(seconds, 1),
            "promoted": self.facts.get("promoted", False),
            "served_by_student": self.tally.routes.get("student", 0),
            "served_by_teacher": self.tally.routes.get("teacher", 0),
            "demoted": self.facts.get("demoted", False),
            "agreement": self.facts.get("agreement", []),
            "calls_logged": stats["calls"],
            "calls_sent": self.tally.calls,
            "sessions": self.tally.sessions,
            "errors": self.tally.errors,
            "unfinished": self.tally.unfinished,
            "student": self.facts.get("student", ""),
            "teacher_tokens_saved": round(status["ledger"]["tokens_saved"]),
            "new_schema_served_by_student": self.facts.get("new_schema_served_by_student", 0),
            "stages": self.stages,
            "peak_mb": {name: round(value) for name, value in self.world.peak_mb.items()},
        }

    def _table(self, result: dict[str, Any]) -> None:
        table = Table("", "", title="The story in figures", show_header=False)
        for name in ("served_by_teacher", "served_by_student", "teacher_tokens_saved", "calls_sent", "calls_logged"):
            table.add_row(name.replace("_", " "), f"{result[name]:,}")
        for row in result["agreement"]:
            table.add_row(f"{row['role']} turns, {row['state']}", _risk(row))
        table.add_row("promoted, demoted", f"{result['promoted']}, {result['demoted']}")
        for name, seconds in result["stages"].items():
            table.add_row(f"time, {name}", f"{seconds} s")
        table.add_row("time, all", f"{result['seconds']} s")
        table.add_row("peak memory", ", ".join(f"{name} {value} MB" for name, value in result["peak_mb"].items()))
        self.console.print(table)

    def _wait(self) -> None:
        self.console.print(f"The dashboard stays up at {self.world.dashboard}. Ctrl-C ends it.", highlight=False)
        try:
            self.world.processes["serve"].wait()
        except KeyboardInterrupt:
            self.console.print("Good-bye.")


def _risk(row: dict[str, Any]) -> str:
    if not row["sessions"]:
        return "no compared session on this step yet"
    return f"disagreement {row['risk']:.1%} ({row['low']:.1%} to {row['high']:.1%}) in {row['sessions']} sessions"
