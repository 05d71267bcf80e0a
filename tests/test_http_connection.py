"""The agents' port over real sockets: what goes in, what comes out, and what a connection does in between."""

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.proxy.http_connection import HttpServer, Limits
from tutelage.proxy.http_messages import Reply, Request

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


def test_limits_on_head_and_body() -> None:
    async def go() -> None:
        desk = Desk()
        async with listening(desk, Limits(body_bytes=1000, head_bytes=2000)) as port:
            line = await (await port.line()).send(b"GET / HTTP/1.1\r\nX: " + b"a" * 1500, b"a" * 1500)
            assert b"431 Request Header Fields Too Large" in await line.broken()
            at_once = await port.ask(head("/x", "GET", "X: " + "a" * 2000))
            assert at_once.startswith(b"HTTP/1.1 431")
            told = await port.ask(head("/x", "POST", "Content-Length: 1001"), b"a" * 1001)
            assert told.startswith(b"HTTP/1.1 413")
            counted = await port.ask(
                head("/x", "POST", "Transfer-Encoding: chunked"), b"3e8\r\n" + b"a" * 1000 + b"\r\n", b"1\r\na\r\n"
            )
            assert counted.startswith(b"HTTP/1.1 413")
        assert [request.problem.code for request in desk.seen if request.problem] == [
            "head_too_large",
            "body_too_large",
            "body_too_large",
        ]

    uvloop.run(go())


def test_slow_requests_and_silent_connections_are_given_up() -> None:
    async def go() -> None:
        desk = Desk()
        async with listening(desk, Limits(request_s=0.05, idle_s=0.1)) as port:
            slow_head = await (await port.line()).send(b"GET / HTTP/1.1\r\nX-")
            slow_body = await (await port.line()).send(head("/x", "POST", "Content-Length: 5") + b"he")
            idle = await (await port.line()).send(head("/x", "GET", close=False))
            for _ in range(8):
                await asyncio.sleep(0.03)
                port.server.sweep()
            assert (await slow_head.rest()).startswith(b"HTTP/1.1 408")
            assert (await slow_body.rest()).startswith(b"HTTP/1.1 408")
            assert (await idle.rest()).endswith(b"GET /x |")

    uvloop.run(go())


def test_a_slow_reader_slows_its_own_answer_and_is_given_up_in_the_end() -> None:
    sent = 0

    async def flood(request: Request, reply: Reply) -> None:
        nonlocal sent
        reply.begin(200, [], None)
        for _ in range(2000):
            await reply.write(b"x" * 65536)
            sent += 65536
        reply.end()

    async def go() -> None:
        desk = Desk(flood)
        async with listening(desk, Limits(stalled_s=0.2)) as port:
            agent = socket.create_connection(port.address)
            agent.setblocking(False)
            await asyncio.get_running_loop().sock_sendall(agent, head("/x", "GET"))
            await asyncio.sleep(0.1)
            assert sent < 32 << 20
            before = sent
            await asyncio.sleep(0.15)
            assert sent == before
            port.server.sweep()
            await asyncio.wait_for(desk.left.wait(), 5)
            agent.close()

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


def test_draining_closes_idle_connections_and_finishes_busy_ones() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def wait(request: Request, reply: Reply) -> None:
        if request.path == "/busy":
            begun.set()
            await go_on.wait()
        await echo(request, reply)

    async def go() -> None:
        async with listening(Desk(wait)) as port:
            idle = await (await port.line()).send(head("/idle", "GET", close=False))
            await idle.until(b"|")
            busy = await (await port.line()).send(head("/busy", "GET", close=False))
            await begun.wait()
            port.server.drain()
            assert await idle.rest() == b""
            go_on.set()
            got = await busy.rest()
        assert b"connection: close" in got
        assert got.endswith(b"GET /busy |")

    uvloop.run(go())
