"""Starts the data plane: `python -m tutelage.proxy.dataplane`, options in TUTELAGE_OPTIONS.

This process holds the agents' port and does nothing else but keep its workers running. So the port is never closed:
while a worker that died is replaced, agents wait a moment instead of being refused.
"""

import contextlib
import errno
import logging
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..traffic import logs
from ..traffic.errors import BadInput, TutelageError
from ..traffic.layout import DataDir
from .options import DataPlaneOptions, from_environment
from .teachers import Teachers
from .worker import DRAIN_S, LISTENER, PARENT, sync_of, upstream_of

logger = logging.getLogger(__name__)
BACKLOG = 4096
PATIENCE_S = 2.0
"""After a crash the workers of the run before need a moment to let go of the port."""
LONGEST_PAUSE_S = 5.0
FORGIVEN_AFTER_S = 10.0
"""A worker that lived this long is replaced at once, whatever happened before."""


def listen(host: str, port: int, patience_s: float = 0.0) -> socket.socket:
    """The agents' port. Raises BadInput when it cannot be had within `patience_s`, with what to do about it."""
    ends = time.monotonic() + patience_s
    while True:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(BACKLOG)
        except OSError as error:
            listener.close()
            if error.errno != errno.EADDRINUSE or time.monotonic() > ends:
                raise BadInput(
                    f"The agents' port {host}:{port} cannot be used: {error.strerror}. "
                    "Stop the program that holds it, or choose another one with --port."
                ) from error
            time.sleep(0.05)
        else:
            return listener


def check_port(host: str, port: int) -> None:
    """Raises BadInput when nothing can listen there."""
    listen(host, port).close()


def check(options: DataPlaneOptions) -> None:
    """Raises TutelageError for what would keep a worker from starting."""
    DataDir(Path(options.data)).prepare()
    Teachers.build(options, os.environ)
    sync_of(options.journal_sync)
    upstream_of(options)


@dataclass
class Workers:
    """Keeps `count` workers running on one listening socket."""

    command: Sequence[str]
    listener: socket.socket
    count: int
    _running: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _started: dict[int, float] = field(default_factory=dict)
    _failures: int = 0
    _stopping: bool = False

    def run(self) -> None:
        """Run until `stop`, then until the workers have finished."""
        while not self._stopping:
            self._look_after()
            time.sleep(0.05)
        self._end()

    def stop(self, *_: object) -> None:
        """Make `run` end. Safe in a signal handler."""
        self._stopping = True

    def _look_after(self) -> None:
        for worker in [worker for worker in self._running if worker.poll() is not None]:
            self._running.remove(worker)
            lived = time.monotonic() - self._started.pop(worker.pid)
            self._failures = 0 if lived > FORGIVEN_AFTER_S else self._failures + 1
            logger.warning("Worker %d ended with code %s and is replaced", worker.pid, worker.returncode)
            if self._failures > 1:
                time.sleep(min(0.1 * 2.0**self._failures, LONGEST_PAUSE_S))
        while len(self._running) < self.count and not self._stopping:
            self._spawn()

    def _spawn(self) -> None:
        number = self.listener.fileno()
        environment = {**os.environ, LISTENER: str(number), PARENT: str(os.getpid())}
        worker = subprocess.Popen(self.command, env=environment, pass_fds=[number], stdin=subprocess.DEVNULL)
        self._running.append(worker)
        self._started[worker.pid] = time.monotonic()

    def _end(self) -> None:
        # Closed first: new connections are refused, and not left waiting for workers that take none any more.
        self.listener.close()
        for worker in self._running:
            worker.send_signal(signal.SIGTERM)
        ends = time.monotonic() + DRAIN_S
        for worker in self._running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.wait(max(0.1, ends - time.monotonic()))
            worker.kill()
            worker.wait()


def _open_many_files() -> None:
    """Each stream in progress takes two descriptors, and the usual limit of 1,024 is for programs that use `select`."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main() -> int:
    """Run until SIGTERM. 1 when it cannot start, with the reason on stderr."""
    logs.configure()
    try:
        options = from_environment(DataPlaneOptions)
        check(options)
        listener = listen(options.host, options.port, PATIENCE_S)
    except TutelageError as error:
        print(error, file=sys.stderr)
        return 1
    _open_many_files()
    workers = Workers([sys.executable, "-m", "tutelage.proxy.worker"], listener, options.workers)
    signal.signal(signal.SIGTERM, workers.stop)
    signal.signal(signal.SIGINT, workers.stop)
    workers.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
