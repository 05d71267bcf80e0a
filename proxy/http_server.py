"""All connections of one worker: what they may take up, when they are given up, and how they end."""

import asyncio
from dataclasses import dataclass, field

from .http_connection import Connection
from .http_messages import Handler, Limits


@dataclass
class HttpServer:
    """The connections of one worker."""

    handler: Handler
    limits: Limits = field(default_factory=Limits)
    connections: set[Connection] = field(default_factory=set)
    draining: bool = False
    _empty: asyncio.Event = field(default_factory=asyncio.Event)

    def connection(self) -> Connection:
        """A protocol for `loop.create_server`."""
        return Connection(self, asyncio.get_running_loop())

    def sweep(self) -> None:
        """Give up connections whose time is over; to be called about once a second."""
        for connection in list(self.connections):
            connection.check_deadline()

    def drain(self) -> None:
        """Finish what is in progress: idle connections are closed now, the others after their answer."""
        self.draining = True
        for connection in list(self.connections):
            connection.close_if_idle()

    async def finished(self) -> None:
        """Wait until no connection is left."""
        while self.connections:
            self._empty.clear()
            await self._empty.wait()

    def gone(self, connection: Connection) -> None:
        """A connection is closed."""
        self.connections.discard(connection)
        if not self.connections:
            self._empty.set()
