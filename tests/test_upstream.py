"""What both clients to upstreams do alike, against servers on sockets that behave well and badly.

The library behind ReqwestUpstream cannot cancel a call before its head has come; the other client can.
"""

import asyncio
import itertools
import socket
import struct
import time
from collections.abc import AsyncIterator

import pytest
from upstream_servers import (
    CHUNKED,
    EVERY_WAY,
    OK,
    WHEN_STREAMED,
    WHEN_WHOLE,
    Way,
    against,
    answering,
    asked,
    call,
    failing,
)

from tutelage.proxy.upstream import Timeouts, Upstream, UpstreamError


@EVERY_WAY
def test_sends_what_it_is_given_and_follows_nothing(way: Way) -> None:
    heads: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n") + await reader.readexactly(2))
        writer.write(b"HTTP/1.1 302 Found\r\nlocation: /y\r\ncontent-encoding: gzip\r\nx-a: 1\r\nx-a: 2\r\n")
        writer.write(b"content-length: 3\r\n\r\nabc")
        await writer.drain()

    async def test(upstream: Upstream, url: str) -> None:
        answer = await upstream.send("POST", url + "?q=%20", [("x-b", "3"), ("x-b", "4")], b"{}", whole=way.whole)
        assert answer.status == 302
        assert [value for name, value in answer.headers if name == "x-a"] == ["1", "2"]
        assert await answer.piece() == b"abc"
        assert await answer.piece() is None
        await answer.close()

    against(way, handler, test)
    head = heads[0].lower()
    assert head.startswith(b"post /v1/x?q=%20 http/1.1")
    assert b"x-b: 3" in head
    assert b"x-b: 4" in head
    assert b"accept-encoding" not in head
    assert head.endswith(b"{}")


@WHEN_STREAMED
def test_pieces_come_as_they_arrive(way: Way) -> None:
    handler = answering(CHUNKED, *[b"1\r\n%d\r\n" % n for n in range(5)], b"0\r\n\r\n", pause_s=0.1)

    async def test(upstream: Upstream, url: str) -> None:
        answer = await upstream.send("POST", url, [], b"{}")
        arrivals = [time.monotonic()]
        while (piece := await answer.piece()) is not None:
            assert piece == b"%d" % (len(arrivals) - 1)
            arrivals.append(time.monotonic())
        await answer.close()
        gaps = [later - sooner for sooner, later in itertools.pairwise(arrivals)]
        assert len(gaps) == 5
        assert sum(gap > 0.05 for gap in gaps) >= 4

    against(way, handler, test)


@WHEN_WHOLE
def test_a_whole_answer_is_one_piece(way: Way) -> None:
    handler = answering(CHUNKED, b"1\r\na\r\n", b"1\r\nb\r\n", b"0\r\n\r\n", pause_s=0.02)

    async def test(upstream: Upstream, url: str) -> None:
        assert (await call(upstream, url, way))[2] == [b"ab"]

    against(way, handler, test)


@EVERY_WAY
def test_bodies_can_be_streamed(way: Way) -> None:
    got: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        got.append(head + await reader.readexactly(6))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()

    async def body() -> AsyncIterator[bytes]:
        for piece in (b"abc", b"def"):
            yield piece

    async def test(upstream: Upstream, url: str) -> None:
        answer = await upstream.send("PUT", url, [("content-length", "6")], body(), whole=way.whole)
        assert answer.status == 204
        assert await answer.piece() is None
        await answer.close()

    against(way, handler, test)
    assert b"content-length: 6" in got[0].lower()
    assert got[0].endswith(b"abcdef")


@EVERY_WAY
@pytest.mark.parametrize(
    ("method", "answer", "status", "body"),
    [
        ("POST", b"HTTP/1.1 204 No Content\r\n\r\n", 204, []),
        ("GET", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", 304, []),
        ("HEAD", OK + b"content-length: 5\r\n\r\n", 200, []),
        ("POST", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK, 200, []),
        ("POST", CHUNKED + b"3\r\nabc\r\n0\r\nx-end: 1\r\n\r\n", 200, [b"abc"]),
        ("POST", OK + b"x-a: " + b"a" * 50_000 + b"\r\ncontent-length: 2\r\n\r\nok", 200, [b"ok"]),
        ("POST", OK + "x-name: café\r\ncontent-length: 2\r\n\r\nok".encode(), 200, [b"ok"]),
        ("POST", OK + b"x-name: caf\xe9\r\ncontent-length: 2\r\n\r\nok", 200, [b"ok"]),
    ],
    ids=["204", "304", "head", "1xx", "trailers", "long header", "utf-8 header", "latin-1 header"],
)
def test_unusual_answers(method: str, answer: bytes, status: int, body: list[bytes], way: Way) -> None:
    closes = answer.endswith(OK)
    handler = answering(answer + b"\r\n" if closes else answer, stay_s=0.0 if closes else 0.01)

    async def test(upstream: Upstream, url: str) -> None:
        for _ in range(2):  # the second tells whether the connection is still in step
            assert (await call(upstream, url, way, method))[::2] == (status, body)

    connections = against(way, handler, test)
    # A parser cannot be told that HEAD has no body: the direct client gives such a connection up.
    assert len(connections) == (2 if closes or (method == "HEAD" and way.direct) else 1)


@EVERY_WAY
@pytest.mark.parametrize(
    "answer",
    [
        OK + b"content-length: 10\r\n\r\nabc",
        CHUNKED + b"5\r\nabc",
        CHUNKED + b"3\r\nabc\r\n",
        CHUNKED + b"zz\r\nabc\r\n",
    ],
    ids=["short", "within a chunk", "between chunks", "no chunk"],
)
def test_an_answer_that_breaks_off(answer: bytes, way: Way) -> None:
    error = failing(answering(answer), way)
    assert (error.problem.code, error.sent) == ("upstream_broken_off", True)


@EVERY_WAY
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "closed"),
        (OK + b"content-le", "closed"),
        (b"\x00\x01 sk-secret\r\n\r\n", "HTTP"),
        (OK + b"x-a: " + b"a" * 1_000_000 + b"\r\n\r\n", "head is too large"),
    ],
    ids=["nothing", "half a head", "garbage", "huge head"],
)
def test_no_answer_after_the_request(answer: bytes, words: str, way: Way) -> None:
    error = failing(answering(answer), way)
    assert (error.problem.status, error.problem.code, error.sent) == (502, "upstream_unreachable", True)
    assert words in error.problem.message
    assert "sk-secret" not in error.problem.message


