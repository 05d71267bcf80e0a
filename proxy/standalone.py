"""One ASGI application on one port, in one worker: for servers that stand beside the proxy, such as teachers."""

from collections.abc import Callable
from typing import Any

from .dataplane import check_port


def serve_app(app: Any, host: str, port: int) -> None:
    """Serve `app` until SIGTERM or Ctrl-C. Raises BadInput for a port in use."""
    from granian.constants import Interfaces
    from granian.log import LogLevels
    from granian.server import Server

    check_port(host, port)
    server = Server(
        "app", address=host, port=port, interface=Interfaces.ASGI, websockets=False, log_level=LogLevels.warning
    )
    server.serve(target_loader=_loader(app), wrap_loader=False)


def _loader(app: Any) -> Callable[[], Any]:
    """Hands the application, already in memory, to the worker that is forked off."""
    return lambda: app
