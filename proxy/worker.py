"""One worker of the agents' port: `python -m tutelage.proxy.worker`, started by `dataplane` with the listening socket.

On SIGTERM it takes no more connections, finishes the calls in progress and closes its journal. When the process that
started it dies, it ends too.
"""

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import time
from pathlib import Path

import uvloop

from ..traffic import logs
from ..traffic.errors import BadInput, TutelageError
from ..traffic.journal import JournalWriter, Sync
from ..traffic.layout import DataDir
from ..traffic.patterns import RegistryReader
from .app import DataPlane
from .breaker import Breaker
from .callers import AcceptedCallers
from .http_messages import Limits
from .http_server import HttpServer
from .key_rates import KeyRates
from .keys import KeyRing
from .lean import settle
from .metrics_workers import Noticeboard
from .options import DataPlaneOptions, from_environment
from .parents import end_with_parent
from .relay import Relay
from .retries import Retries
from .routes import RouteReader
from .teachers import Teachers
from .upstream import ReqwestUpstream, Timeouts, Upstream
from .upstream_choice import ChosenUpstream
from .upstream_http1 import Http1Upstream

LISTENER = "TUTELAGE_LISTENER"
"""Environment variable with the number of the inherited listening socket."""
PARENT = "TUTELAGE_PARENT"
"""Environment variable with the process id of who started this worker."""
DRAIN_S = 120.0
"""Calls in progress get this many seconds at shutdown."""
_LEAVE_S = 30.0


def build(options: DataPlaneOptions, upstream: Upstream) -> DataPlane:
    """A worker's application. Raises TutelageError when the data folder or a teacher cannot be used."""
    data = DataDir(Path(options.data)).prepare()
    teachers = Teachers.build(options, os.environ)
    names = [teacher.name for teacher in teachers.every()]
    secret = data.read_secret()
    relay = Relay(
        upstream=upstream,
        callers=AcceptedCallers(options.caller_memory_s, path=data.callers),
        teachers=teachers,
        student_url=options.student_url.rstrip("/"),
        student_timeout_s=options.student_timeout_s,
        retries=Retries(options.retries, options.retry_budget),
        breakers={
            name: Breaker(options.breaker_failures, options.breaker_window_s, options.breaker_pause_s)
            for name in [*names, "student"]
        },
    )
    return DataPlane(
        relay=relay,
        journal=JournalWriter(data.journal, sync=sync_of(options.journal_sync)),
        registry=RegistryReader(data.patterns),
        routes=RouteReader(data.routes),
        keys=KeyRing(data.keys, KeyRates(data.rates), secret, options.require_keys),
        max_body_bytes=options.max_body_bytes,
        max_concurrent=options.max_concurrent,
        intake=options.intake,
    )


def sync_of(name: str) -> Sync:
    """The journal's setting. Raises BadInput for an unknown one."""
    if name in ("interval", "always", "os"):
        return name
    raise BadInput(f"journal_sync is 'interval', 'always' or 'os', not {name!r}.")


def limits_of(options: DataPlaneOptions) -> Limits:
    """What one agent may take up."""
    return Limits(options.max_body_bytes, options.max_header_bytes, options.request_timeout_s)


def upstream_of(options: DataPlaneOptions) -> Upstream:
    """The client for teachers and students. Raises BadInput for certificates that cannot be read."""
    timeouts = Timeouts(
        options.connect_timeout_s, options.head_timeout_s, options.read_timeout_s, options.total_timeout_s
    )
    own, full = Http1Upstream(timeouts, options.ca_file), ReqwestUpstream(timeouts, options.ca_file)
    return ChosenUpstream(own, full, options.http2)


async def serve(options: DataPlaneOptions, listener: socket.socket, stopped: asyncio.Event) -> None:
    """Answer agents on `listener` until `stopped` is set, then finish what is in progress."""
    upstream = upstream_of(options)
    plane = build(options, upstream)
    server = HttpServer(plane, limits_of(options))
    port = await asyncio.get_running_loop().create_server(server.connection, sock=listener, backlog=4096)
    settle()
    gc.set_threshold(20_000, 20, 50)
    board = Noticeboard(DataDir(Path(options.data)).workers)
    watching = asyncio.create_task(_watch(server, plane, board, stopped))
    await stopped.wait()
    port.close()
    server.drain()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(server.finished(), DRAIN_S)
    watching.cancel()
    await upstream.close()
    await asyncio.to_thread(plane.journal.close, _LEAVE_S)
    board.show(plane.report(time.time()))
    board.close()


async def _watch(server: HttpServer, plane: DataPlane, board: Noticeboard, stopped: asyncio.Event) -> None:
    """Once a second: say what was counted, give up what has run out of time, and end when the parent has."""
    # Who it was is told, not asked: it may have died before this process could ask.
    parent = os.environ.get(PARENT, str(os.getppid()))
    while True:
        if str(os.getppid()) != parent:
            stopped.set()
        board.show(plane.report(time.time()))
        await asyncio.sleep(1)
        server.sweep()


async def _main(options: DataPlaneOptions, listener: socket.socket) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await serve(options, listener, stopped)


def main() -> int:
    """Run until SIGTERM. 1 when it cannot start, with the reason on stderr."""
    end_with_parent()
    logs.configure()
    listener = socket.socket(fileno=int(os.environ[LISTENER]))
    listener.setblocking(False)
    try:
        options = from_environment(DataPlaneOptions)
        uvloop.run(_main(options, listener))
    except TutelageError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
