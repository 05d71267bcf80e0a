"""For tests of the agents' port: a handler that answers as told, and a port with raw connections to it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tutelage.proxy.http_messages import Limits, Reply, Request
from tutelage.proxy.http_server import HttpServer

Answering = Callable[[Request, Reply], Awaitable[None]]


async def echo(request: Request, reply: Reply) -> None:
    """Answers with what was asked."""
    text = f"{request.method} {request.path} {request.query}|".encode()
    reply.whole(200, [("content-type", "text/plain")], text + request.body)


@dataclass
class Desk:
    """A handler that remembers the requests and answers as told."""

    answer: Answering = echo
    pieces: bool = False
    seen: list[Request] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when an agent has gone away."""

    def wants_pieces(self, request: Request) -> bool:
        return self.pieces

    async def __call__(self, request: Request, reply: Reply) -> None:
        self.seen.append(request)
        if request.problem is not None:
            reply.whole(request.problem.status, [], request.problem.body())
            return
        try:
            await self.answer(request, reply)
        except asyncio.CancelledError:
            self.left.set()
            raise


@dataclass
class Line:
    """One agent's connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, *parts: bytes) -> "Line":
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
            await asyncio.sleep(0.005)
        return self

    async def rest(self) -> bytes:
        """Everything until the connection is closed."""
        return await asyncio.wait_for(self.reader.read(), 5)

    async def until(self, end: bytes) -> bytes:
        return await asyncio.wait_for(self.reader.readuntil(end), 5)

    async def broken(self) -> bytes:
        """What came before the connection was dropped."""
        got = b""
        try:
            while piece := await asyncio.wait_for(self.reader.read(65536), 5):
                got += piece
        except ConnectionError:
            pass
        return got


@dataclass
class Port:
    server: HttpServer
    address: tuple[str, int]
    lines: list[Line] = field(default_factory=list)

    async def line(self) -> Line:
        line = Line(*await asyncio.open_connection(*self.address))
        self.lines.append(line)
        return line

    async def ask(self, *parts: bytes) -> bytes:
        """Send the parts on a new connection, and everything that comes back until it is closed."""
        return await (await (await self.line()).send(*parts)).rest()


@asynccontextmanager
async def listening(desk: Desk, limits: Limits | None = None) -> AsyncIterator[Port]:
    server = HttpServer(desk, limits or Limits())
    loop = asyncio.get_running_loop()
    port = await loop.create_server(server.connection, "127.0.0.1", 0)
    opened = Port(server, port.sockets[0].getsockname())
    try:
        yield opened
    finally:
        port.close()
        for line in opened.lines:
            line.writer.close()
        await server.finished()


def head(target: str = "/x", method: str = "POST", *headers: str, close: bool = True) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: here", *headers, *(["Connection: close"] if close else []), "", ""]
    return "\r\n".join(lines).encode("latin-1")
