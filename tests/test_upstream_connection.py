"""What one connection to an upstream holds to, with real sockets."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from upstream_servers import CHUNKED, OK, Way, against, answering, asked, call

from tutelage.proxy.upstream import Timeouts, Upstream, UpstreamError

WHOLE, STREAMED = Way(True, True), Way(True, False)
PATIENT = Timeouts(connect_s=5, head_s=5, read_s=5)


async def pieces(*all_: bytes, then: Exception | None = None) -> AsyncIterator[bytes]:
    for piece in all_:
        yield piece
    if then is not None:
        raise then


async def read_chunked(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readexactly(2)
    return body


def test_an_upload_of_unknown_length_is_chunked_and_empty_pieces_do_not_end_it() -> None:
    got: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"transfer-encoding: chunked" in head
            got.append(await read_chunked(reader))
            writer.write(OK + b"content-length: 2\r\n\r\nok")
            await writer.drain()

    async def test(upstream: Upstream, url: str) -> None:
        for _ in range(2):
            answer = await upstream.send("POST", url, [], pieces(b"abc", b"", b"def"), whole=True)
            assert await answer.piece() == b"ok"

    assert len(against(WHOLE, handler, test, PATIENT)) == 1
    assert got == [b"abcdef", b"abcdef"]


def test_an_upload_that_fails_ends_the_call_and_the_connection() -> None:
    left = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        left.set()

    async def test(upstream: Upstream, url: str) -> None:
        with pytest.raises((UpstreamError, ZeroDivisionError)):
            await upstream.send("POST", url, [], pieces(b"abc", then=ZeroDivisionError()))
        await asyncio.wait_for(left.wait(), 2)

    against(STREAMED, handler, test, PATIENT)


def test_an_upload_that_is_refused_early() -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield b"x" * 65536
            await asyncio.sleep(0.001)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig")
        await writer.drain()
        await asyncio.sleep(0.2)

    async def test(upstream: Upstream, url: str) -> None:
        answer = await upstream.send("POST", url, [], endless(), whole=True)
        assert (answer.status, await answer.piece()) == (413, b"big")
        await asyncio.sleep(0.1)
        before = taken
        await asyncio.sleep(0.2)
        assert taken == before

    against(WHOLE, handler, test, PATIENT)


def test_a_slow_upstream_slows_an_upload_down() -> None:
    taken = 0

    async def many() -> AsyncIterator[bytes]:
        nonlocal taken
        for _ in range(1000):
            taken += 1
            yield b"x" * 65536

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(3)

    async def test(upstream: Upstream, url: str) -> None:
        calling = asyncio.ensure_future(upstream.send("POST", url, [], many()))
        await asyncio.sleep(0.5)
        assert taken < 500
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling

    against(STREAMED, handler, test, PATIENT)


def test_an_answer_that_is_not_taken_is_read_no_further() -> None:
    written = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        while True:
            await asked(reader)
            writer.write(CHUNKED)
            for _ in range(640):
                writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
                await writer.drain()
                written += 65536
            writer.write(b"0\r\n\r\n")
            await writer.drain()

    async def test(upstream: Upstream, url: str) -> None:
        answer = await upstream.send("POST", url, [], b"{}")
        await asyncio.sleep(1)  # twice as long as the upstream may be silent
        assert written < 32 << 20
        size = 0
        while (piece := await answer.piece()) is not None:
            size += len(piece)
        assert size == 40 << 20
        assert (await call(upstream, url, STREAMED))[0] == 200

    assert len(against(STREAMED, handler, test, Timeouts(connect_s=1, head_s=2, read_s=0.5))) == 1


def test_trailers_are_no_headers() -> None:
    handler = answering(CHUNKED + b"3\r\nabc\r\n0\r\nx-late: 1\r\n\r\n")

    async def test(upstream: Upstream, url: str) -> None:
        _, headers, body = await call(upstream, url, WHOLE)
        assert body == [b"abc"]
        assert "x-late" not in dict(headers)

    against(WHOLE, handler, test)


@pytest.mark.parametrize("way", [WHOLE, STREAMED], ids=str)
@pytest.mark.parametrize("late", [False, True])
def test_bytes_that_nobody_asked_for_are_nobodys_answer(way: Way, late: bool) -> None:
    count, said = 0, asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        while True:
            await asked(reader)
            count += 1
            writer.write(OK + b"content-length: 1\r\n\r\n%d" % count)
            if late:
                await writer.drain()
                await asyncio.sleep(0.05)
            writer.write(OK + b"content-length: 4\r\n\r\nevil")
            said.set()
            await writer.drain()

    async def test(upstream: Upstream, url: str) -> None:
        for expected in (b"1", b"2", b"3"):
            assert (await call(upstream, url, way))[2] == [expected]
            await said.wait()
            said.clear()
            await asyncio.sleep(0.1)

    assert len(against(way, handler, test)) == 3


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    async def test(upstream: Upstream, url: str) -> None:
        for way in (WHOLE, STREAMED):
            assert b"".join((await call(upstream, url, way))[2]) == b"abcdef"

    assert len(against(WHOLE, answering(OK + b"\r\nabc", b"def"), test)) == 2


def test_pieces_that_came_before_a_failure_are_handed_over() -> None:
    async def test(upstream: Upstream, url: str) -> None:
        answer = await upstream.send("POST", url, [], b"{}")
        await asyncio.sleep(0.2)
        assert await answer.piece() == b"abc"
        with pytest.raises(UpstreamError, match="broke off"):
            await answer.piece()
        await answer.close()

    against(STREAMED, answering(CHUNKED + b"3\r\nabc\r\n"), test)


def test_an_answer_in_byte_sized_packets() -> None:
    whole = CHUNKED + b"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n"
    handler = answering(*[whole[n : n + 1] for n in range(len(whole))], stay_s=0.01)

    async def test(upstream: Upstream, url: str) -> None:
        for way in (WHOLE, STREAMED):
            status, headers, body = await call(upstream, url, way)
            assert (status, dict(headers)["content-type"], b"".join(body)) == (200, "text/event-stream", b"abcdef")

    assert len(against(WHOLE, handler, test, PATIENT)) == 1


def test_switching_protocols_is_no_answer() -> None:
    async def test(upstream: Upstream, url: str) -> None:
        with pytest.raises(UpstreamError):
            await call(upstream, url, WHOLE)

    began = time.monotonic()
    against(WHOLE, answering(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"), test)
    assert time.monotonic() - began < 5
