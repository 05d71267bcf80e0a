"""Training by itself: `tutelage distill watch`, and beside the proxy when `autopilot = true`.

    python -m tutelage.autopilot        settings as JSON in TUTELAGE_OPTIONS, see `Pilot`

It looks now and then, and starts at most one run at a time, as a process of low priority with few threads. Each run
stands in DATA/runs/history.jsonl when it begins and when it ends. A run that was cut short, by the end of a window, by
a stop or by a crash, is begun again with the same sessions and goes on from its last checkpoint. A lock keeps a second
watcher of the same folder away.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from .distill.options import DistillOptions, ScheduleOptions
from .distill.schedule import Due, Entry, Need, Wait, decide, fold, left, needed
from .proxy.admin_client import AdminClient
from .proxy.options import ControlOptions, to_environment
from .proxy.parents import end_with_parent
from .serving.threads import QUIET
from .traffic.errors import BadInput, DataFolderLocked, TutelageError
from .traffic.layout import DataDir
from .traffic.priority import step_back

HISTORY, LOCK, LOG = "history.jsonl", "autopilot.lock", "distill.log"
STOP_S = 60.0
"""Longest wait for a run that is told to stop."""


@dataclass(frozen=True)
class Pilot:
    """Settings of the process."""

    distill: DistillOptions
    schedule: ScheduleOptions
    control: ControlOptions


@dataclass
class Autopilot:
    """Looks, decides, trains."""

    pilot: Pilot
    tell: Callable[[str, Entry | Wait], None]
    """Told what happens: `started`, `ended` with the entry, `waits` when the reason has changed."""
    ask: Callable[[], AdminClient]
    command: Sequence[str] = (sys.executable, "-m", "tutelage.distill")
    now: Callable[[], datetime] = lambda: datetime.now().astimezone()
    stop: threading.Event = field(default_factory=threading.Event)
    _waited: str = ""

    @property
    def data(self) -> DataDir:
        return DataDir(Path(self.pilot.distill.data))

    def watch(self, once: bool = False) -> None:
        """Look until `stop` is set, or once. Raises DataFolderLocked when another watcher has the folder."""
        with self._alone():
            while not self.stop.is_set():
                trained = self.look()
                if once:
                    return
                if not trained:
                    self.stop.wait(self.pilot.schedule.every_s)

    def look(self) -> bool:
        """One look, and the run that it leads to; False when there was none."""
        history, pilot = read_history(self.data), self.pilot
        try:
            with self.ask() as client:
                needs = [msgspec.convert(row, Need) for row in client.get("/api/needs")]
                decision = decide(needs, history, pilot.schedule, pilot.distill.min_sessions, self.now())
                if isinstance(decision, Due):
                    decision = _with_sessions(client, decision)
        except TutelageError as error:
            decision = Wait(f"the control plane cannot be asked: {error}")
        if isinstance(decision, Wait):
            if decision.why != self._waited:
                self.tell("waits", decision)
            self._waited = decision.why
            return False
        self._waited = ""
        self._run(decision, history)
        return True

    def _run(self, due: Due, history: Sequence[Entry]) -> None:
        entry = Entry(self.now().timestamp(), due.agent_id, due.reason, due.export)
        # The one that it goes on from is over with that.
        if history and history[-1].open:
            self._write(
                msgspec.structs.replace(history[-1], ended_at=history[-1].ended_at or entry.at, outcome="resumed")
            )
        self._write(entry)
        self.tell("started", entry)
        limit = left(self.pilot.schedule, history, self.now())
        outcome = self._train(due, time.monotonic() + max(0.0, limit))
        entry = msgspec.structs.replace(entry, ended_at=self.now().timestamp(), **outcome)
        self._write(entry)
        self.tell("ended", entry)

    def _train(self, due: Due, until: float) -> dict[str, str]:
        """Run the process to its end, the window's end or the watcher's; how it ended."""
        schedule = self.pilot.schedule
        asked_for = needed(due.reason) or self.pilot.distill.asked_for
        options = replace(self.pilot.distill, agent=due.agent_id, threads=schedule.threads, asked_for=asked_for)
        environment = {**to_environment(options), **QUIET, "OMP_NUM_THREADS": str(schedule.threads)}

        def humble() -> None:
            step_back(schedule.nice)
            end_with_parent()

        with (self.data.logs / LOG).open("ab") as log:
            begin = log.seek(0, os.SEEK_END)
            process = subprocess.Popen(
                [*self.command, due.export],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                preexec_fn=humble,
            )
        told: list[bytes] = []
        reader = threading.Thread(target=lambda: told.append(process.stdout.read() if process.stdout else b""))
        reader.start()
        stopped = self._wait(process, until)
        reader.join()
        if process.stdout:
            process.stdout.close()
        if process.returncode == 0:
            manifest = json.loads(told[0].splitlines()[-1])
            outcome = "registered" if manifest["status"] == "candidate" else "rejected"
            return {"outcome": outcome, "version": manifest["version"], "message": manifest["reason"]}
        words = (self.data.logs / LOG).read_bytes()[begin:].decode(errors="replace").strip().splitlines()
        return {"outcome": "stopped" if stopped else "failed", "message": words[-1] if words and not stopped else ""}

    def _wait(self, process: "subprocess.Popen[bytes]", until: float) -> bool:
        """Wait for the end; True when it was told to stop."""
        while process.poll() is None:
            if self.stop.wait(0.05) or time.monotonic() >= until:
                process.terminate()
                try:
                    process.wait(STOP_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                return process.returncode != 0
        return False

    def _write(self, entry: Entry) -> None:
        with (self.data.runs / HISTORY).open("ab") as file:
            file.write(msgspec.json.encode(entry) + b"\n")
            file.flush()
            os.fsync(file.fileno())

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with (self.data.prepare().runs / LOCK).open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DataFolderLocked(
                    f"Another watcher trains for {self.data.root} (`serve` with autopilot = true, or `distill watch`). "
                    "One is enough."
                ) from None
            yield


def _with_sessions(client: AdminClient, due: Due) -> Due:
    """The run with the sessions that it goes on with, or with those that there are now."""
    if due.export and Path(due.export).is_dir():
        return due
    return due._replace(export=client.post("/api/exports", {"agent": due.agent_id})["path"])


def read_history(data: DataDir) -> list[Entry]:
    """All runs that were started by themselves, the oldest first; a line that was cut off is left out."""
    path = data.runs / HISTORY
    lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
    return fold([msgspec.json.decode(line, type=Entry) for line in lines if line.endswith(b"\n")])


def line(kind: str, what: Entry | Wait) -> str:
    """What happens, for a terminal."""
    if isinstance(what, Wait):
        return f"waits: {what.why}"
    facts = [kind, what.agent_id, what.reason, what.outcome, what.version, what.message]
    return "  ".join(fact for fact in facts if fact)


def say(kind: str, what: Entry | Wait) -> None:
    """One JSON line on stdout."""
    print(json.dumps({"event": kind, **_told(what)}, ensure_ascii=False), flush=True)


def _told(what: Entry | Wait) -> dict[str, Any]:
    return what._asdict() if isinstance(what, Wait) else msgspec.to_builtins(what)


def main(environment: str | None) -> int:
    """Watch until SIGTERM; the exit status."""
    try:
        if not environment:
            raise BadInput("Expected the settings as JSON in TUTELAGE_OPTIONS, found none.")
        pilot = msgspec.json.decode(environment, type=Pilot)
        data = DataDir(Path(pilot.distill.data))
        autopilot = Autopilot(pilot, say, lambda: AdminClient.open(data, pilot.control))
        signal.signal(signal.SIGTERM, lambda *_: autopilot.stop.set())
        autopilot.watch()
    except (TutelageError, msgspec.DecodeError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ.get("TUTELAGE_OPTIONS")))
