"""An HTTP/1.1 server that shows everything: what arrived byte for byte, over which connection, and who hung up.

It writes what it is given without touching it, so a test decides on every byte and every border between two pieces.
"""

import asyncio
import itertools
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Self

DROP = "drop"
"""As the last step of a script: reset the connection."""
Step = bytes | float | str
"""Bytes to write, a pause in seconds, or `DROP`."""


@dataclass
class Seen:
    """One request as it arrived."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    """In the order of arrival, names in lower case."""
    body: bytes
    """Without its chunked framing, but in the content encoding it was sent in."""
    connection: int
    """Number of the connection it came over."""
    hung_up: threading.Event = field(default_factory=threading.Event)
    """Set when the other side closed before the answer was done."""

    def get(self, name: str) -> str:
        """The values of a header, joined; empty when it is not there."""
        return ", ".join(value for key, value in self.headers if key == name)


Handler = Callable[[Seen], Awaitable[list[Step]]]


class WireServer:
    """Runs in a thread of its own; `handler` gives the steps that answer a request."""

    def __init__(self, handler: Handler) -> None:
        self.seen: list[Seen] = []
        self.port = 0
        self._handler, self._numbers = handler, itertools.count()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ready = threading.Event()
        self._stopped = asyncio.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(10)
        assert not self._thread.is_alive()

    def find(self, marker: bytes, seconds: float = 5.0) -> Seen:
        """The first request whose body or target holds `marker`; waits for it."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            for seen in list(self.seen):
                if marker in seen.body or marker in seen.target.encode():
                    return seen
            time.sleep(0.01)
        raise AssertionError(f"no request with {marker!r} arrived")

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, limit=1 << 20)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopped.wait()
        server.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = next(self._numbers)
        try:
            while (seen := await _request(reader, number)) is not None:
                self.seen.append(seen)
                if not await self._answer(seen, reader, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Play the answer; False when the connection is over."""
        work = asyncio.ensure_future(self._play(seen, writer))
        while not work.done():
            await asyncio.wait({work}, timeout=0.02)
            if not work.done() and (reader.at_eof() or reader.exception()):
                seen.hung_up.set()
                work.cancel()
        return not work.cancelled() and work.result()

    async def _play(self, seen: Seen, writer: asyncio.StreamWriter) -> bool:
        steps = await self._handler(seen)
        for step in steps:
            if isinstance(step, bytes):
                writer.write(step)
                await writer.drain()
            elif isinstance(step, str):
                writer.transport.abort()
                return False
            else:
                await asyncio.sleep(step)
        head = next((step for step in steps if isinstance(step, bytes)), b"").split(b"\r\n\r\n")[0].lower()
        return b"connection: close" not in head


async def _request(reader: asyncio.StreamReader, connection: int) -> Seen | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ", 2)
    pairs = (line.partition(":") for line in lines)
    headers = [(name.lower(), value.strip()) for name, _, value in pairs]
    named = dict(headers)
    if "chunked" in named.get("transfer-encoding", ""):
        body = await _chunks(reader)
    else:
        body = await reader.readexactly(int(named.get("content-length", "0")))
    return Seen(method, target, headers, body, connection)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readline()).split(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    while (await reader.readline()).strip():
        pass
    return body


def whole(status: str, body: bytes, *headers: tuple[str, str], kind: str = "application/json") -> list[Step]:
    """The steps of a complete answer with a known length; `status` as `404 Not Found`."""
    lines = [("content-type", kind), ("content-length", str(len(body))), *headers]
    return [head(status, *lines) + body]


def chunked(pieces: list[bytes], *headers: tuple[str, str], pause_s: float = 0.0, status: str = "200 OK") -> list[Step]:
    """The steps of an event stream: each piece one chunk, written by itself."""
    lines = [("content-type", "text/event-stream; charset=utf-8"), ("transfer-encoding", "chunked"), *headers]
    steps: list[Step] = [head(status, *lines)]
    for piece in pieces:
        steps += [pause_s] if pause_s else []
        steps.append(b"%x\r\n%b\r\n" % (len(piece), piece))
    return [*steps, b"0\r\n\r\n"]


def head(status: str, *headers: tuple[str, str]) -> bytes:
    """Status line and headers, with the empty line after them."""
    return (f"HTTP/1.1 {status}\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers) + "\r\n").encode()
