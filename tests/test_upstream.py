"""The real client against servers on sockets that behave well and badly."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tutelage.proxy.upstream import ReqwestUpstream, UpstreamError

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def against(handler: Handler, test: Callable[[ReqwestUpstream, str], Awaitable[None]]) -> None:
    """Run a test with a client whose reads time out after 0.4 s against a server on a free port."""

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def go() -> None:
        server = await asyncio.start_server(connection, "127.0.0.1", 0)
        upstream = ReqwestUpstream(connect_timeout_s=1, read_timeout_s=0.4)
        try:
            await test(upstream, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/x")
        finally:
            await upstream.close()
            server.close()

    asyncio.run(go())


async def pieces_of(upstream: ReqwestUpstream, url: str) -> list[bytes]:
    answer = await upstream.send("POST", url, [], b"{}")
    found = []
    try:
        while (piece := await answer.piece()) is not None:
            found.append(piece)
    finally:
        await answer.close()
    return found


def test_a_request_and_its_answer_cross_unchanged() -> None:
    asked: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n") + await reader.readexactly(2))
        writer.write(b"HTTP/1.1 302 Found\r\nlocation: /y\r\ncontent-encoding: gzip\r\nx-a: 1\r\nx-a: 2\r\n")
        writer.write(b"content-length: 3\r\n\r\nabc")
        await writer.drain()

    async def test(upstream: ReqwestUpstream, url: str) -> None:
        answer = await upstream.send("POST", url + "?q=%20", [("x-b", "3"), ("x-b", "4")], b"{}")
        assert answer.status == 302
        assert [value for name, value in answer.headers if name == "x-a"] == ["1", "2"]
        assert await answer.piece() == b"abc"
        assert await answer.piece() is None
        await answer.close()

    against(handler, test)
    head = asked[0].lower()
    assert head.startswith(b"post /v1/x?q=%20 http/1.1")
    assert b"x-b: 3" in head
    assert b"x-b: 4" in head
    assert b"accept-encoding" not in head
    assert head.endswith(b"{}")


def test_pieces_come_as_they_arrive() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(CHUNKED)
        for n in range(5):
            await writer.drain()
            await asyncio.sleep(0.1)
            writer.write(b"1\r\n%d\r\n" % n)
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    async def test(upstream: ReqwestUpstream, url: str) -> None:
        started = time.monotonic()
        answer = await upstream.send("POST", url, [], b"{}")
        assert time.monotonic() - started < 0.09
        first = await answer.piece()
        assert (first, time.monotonic() - started < 0.25) == (b"0", True)
        await answer.close()
        assert await pieces_of(upstream, url) == [b"0", b"1", b"2", b"3", b"4"]

    against(handler, test)


def test_bodies_can_be_streamed() -> None:
    got: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        got.append(head + await reader.readexactly(6))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()

    async def body() -> AsyncIterator[bytes]:
        for piece in (b"abc", b"def"):
            yield piece

    async def test(upstream: ReqwestUpstream, url: str) -> None:
        answer = await upstream.send("PUT", url, [("content-length", "6")], body())
        assert answer.status == 204
        assert await answer.piece() is None
        await answer.close()

    against(handler, test)
    assert b"content-length: 6" in got[0].lower()
    assert got[0].endswith(b"abcdef")


def test_a_server_that_hangs_times_out_before_and_in_the_answer() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"/begun" in head:
            writer.write(CHUNKED + b"1\r\na\r\n")
        await asyncio.sleep(2)

    async def test(upstream: ReqwestUpstream, url: str) -> None:
        for tail in ("", "/begun"):
            with pytest.raises(UpstreamError) as caught:
                await pieces_of(upstream, url + tail)
            assert caught.value.problem.code == "upstream_timeout"

    against(handler, test)


def test_an_answer_that_breaks_off() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")
        await writer.drain()

    async def test(upstream: ReqwestUpstream, url: str) -> None:
        with pytest.raises(UpstreamError) as caught:
            await pieces_of(upstream, url)
        assert caught.value.problem.code == "upstream_broken_off"

    against(handler, test)


def test_nobody_there() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}/v1"

    async def go() -> None:
        upstream = ReqwestUpstream(connect_timeout_s=1)
        with pytest.raises(UpstreamError, match="refused") as caught:
            await upstream.send("GET", url, [], b"")
        assert caught.value.problem.code == "upstream_unreachable"
        await upstream.close()

    asyncio.run(go())
