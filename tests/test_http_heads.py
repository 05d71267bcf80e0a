"""Heads that repeat: a connection reads the same requests, whether it has seen such a head before or not."""

import asyncio
import itertools
from dataclasses import dataclass, field

import pytest
import uvloop
from http_desk import Desk, head
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.proxy.http_connection import Connection
from tutelage.proxy.http_heads import repeatable
from tutelage.proxy.http_messages import Limits, Request
from tutelage.proxy.http_server import HttpServer

HEADS = (
    ("/a?x=1", "POST", "Authorization: Bearer one", "Content-Length: {}"),
    ("/a?x=1", "POST", "Content-Length:{}", "Authorization: Bearer two", "Connection: keep-alive"),
    ("/a?x=1", "POST", "X-Content-Length: 3", "content-length:  {}", "Expect: 100-continue"),
    ("/b", "PUT", "content-length: {} ", "Connection: close"),
    ("/b", "PUT", "Content-Length: {}", "Content-Length: {}"),
    ("/c", "POST", "Upgrade: h2c", "Content-Length: {}"),
    ("/c", "GET"),
)


@dataclass
class Wire(asyncio.Transport):
    """A connection to an agent that keeps what is written."""

    written: list[bytes] = field(default_factory=list)
    open: bool = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def abort(self) -> None:
        self.open = False

    def close(self) -> None:
        self.open = False

    def can_write_eof(self) -> bool:
        return False


async def read(parts: list[list[bytes]], alone: bool) -> list[tuple[object, ...]]:
    """What is seen and written when each message's parts arrive in turn; `alone`: each on its own connection."""
    seen: list[tuple[object, ...]] = []
    server, connection = HttpServer(desk := Desk(), Limits(body_bytes=60)), None
    wire = Wire()
    for message in parts:
        if connection is None or alone or not wire.open:
            wire = Wire()
            connection = Connection(server, asyncio.get_running_loop())
            connection.connection_made(wire)
        before, said = len(desk.seen), len(wire.written)
        for part in message:
            connection.data_received(part)
        for _ in range(6):
            await asyncio.sleep(0)
        answers = tuple(answer.replace(b"connection: close\r\n", b"") for answer in wire.written[said:])
        seen.append((tuple(map(plain, desk.seen[before:])), answers, wire.open))
    return seen


def plain(request: Request) -> tuple[object, ...]:
    problem = request.problem and request.problem.code
    return request.method, request.path, request.query, request.headers, request.named, request.body, problem


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, len(HEADS) - 1), st.integers(0, 70), st.lists(st.integers(0, 200), max_size=1)),
        min_size=2,
        max_size=7,
    )
)
def test_each_request_is_read_as_if_it_were_the_first_of_its_connection(plan: list[tuple[int, int, list[int]]]) -> None:
    messages = []
    for which, size, cuts in plan:
        target, method, *headers = HEADS[which]
        raw = head(target, method, *(line.format(size) for line in headers), close=False)
        raw += b"x" * size if headers else b""
        edges = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
        messages.append([raw[a:b] for a, b in itertools.pairwise(edges) if a < b])

    async def go() -> None:
        assert await read(messages, alone=False) == await read(messages, alone=True)

    uvloop.run(go())


def a_request(length: str = "5", body: bytes = b"hello") -> tuple[bytes, Request]:
    request = Request("POST", "/x?y", [("host", "here"), ("content-length", length), ("accept", "*/*")])
    request.body = body
    return b"POST /x?y HTTP/1.1\r\nHost: here\r\nContent-Length: %b\r\nAccept: */*\r\n\r\n" % length.encode(), request


def test_a_repeated_head_shares_what_is_known_of_it() -> None:
    raw, request = a_request()
    again = repeatable(raw + b"hello", request)
    assert again is not None
    found = again.match(raw.replace(b"5", b"12") + b"hello worlds", 100)
    assert found is not None
    assert found.known is request.known
    assert (found.body, found.named["content-length"], request.named["content-length"]) == (b"hello worlds", "12", "5")
    assert found.headers == [("host", "here"), ("content-length", "12"), ("accept", "*/*")]


@pytest.mark.parametrize(
    "data",
    [
        b"POST /x?y HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\nAccept: */*\r\n\r\nhell",
        b"POST /x?y HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\nAccept: */*\r\n\r\nhello!",
        b"POST /x?y HTTP/1.1\r\nHost: here\r\nContent-Length: +5\r\nAccept: */*\r\n\r\nhello",
        b"POST /x?y HTTP/1.1\r\nHost: here\r\nContent-Length: 0000000005\r\nAccept: */*\r\n\r\nhello",
        b"POST /x?y HTTP/1.1\r\nHost: here\r\nContent-Length: \r\nAccept: */*\r\n\r\n",
        b"POST /x?z HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\nAccept: */*\r\n\r\nhello",
        b"POST /x?y HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\nAccept: */*\r\nX: 1\r\n\r\nhello",
        b"POST /x?y HTTP/1.1\r\nHost: here\r\nContent-Length: 101\r\nAccept: */*\r\n\r\n" + b"x" * 101,
    ],
)
def test_anything_else_is_for_the_parser(data: bytes) -> None:
    raw, request = a_request()
    again = repeatable(raw + b"hello", request)
    assert again is not None
    assert again.match(data, 100) is None


def test_a_body_that_is_not_all_there_makes_no_repeated_head() -> None:
    raw, request = a_request()
    assert repeatable(raw + b"hello and more", request) is None
