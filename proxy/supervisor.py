"""`tutelage serve`: starts the processes, waits until they answer, restarts what dies, and stops them in order.

The data plane goes down first and drains; the control plane follows and takes in what the last calls wrote to the
journal; the teacher bridge and the student server, which both may be asked by those, are last. A part that cannot even
start stops the whole, with its own words on the screen. The student server is started when the first student version
exists; the teacher bridge is there when a teacher needs it, and is needed then.
"""

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from ..traffic.errors import TutelageError
from ..traffic.layout import DataDir, publish_json
from .parents import end_with_parent

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
LONGEST_PAUSE_S = 30.0
FORGIVEN_AFTER_S = 3.0
"""A part that lived this long had come up: when it ends it is restarted at once. One that ends sooner, again and again,
is restarted after growing pauses."""


class PartFailed(TutelageError):
    """A process did not come up; the message holds the end of its log."""


@dataclass(frozen=True)
class Part:
    """One process to keep running."""

    name: str
    """Also the name of its log file."""
    command: Sequence[str]
    environment: dict[str, str]
    ready_url: str
    """Answers 200 when the part is up."""
    wanted: Callable[[], bool] = lambda: True
    """Whether it should run now; asked until it is first true."""
    optional: bool = False
    """An optional part is restarted without end and never stops the others."""


@dataclass
class _Running:
    process: subprocess.Popen[bytes]
    started: float
    log_start: int
    """Where its own words begin in the log, which it shares with the runs before."""


@dataclass
class Supervisor:
    """Keeps the parts running. `parts` come in the order of starting; stopping goes by `stop_order`."""

    data: DataDir
    parts: Sequence[Part]
    stop_order: Sequence[str]
    addresses: dict[str, str]
    """What `serve.json` tells other commands."""
    say: Callable[[str], None] = print
    restarts: dict[str, int] = field(default_factory=dict)
    _running: dict[str, _Running] = field(default_factory=dict)
    _stopping: bool = False

    def start(self) -> None:
        """Start every wanted part and wait until the needed ones answer. Raises PartFailed; nothing is left running."""
        try:
            for part in self.parts:
                if part.wanted():
                    self._spawn(part)
            for part in self.parts:
                if part.name in self._running and not part.optional:
                    self._await(part)
        except BaseException:
            self.stop()
            raise
        publish_json(self.data.serve, self.addresses | {"pids": self.pids()})

    def pids(self) -> dict[str, int]:
        """Process ids by part."""
        return {name: running.process.pid for name, running in self._running.items()}

    def watch(self, pause_s: float = 0.25) -> None:
        """Restart what dies and start what becomes wanted, until `request_stop`."""
        while not self._stopping:
            for part in self.parts:
                self._look_after(part)
            time.sleep(pause_s)

    def request_stop(self) -> None:
        """Make `watch` return. Safe in a signal handler."""
        self._stopping = True

    def stop(self) -> None:
        """Stop all parts in order, each with time to finish."""
        for name in self.stop_order:
            running = self._running.pop(name, None)
            if running and running.process.poll() is None:
                running.process.terminate()
                try:
                    running.process.wait(STOP_TIMEOUT_S)
                except subprocess.TimeoutExpired:
                    self.say(f"{name} did not stop within {STOP_TIMEOUT_S:.0f} s and is killed.")
                    running.process.kill()
                    running.process.wait()
        self.data.serve.unlink(missing_ok=True)

    def log(self, part: str) -> Path:
        """The part's log file."""
        return self.data.logs / f"{part}.log"

    def _spawn(self, part: Part) -> None:
        with self.log(part.name).open("ab") as log:
            log_start = log.seek(0, os.SEEK_END)
            process = subprocess.Popen(
                part.command,
                env=part.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # an interrupt from the terminal is ours to pass on, in order
                preexec_fn=end_with_parent,
            )
        self._running[part.name] = _Running(process, time.monotonic(), log_start)

    def _await(self, part: Part) -> None:
        running = self._running[part.name]
        while time.monotonic() - running.started < START_TIMEOUT_S:
            if running.process.poll() is not None:
                raise PartFailed(f"The {part.name} did not start:\n{self._last_words(part.name)}")
            if answers(part.ready_url):
                return
            time.sleep(0.05)
        raise PartFailed(f"The {part.name} did not answer within {START_TIMEOUT_S:.0f} s. See {self.log(part.name)}.")

    def _last_words(self, name: str, lines: int = 6) -> str:
        own = self.log(name).read_bytes()[self._running[name].log_start :]
        text = own.decode(errors="replace").strip().splitlines()
        return "\n".join(text[-lines:]) or "(it wrote nothing)"

    def _look_after(self, part: Part) -> None:
        running = self._running.get(part.name)
        if running is None:
            if part.wanted():
                self.say(f"Starting the {part.name}.")
                self._spawn(part)
                self._publish()
            return
        if running.process.poll() is None:
            return
        lived = time.monotonic() - running.started
        count = 0 if lived > FORGIVEN_AFTER_S else self.restarts.get(part.name, 0)
        if lived < min(0.25 * (2.0**count - 1), LONGEST_PAUSE_S):
            return
        self.restarts[part.name] = count + 1
        self.say(f"The {part.name} ended with code {running.process.returncode} and is restarted.")
        self._spawn(part)
        self._publish()

    def _publish(self) -> None:
        publish_json(self.data.serve, self.addresses | {"pids": self.pids()})


def answers(url: str) -> bool:
    """Whether a GET of `url` gives 200 within a second."""
    try:
        # Without TLS: reading the certificates each time would take the processor from those who start.
        return httpx.get(url, timeout=1.0, trust_env=False, verify=False).status_code == 200
    except httpx.HTTPError:
        return False
