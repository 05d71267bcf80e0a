"""The whole story of one agent, with real parts: traffic, training, shadow, proof, live, a change, demotion.

Whose story it is, a subclass says: how customers are served, in which surroundings, and how many there are. Nothing in
here decides anything; it sends traffic and watches what the running proxy does with it.
"""

import json
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from rich.console import Console
from rich.table import Table

from .demo_world import World
from .parcels.agent import Tally

STAGE_LIMIT_S = 240.0
"""No stage may wait longer than this for a decision; the story then says that it did not come."""


@dataclass(frozen=True)
class Plan:
    """How much of everything, in sessions."""

    student: str
    """Name of the student that is trained."""
    observe: int
    shadow_batch: int
    live: int
    drift_batch: int
    patterns: int
    """How many of the student's patterns have to leave the shadow before the story goes on."""
    ramp_served: int = 10
    """Sessions that the student gets in one batch of the ramp, whatever its share."""
    limit_s: float = STAGE_LIMIT_S
    """Longest wait for a decision in one stage, in seconds."""
    idle_s: float = 2.5
    """After that long without a call, a session is over."""


@dataclass
class Story(ABC):
    """One telling of the story."""

    plan: ClassVar[Plan]

    console: Console
    seed: int = 1
    data: Path | None = None
    stages: dict[str, float] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)
    facts: dict[str, Any] = field(default_factory=dict)

    def run(self, leave_dashboard: bool, figures: Path | None = None) -> dict[str, Any]:
        """Tell it. Returns the figures, and writes them to `figures`; waits at the end if the dashboard is to stay."""
        started = time.monotonic()
        with self.surroundings() as self.world:
            for stage in self.acts():
                stage()
            result = self._figures(time.monotonic() - started)
            if figures:
                figures.write_text(json.dumps(result, indent=1))
            self._table(result)
            if leave_dashboard:
                self._wait()
        return result

    @abstractmethod
    def surroundings(self) -> AbstractContextManager[World]:
        """Teacher, data folder and ports; the proxy is started by `start`."""

    @abstractmethod
    def serve(self, sessions: int) -> Tally:
        """Let the agent serve so many customers through the proxy; what it saw is in `tally` as well."""

    @abstractmethod
    def change(self) -> str:
        """Change the teacher's ways; says how, in a sentence."""

    def acts(self) -> tuple[Callable[[], None], ...]:
        """The stages, in order."""
        return (self.start, self.observe, self.distill, self.shadow, self.ramp, self.live, self.drift)

    def start(self) -> None:
        """Everything runs."""
        with self.stage("start", "Starting the teacher, the proxy and the control plane."):
            self.world.start()
        self.say(f"Dashboard: {self.world.dashboard}")

    def observe(self) -> None:
        """The teacher works, and is watched."""
        with self.stage("observe", f"{self.plan.observe} customers write; the teacher serves them through the proxy."):
            self.serve(self.plan.observe)
            self.until(lambda: self.world.ask("/api/store/stats")["calls"] >= self.tally.calls, 60)
            names = ", ".join(f"{row['name']} ({row['role']})" for row in self.world.ask("/api/patterns"))
        self.say(f"Patterns found: {names}.")

    def distill(self) -> None:
        """A student is trained. Raises RuntimeError when that fails."""
        with self.stage("distill", "A student is trained from what the teacher did: scrub, curate, train, evaluate."):
            time.sleep(self.plan.idle_s)  # the last sessions must be over before they can be learned from
            command = [sys.executable, "-m", "tutelage", "distill", "run", "--data", str(self.world.root), "--json"]
            command += ["--config", str(self.world.config), "--name", self.plan.student]
            command += ["--max-sessions", str(self.plan.observe)]
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
        """It answers copies, until that proves something."""
        with self.stage("shadow", "The student answers copies of new calls; nobody is served by it yet."):
            self.serve_until(lambda: self._left_shadow() >= self.plan.patterns, lambda: self.plan.shadow_batch)
        self._tell_routes()

    def ramp(self) -> None:
        """It gets customers, until it has them all."""
        with self.stage("ramp", "It serves a growing share of sessions, each one audited by the teacher."):
            self.serve_until(lambda: "live" in self.states(), self._ramp_batch)
        self.facts["promoted"] = "live" in self.states()
        self._tell_routes()

    def live(self) -> None:
        """It works."""
        before = dict(self.tally.routes)
        with self.stage("live", f"{self.plan.live} more customers; a random share is still audited."):
            self.serve(self.plan.live)
        self.facts["agreement"] = self._agreement()
        served = self.tally.routes.get("student", 0) - before.get("student", 0)
        self.say(f"The student answered {served} of these calls.")

    def drift(self) -> None:
        """What it learned is no longer true."""
        with self.stage("drift", f"Over night {self.change()} Nobody tells us."):
            self.serve_until(lambda: "quarantined" in self.states(), lambda: self.plan.drift_batch)
        self.facts["demoted"] = "quarantined" in self.states()
        self._tell_routes()

    def states(self) -> list[str]:
        """States of the student's patterns."""
        return [row["state"] for row in self.world.ask("/api/routes") if row["student"]]

    def say(self, text: str) -> None:
        """A line of the story."""
        self.console.print(f"    {text}", highlight=False)

    @contextmanager
    def stage(self, name: str, text: str) -> Iterator[None]:
        """One stage, with its time."""
        self.console.print(f"[bold]{name}[/]  {text}", highlight=False)
        started = time.monotonic()
        yield
        self.stages[name] = round(time.monotonic() - started, 1)
        self.console.print(f"    [dim]{self.stages[name]} s[/]", highlight=False)

    def until(self, reached: Callable[[], bool], limit_s: float) -> bool:
        """Wait; whether it came within the limit."""
        deadline = time.monotonic() + limit_s
        while not reached():
            if time.monotonic() > deadline:
                return False
            time.sleep(1.0)
        return True

    def serve_until(self, reached: Callable[[], bool], batch: Callable[[], int]) -> None:
        """Send batches of customers until it is reached, or the plan's limit."""
        deadline = time.monotonic() + self.plan.limit_s
        while not reached() and time.monotonic() < deadline:
            self.serve(batch())
            # Shadow and audits follow the traffic: give them time before more is sent than is needed.
            self.until(lambda: reached() or not self._pending(), max(0.0, deadline - time.monotonic()))
        if not reached():
            self.say("[yellow]No decision within the time of the demo.[/]")

    def _left_shadow(self) -> int:
        return sum(state not in ("observe", "shadow") for state in self.states())

    def _ramp_batch(self) -> int:
        shares = [row["share"] for row in self.world.ask("/api/routes") if row["state"] == "canary"]
        return round(self.plan.ramp_served / max(shares, default=1.0))

    def _pending(self) -> bool:
        """Whether sessions are still waiting for labels or for their idle gap."""
        return bool(self.world.ask("/api/status")["pending_sessions"])

    def _tell_routes(self) -> None:
        for row in self.world.ask("/api/routes"):
            if row["student"]:
                self.say(f"{row['name']} ({row['role']}): {row['state']} {row['share']:.0%}, {risk(row)}")

    def _agreement(self) -> list[dict[str, Any]]:
        rows = [row for row in self.world.ask("/api/routes") if row["student"]]
        keys = ("name", "role", "state", "risk", "low", "high", "sessions")
        return [{key: row[key] for key in keys} for row in rows]

    def _figures(self, seconds: float) -> dict[str, Any]:
        stats, status = self.world.ask("/api/store/stats"), self.world.ask("/api/status")
        return {
            "seconds": round(seconds, 1),
            "promoted": False,
            "served_by_student": self.tally.routes.get("student", 0),
            "served_by_teacher": self.tally.routes.get("teacher", 0),
            "demoted": False,
            "agreement": [],
            "calls_logged": stats["calls"],
            "calls_sent": self.tally.calls,
            "sessions": self.tally.sessions,
            "errors": self.tally.errors,
            "unfinished": self.tally.unfinished,
            "student": "",
            "teacher_tokens_saved": round(status["ledger"]["tokens_saved"]),
            "stages": self.stages,
            "peak_mb": {name: round(value) for name, value in self.world.peak_mb.items()},
        } | self.facts

    def _table(self, result: dict[str, Any]) -> None:
        table = Table("", "", title="The story in figures", show_header=False)
        for name in ("served_by_teacher", "served_by_student", "teacher_tokens_saved", "calls_sent", "calls_logged"):
            table.add_row(name.replace("_", " "), f"{result[name]:,}")
        for row in result["agreement"]:
            table.add_row(f"{row['role']} turns, {row['state']}", risk(row))
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


def risk(row: dict[str, Any]) -> str:
    """The disagreement of a route's row for people, never without its interval."""
    if not row["sessions"]:
        return "no compared session on this step yet"
    return f"disagreement {row['risk']:.1%} ({row['low']:.1%} to {row['high']:.1%}) in {row['sessions']} sessions"
