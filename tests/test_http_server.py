"""What agents may take up of the port, and how its connections end."""

import asyncio
import socket

import uvloop
from http_desk import Desk, echo, head, listening

from tutelage.proxy.http_messages import Limits, Reply, Request


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
