"""The teacher bridge: teachers that do not speak OpenAI's protocol, behind one that does, through LiteLLM.

`serve` starts it as a process of its own (`python -m tutelage.plugins.litellm_teacher`, options in TUTELAGE_OPTIONS),
so whatever LiteLLM costs in time and memory, calls to other teachers and to the student never wait for it. To the data
plane it is one more teacher with a URL.

Keys come from environment variables and stay in this process: they are in no answer and in no log. Whoever asks must
show the key that `serve` has made for this run, or the bridge would be an open door to the operator's account.
"""

import asyncio
import importlib.util
import logging
import os
import signal
import socket
import sys
from typing import Any

import msgspec

from ..traffic import logs
from ..traffic.errors import BadInput, MissingExtra, TutelageError
from .litellm_bridge import Bridge, Engine
from .litellm_options import BridgeOptions, check


def main() -> int:
    """Serve until SIGTERM. 1 when it cannot start, with the reason on stderr."""
    logs.configure(least="warning")
    try:
        options = _options()
        check(options, os.environ)
        _check_port(options)
        asyncio.run(_serve(Bridge(options, litellm_engine(options), os.environ), options))
    except TutelageError as error:
        print(error, file=sys.stderr)
        return 1
    # Not taken down in order: threads of the server that are still at work would abort the process.
    logging.shutdown()
    os._exit(0)


def _options() -> BridgeOptions:
    text = os.environ.get("TUTELAGE_OPTIONS")
    if not text:
        raise BadInput("Set TUTELAGE_OPTIONS to the bridge's options as JSON, or start it through `tutelage serve`.")
    try:
        return msgspec.json.decode(text, type=BridgeOptions)
    except msgspec.DecodeError as error:
        raise BadInput(f"TUTELAGE_OPTIONS holds no valid options: {error}") from error


def _check_port(options: BridgeOptions) -> None:
    """Raises BadInput when the port is taken: better before LiteLLM is loaded, which takes seconds."""
    try:
        socket.create_server((options.host, options.port)).close()
    except OSError as error:
        raise BadInput(
            f"The teacher bridge's port {options.host}:{options.port} cannot be used: {error.strerror}. "
            "Stop the program that holds it, or choose another one with bridge_port."
        ) from error


async def _serve(bridge: Bridge, options: BridgeOptions) -> None:
    from granian.constants import Interfaces
    from granian.server.embed import Server

    server = Server(
        bridge,
        address=options.host,
        port=options.port,
        interface=Interfaces.ASGINL,
        log_enabled=False,
        websockets=False,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, server.stop)
    await server.serve()


def litellm_engine(options: BridgeOptions) -> Engine:
    """LiteLLM itself, quiet and without a look at the network. Raises MissingExtra, or BadInput for a name unknown to
    it."""
    # Read once, at the import: prices from the package instead of from the network, no settings out of a .env file.
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    os.environ["LITELLM_MODE"] = "PRODUCTION"
    if importlib.util.find_spec("litellm") is None:
        raise MissingExtra("litellm", "litellm")
    litellm: Any = importlib.import_module("litellm")

    litellm.suppress_debug_info = True
    litellm.turn_off_message_logging = True
    litellm.telemetry = False
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    for model in options.models:
        try:
            litellm.get_llm_provider(model.name, api_base=model.url or None)
        except Exception as error:
            provider = model.name.partition("/")[0]
            raise BadInput(f"LiteLLM knows no provider {provider!r}, which {model.name!r} names.") from error
    return litellm


if __name__ == "__main__":
    sys.exit(main())
