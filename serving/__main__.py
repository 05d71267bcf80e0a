"""`python -m tutelage.serving`: the student server, with its ServingOptions as JSON in TUTELAGE_OPTIONS."""

import asyncio
import logging
import os
import signal
import sys

import msgspec
from granian.constants import Interfaces
from granian.server.embed import Server

from ..traffic import logs
from ..traffic.errors import BadInput, TutelageError
from .options import ServingOptions
from .server import StudentServer


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    logs.configure()
    try:
        serve(_options())
    except TutelageError as error:
        sys.exit(str(error))


def serve(options: ServingOptions) -> None:
    """Serve until SIGTERM or SIGINT. Raises BadInput for options that cannot work."""
    asyncio.run(_serve(options))


def _options() -> ServingOptions:
    text = os.environ.get("TUTELAGE_OPTIONS")
    if not text:
        raise BadInput("Set TUTELAGE_OPTIONS to the server's options as JSON, or start it through `tutelage serve`.")
    try:
        return msgspec.json.decode(text, type=ServingOptions)
    except msgspec.DecodeError as error:
        raise BadInput(f"TUTELAGE_OPTIONS holds no valid options: {error}") from error


async def _serve(options: ServingOptions) -> None:
    """One process: the engine's threads and the HTTP loop side by side."""
    server = Server(
        StudentServer(options).app,
        address=options.host,
        port=options.port,
        interface=Interfaces.ASGI,
        log_enabled=False,
        websockets=False,
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    await server.serve()


if __name__ == "__main__":
    main()
    # Everything is closed. The HTTP server's threads may still abort the process while the interpreter winds up.
    logging.shutdown()
    os._exit(0)
