"""The agents' port over real sockets: what goes in, what comes out, and what a connection does in between."""

import asyncio
import itertools
import socket

import pytest
import uvloop
from http_desk import Desk, echo, head, listening
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.proxy.http_messages import Limits, Reply, Request


def test_a_request_and_its_answer() -> None:
    async def go() -> None:
        desk = Desk()
        async with listening(desk) as port:
            got = await port.ask(
                head("/a%20b%2Fc?q=1&r=%20", "POST", "Content-Length: 5", "X-Name: caf\xe9") + b"hello"
            )
        assert got.startswith(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: ")
        assert got.endswith(b"\r\n\r\nPOST /a%20b%2Fc q=1&r=%20|hello")
        assert desk.seen[0].named["x-name"] == "caf\xe9"
        assert ("host", "here") in desk.seen[0].headers

    uvloop.run(go())


@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(0, 130), max_size=8), chunked=st.booleans())
def test_it_does_not_matter_how_a_request_is_cut(cuts: list[int], chunked: bool) -> None:
    body = b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n" if chunked else b"hello world"
    framing = "Transfer-Encoding: chunked" if chunked else "Content-Length: 11"
    raw = head("/cut", "POST", framing) + body
    edges = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    parts = [raw[a:b] for a, b in itertools.pairwise(edges) if a < b]

    async def go() -> None:
        async with listening(Desk()) as port:
            line = await port.line()
            for part in parts:
                line.writer.write(part)
                await asyncio.sleep(0)
            assert (await line.rest()).endswith(b"POST /cut |hello world")

    uvloop.run(go())


def test_a_connection_is_used_again_and_requests_sent_ahead_are_answered_in_order() -> None:
    async def slowly(request: Request, reply: Reply) -> None:
        await asyncio.sleep(0.02 if request.path == "/1" else 0)
        await echo(request, reply)

    async def go() -> None:
        desk = Desk(slowly)
        async with listening(desk) as port:
            line = await port.line()
            await line.send(b"".join(head(f"/{n}", "GET", close=n == 40) for n in range(1, 41)))
            got = await line.rest()
        assert [request.path for request in desk.seen] == [f"/{n}" for n in range(1, 41)]
        assert got.count(b"HTTP/1.1 200 OK") == 40
        assert got.index(b"GET /1 ") < got.index(b"GET /2 ") < got.index(b"GET /40 ")

    uvloop.run(go())


def test_a_stream_is_chunked_and_every_piece_goes_out_at_once() -> None:
    async def streaming(request: Request, reply: Reply) -> None:
        reply.begin(200, [("content-type", "text/event-stream")], None)
        for _ in range(3):
            await reply.write(b"data: x\n\n")
            await asyncio.sleep(0.01)
        reply.end()

    async def go() -> None:
        async with listening(Desk(streaming)) as port:
            line = await (await port.line()).send(head("/s", "GET", close=False))
            assert b"transfer-encoding: chunked" in await line.until(b"\r\n\r\n")
            for _ in range(3):
                assert await line.until(b"\n\n\r\n") == b"9\r\ndata: x\n\n\r\n"
            assert await line.until(b"0\r\n\r\n") == b"0\r\n\r\n"
            old = await port.ask(b"GET /s HTTP/1.0\r\n\r\n")
        assert b"chunked" not in old
        assert old.endswith(b"\r\n\r\n" + b"data: x\n\n" * 3)

    uvloop.run(go())


def test_heads_and_empty_answers_have_no_body() -> None:
    async def answer(request: Request, reply: Reply) -> None:
        reply.whole(204 if request.path == "/none" else 200, [], b"" if request.path == "/none" else b"body")

    async def go() -> None:
        async with listening(Desk(answer)) as port:
            asked = await port.ask(head("/x", "HEAD"))
            none = await port.ask(head("/none", "DELETE"))
        assert asked.endswith(b"content-length: 4\r\nconnection: close\r\n\r\n")
        assert none == b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"

    uvloop.run(go())


