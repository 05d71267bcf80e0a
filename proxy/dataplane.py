"""Starts the data plane: `python -m tutelage.proxy.dataplane`, options in TUTELAGE_OPTIONS.

Granian accepts connections and runs the workers; each worker builds its own application after the fork, with a journal
writer of its own. On SIGTERM workers stop accepting, finish the calls in progress and close their journals.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server import Server
from granian.server.common import AbstractServer

from ..traffic.errors import BadInput, TutelageError
from ..traffic.journal import JournalWriter, Sync
from ..traffic.layout import DataDir
from ..traffic.patterns import RegistryReader
from .app import DataPlane
from .callers import AcceptedCallers
from .exchange import Event, Receive, Send
from .options import DataPlaneOptions, from_environment
from .relay import Relay
from .routes import RouteReader
from .upstream import ReqwestUpstream, Upstream

BACKLOG = 4096
DRAIN_S = 120
"""Calls in progress get this many seconds at shutdown before their worker is killed."""


def build(options: DataPlaneOptions, upstream: Upstream) -> DataPlane:
    """A worker's application. Raises TutelageError when the data folder cannot be used."""
    data = DataDir(Path(options.data)).prepare()
    callers = AcceptedCallers(options.caller_memory_s)
    relay = Relay(
        upstream,
        callers,
        options.teacher_url,
        options.student_url,
        options.student_timeout_s,
        teacher_key(options),
    )
    return DataPlane(
        relay=relay,
        journal=JournalWriter(data.journal, sync=_sync(options.journal_sync)),
        registry=RegistryReader(data.patterns),
        routes=RouteReader(data.routes),
        callers=callers,
        secret=data.read_secret(),
        max_body_bytes=options.max_body_bytes,
    )


def teacher_key(options: DataPlaneOptions) -> str:
    """The key that replaces the agents'; empty when theirs pass through. Raises BadInput when it is not set."""
    if options.teacher_key_env and not os.environ.get(options.teacher_key_env):
        raise BadInput(
            f"The teacher's key is to come from the environment variable {options.teacher_key_env}, which is not set. "
            "Set it, or let the agents' own keys pass through."
        )
    return os.environ[options.teacher_key_env] if options.teacher_key_env else ""


def _sync(name: str) -> Sync:
    if name in ("interval", "always", "os"):
        return name
    raise BadInput(f"journal_sync is 'interval', 'always' or 'os', not {name!r}.")


class Worker:
    """The application as Granian sees it: built at start-up, inside the worker's event loop."""

    def __init__(self, options: DataPlaneOptions) -> None:
        self._options = options
        self._plane: DataPlane | None = None

    async def __call__(self, scope: Event, receive: Receive, send: Send) -> None:
        """Serve one request, or the worker's life span."""
        if scope["type"] == "http" and self._plane is not None:
            await self._plane(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        upstream = ReqwestUpstream(self._options.connect_timeout_s, self._options.read_timeout_s)
        try:
            self._plane = build(self._options, upstream)
        except TutelageError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        parent = asyncio.get_running_loop().create_task(_stop_with_parent())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        parent.cancel()
        await upstream.close()
        await asyncio.to_thread(self._plane.journal.close)
        await send({"type": "lifespan.shutdown.complete"})


async def _stop_with_parent() -> None:
    """A worker whose parent was killed would hold the port for ever: it stops too."""
    parent, never = os.getppid(), asyncio.Event()
    while os.getppid() == parent:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(never.wait(), 1)
    os.kill(os.getpid(), signal.SIGTERM)


def worker_app() -> Worker:
    """What Granian calls in each worker."""
    return Worker(from_environment(DataPlaneOptions))


def check_port(host: str, port: int) -> None:
    """Raises BadInput when nothing can listen there, with what to do about it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise BadInput(
                f"The agents' port {host}:{port} cannot be used: {error.strerror}. "
                "Stop the program that holds it, or choose another one with --port."
            ) from error


def server(options: DataPlaneOptions) -> AbstractServer[Any]:
    """The server, ready to `serve()`. HTTP/1.1 alone: finding out the version costs a fifth of the throughput."""
    return Server(
        "tutelage.proxy.dataplane",
        address=options.host,
        port=options.port,
        interface=Interfaces.ASGI,
        workers=options.workers,
        loop=Loops.uvloop if sys.platform != "win32" else Loops.auto,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(),
        websockets=False,
        backlog=BACKLOG,
        backpressure=BACKLOG,
        respawn_failed_workers=True,
        workers_kill_timeout=DRAIN_S,
        log_level=LogLevels.warning,
    )


def main() -> int:
    """Run until SIGTERM. 1 when it cannot start, with the reason on stderr."""
    options = from_environment(DataPlaneOptions)
    try:
        DataDir(Path(options.data)).prepare()
        teacher_key(options)
        _sync(options.journal_sync)
        check_port(options.host, options.port)
    except TutelageError as error:
        print(error, file=sys.stderr)
        return 1
    # Handed over as a function: by name, Granian would guess another one when it is started inside a package's folder.
    server(options).serve(target_loader=worker_app, wrap_loader=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
