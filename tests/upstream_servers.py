"""Servers on sockets that behave well and badly, for the tests of the clients to upstreams."""

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

import pytest

from tutelage.proxy.upstream import Headers, ReqwestUpstream, Timeouts, Upstream, UpstreamError
from tutelage.proxy.upstream_http1 import Http1Upstream

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class Way(NamedTuple):
    """A client, and how it is asked."""

    direct: bool
    whole: bool

    def upstream(self, timeouts: Timeouts) -> Upstream:
        return Http1Upstream(timeouts) if self.direct else ReqwestUpstream(timeouts)


WHOLE, STREAMED = [Way(True, True), Way(False, True)], [Way(True, False), Way(False, False)]
EVERY_WAY = pytest.mark.parametrize("way", [*WHOLE, *STREAMED], ids=str)
WHEN_WHOLE = pytest.mark.parametrize("way", WHOLE, ids=str)
WHEN_STREAMED = pytest.mark.parametrize("way", STREAMED, ids=str)
QUICK = Timeouts(connect_s=1, head_s=0.4, read_s=0.4)


async def asked(reader: asyncio.StreamReader) -> bytes:
    """One request with the body `{}` if it has one; its head."""
    head = await reader.readuntil(b"\r\n\r\n")
    if b"content-length: 2" in head.lower():
        await reader.readexactly(2)
    return head


@contextlib.asynccontextmanager
async def listening(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[int, list[float]]]:
    """A server on a free port: the port, and when its connections began. At the end all of them are closed."""
    began: list[float] = []
    tasks: set[asyncio.Task[None]] = set()

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        began.append(time.monotonic())
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await handler(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError, TimeoutError):
            await asyncio.wait_for(writer.wait_closed(), 1)
        tasks.discard(task)

    server = await asyncio.start_server(connection, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1], began
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=3)


def against(
    way: Way, handler: Handler, test: Callable[[Upstream, str], Awaitable[None]], timeouts: Timeouts = QUICK
) -> list[float]:
    """Run a test with a client and a server on a free port; returns when its connections began."""

    async def go() -> list[float]:
        async with listening(handler) as (port, began):
            upstream = way.upstream(timeouts)
            try:
                await test(upstream, f"http://127.0.0.1:{port}/v1/x")
            finally:
                await upstream.close()
        return began

    return asyncio.run(go())


def answering(*parts: bytes, pause_s: float = 0.0, stay_s: float = 0.0) -> Handler:
    """A server that answers every request with these bytes."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await asked(reader)
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(pause_s)
            if not stay_s:
                return
            await asyncio.sleep(stay_s)

    return handler


async def call(upstream: Upstream, url: str, way: Way, method: str = "POST") -> tuple[int, Headers, list[bytes]]:
    body = b"{}" if method == "POST" else b""
    answer = await upstream.send(method, url, [], body, whole=way.whole)
    pieces = []
    try:
        while (piece := await answer.piece()) is not None:
            pieces.append(piece)
    finally:
        await answer.close()
    return answer.status, answer.headers, pieces


def failing(handler: Handler, way: Way, timeouts: Timeouts = QUICK) -> UpstreamError:
    """The error that a call to this server ends with."""
    found: list[UpstreamError] = []

    async def test(upstream: Upstream, url: str) -> None:
        with pytest.raises(UpstreamError) as caught:
            await call(upstream, url, way)
        found.append(caught.value)

    against(way, handler, test, timeouts)
    return found[0]


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port: int, seconds: float = 20.0) -> None:
    """Return when somebody listens on it."""
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert time.monotonic() < end, f"nobody listens on {port}"
            time.sleep(0.05)