def test_an_answer_that_is_not_finished_is_dropped_visibly() -> None:
    async def half(request: Request, reply: Reply) -> None:
        reply.begin(200, [], None)
        await reply.write(b"half")
        if request.path == "/raise":
            raise ValueError("boom")

    async def go() -> None:
        async with listening(Desk(half)) as port:
            for path in ("/raise", "/return"):
                line = await (await port.line()).send(head(path, "GET", close=False))
                assert b"0\r\n\r\n" not in await line.broken()

    uvloop.run(go())


def test_an_agent_that_leaves_is_noticed_at_once() -> None:
    async def forever(request: Request, reply: Reply) -> None:
        await asyncio.Event().wait()

    async def go() -> None:
        desk = Desk(forever)
        async with listening(desk) as port:
            line = await (await port.line()).send(head("/x", "GET", close=False))
            line.writer.close()
            await asyncio.wait_for(desk.left.wait(), 5)
        assert desk.left.is_set()

    uvloop.run(go())


def test_expect_continue_is_answered_before_the_body() -> None:
    async def go() -> None:
        async with listening(Desk()) as port:
            line = await (await port.line()).send(head("/x", "POST", "Expect: 100-continue", "Content-Length: 2"))
            assert await line.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            assert (await (await line.send(b"ok")).rest()).endswith(b"|ok")

    uvloop.run(go())


def test_a_wish_to_upgrade_is_passed_over() -> None:
    async def go() -> None:
        async with listening(Desk()) as port:
            wish = ("Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__", "Content-Length: 5")
            raw = head("/x", "POST", "Connection: Upgrade, HTTP2-Settings", *wish, close=False)
            line = await (await port.line()).send(raw + b"hello")
            assert (await line.until(b"hello")).startswith(b"HTTP/1.1 200 OK")

    uvloop.run(go())


@pytest.mark.parametrize(
    "raw", [b"garbage\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"\x16\x03\x01\x02"]
)
def test_what_is_no_http_is_refused_and_closed(raw: bytes) -> None:
    async def go() -> None:
        desk = Desk()
        async with listening(desk) as port:
            got = await port.ask(raw)
        assert got.startswith(b"HTTP/1.1 400 Bad Request")
        assert b'"code":"bad_http"' in got
        assert desk.seen == []

    uvloop.run(go())


def test_two_lengths_are_never_believed() -> None:
    async def go() -> None:
        desk = Desk()
        both = (
            head("/x", "POST", "Content-Length: 5", "Transfer-Encoding: chunked")
            + b"0\r\n\r\nGET /evil HTTP/1.1\r\n\r\n"
        )
        async with listening(desk) as port:
            assert (await port.ask(both)).startswith(b"HTTP/1.1 400")
        assert "/evil" not in [request.path for request in desk.seen]

    uvloop.run(go())


def test_a_body_is_passed_on_as_it_arrives_and_not_faster_than_it_is_taken() -> None:
    taken: list[bytes] = []
    go_on = asyncio.Event()

    async def upload(request: Request, reply: Reply) -> None:
        assert request.pieces is not None
        async for piece in request.pieces:
            taken.append(piece)
            await go_on.wait()
        reply.whole(200, [], b"%d" % sum(map(len, taken)))

    async def go() -> None:
        async with listening(Desk(upload, pieces=True), Limits(body_bytes=10)) as port:
            agent = socket.create_connection(port.address)
            agent.setblocking(False)
            size = 64 << 20
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(agent, head("/x", "POST", f"Content-Length: {size}"))
            sending = loop.create_task(loop.sock_sendall(agent, b"u" * size))
            await asyncio.sleep(0.2)
            assert taken
            assert not sending.done()
            go_on.set()
            await asyncio.wait_for(sending, 20)
            got = b""
            while piece := await asyncio.wait_for(loop.sock_recv(agent, 65536), 5):
                got += piece
            assert got.endswith(b"\r\n\r\n%d" % size)
            agent.close()

    uvloop.run(go())