@EVERY_WAY
@pytest.mark.parametrize("begin", [b"", CHUNKED + b"3\r\nabc\r\n"], ids=["before the head", "in the body"])
def test_a_reset(begin: bytes, way: Way) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        writer.write(begin)
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    error = failing(handler, way)
    assert error.sent
    assert error.problem.code == ("upstream_broken_off" if begin else "upstream_unreachable")


@EVERY_WAY
def test_keys_of_the_url_are_in_no_message(way: Way) -> None:
    async def go() -> None:
        upstream = way.upstream(Timeouts())
        for url in ("http://user:sk-1@127.0.0.1:1/v1?key=sk-2", "ftp://user:sk-1@127.0.0.1/?key=sk-2", "sk-1 and sk-2"):
            with pytest.raises(UpstreamError) as caught:
                await upstream.send("GET", url, [("x-a", "1")], b"", whole=way.whole)
            assert "sk-" not in caught.value.problem.message
            # Nor does a traceback show a cause with the URL in it.
            assert caught.value.__suppress_context__ or caught.value.__context__ is None
            assert not caught.value.sent
        await upstream.close()

    asyncio.run(go())


@EVERY_WAY
def test_a_header_that_cannot_be_sent_is_the_agents_error(way: Way) -> None:
    async def go() -> None:
        upstream = way.upstream(Timeouts())
        with pytest.raises(UpstreamError) as caught:
            await upstream.send("GET", "http://127.0.0.1:1/", [("authorization", "sk-1\n2")], b"", whole=way.whole)
        assert (caught.value.problem.status, caught.value.problem.code) == (400, "cannot_send")
        assert not caught.value.sent
        assert "sk-1" not in caught.value.problem.message
        await upstream.close()

    asyncio.run(go())


@EVERY_WAY
def test_header_values_arrive_as_the_bytes_that_the_agent_sent(way: Way) -> None:
    heads: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await asked(reader))
        writer.write(OK + b"content-length: 0\r\n\r\n")
        await writer.drain()

    async def test(upstream: Upstream, url: str) -> None:
        value = "Zürich".encode().decode("latin-1")  # as a server hands headers over
        await (await upstream.send("GET", url, [("x-city", value)], b"", whole=way.whole)).close()

    against(way, handler, test)
    assert "x-city: Zürich\r\n".lower().encode() in heads[0].lower()


@EVERY_WAY
@pytest.mark.parametrize(("host", "words"), [("127.0.0.1", "refused"), ("nobody.invalid", "Name|name")])
def test_nobody_there(host: str, words: str, way: Way) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://{host}:{probe.getsockname()[1]}/v1"

    async def go() -> None:
        upstream = way.upstream(Timeouts())
        with pytest.raises(UpstreamError, match=words) as caught:
            await upstream.send("GET", url, [], b"", whole=way.whole)
        assert caught.value.problem.code == "upstream_unreachable"
        assert not caught.value.sent
        await upstream.close()

    asyncio.run(go())


@EVERY_WAY
@pytest.mark.parametrize("begin", [b"", CHUNKED + b"3\r\nabc\r\n"], ids=["before the head", "in the body"])
def test_cancelling_closes_the_connection(begin: bytes, way: Way) -> None:
    left = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        writer.write(begin)
        if not begin and not way.direct:
            # The library cannot let go earlier than this.
            await asyncio.sleep(0.6)
            writer.write(CHUNKED)
        await reader.read()
        left.set()

    async def test(upstream: Upstream, url: str) -> None:
        calling = asyncio.ensure_future(call(upstream, url, way))
        await asyncio.sleep(0.2)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        await asyncio.wait_for(left.wait(), 2)

    against(way, handler, test, Timeouts())


@EVERY_WAY
def test_connections_are_used_again(way: Way) -> None:
    async def test(upstream: Upstream, url: str) -> None:
        for _ in range(20):
            await call(upstream, url, way)
        await asyncio.gather(*(call(upstream, url, way) for _ in range(4)))
        for _ in range(20):
            await call(upstream, url, way)

    handler = answering(OK + b"content-length: 2\r\n\r\nok", stay_s=0.001)
    assert 1 <= len(against(way, handler, test)) <= 4
