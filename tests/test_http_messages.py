"""Framing of replies and the flow of uploads, without sockets."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field

import pytest

from tutelage.proxy.http_messages import Pieces, Reply, Request


@dataclass
class Wire:
    """Keeps what is written."""

    closing: bool = False
    sent: list[bytes] = field(default_factory=list)
    room: asyncio.Future[None] | None = None

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    def drained(self) -> Awaitable[None] | None:
        return self.room

    def abort(self) -> None:
        self.sent.append(b"<dropped>")


def test_the_headers_by_name_and_the_parts_of_the_target() -> None:
    request = Request("GET", "/v1/files/a%2Fb?after=x?y", [("x-a", "1"), ("x-a", "2")])
    assert (request.path, request.query, request.named) == ("/v1/files/a%2Fb", "after=x?y", {"x-a": "2"})


@pytest.mark.parametrize(
    ("http10", "closing", "expected"),
    [
        (False, False, b"HTTP/1.1 200 OK\r\na: b\r\ncontent-length: 2\r\n\r\nhi"),
        (False, True, b"HTTP/1.1 200 OK\r\na: b\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi"),
        (True, False, b"HTTP/1.1 200 OK\r\na: b\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\nhi"),
    ],
)
def test_a_whole_answer_is_one_write(http10: bool, closing: bool, expected: bytes) -> None:
    wire = Wire(closing)
    reply = Reply(Request("GET", "/", [], http10), wire)
    reply.whole(200, [("a", "b")], b"hi")
    assert wire.sent == [expected]
    assert reply.ended


def test_a_status_nobody_knows_is_passed_on() -> None:
    wire = Wire()
    Reply(Request("GET", "/", []), wire).whole(529, [], b"")
    assert wire.sent[0].startswith(b"HTTP/1.1 529 \r\n")


def test_a_known_length_needs_no_chunks() -> None:
    async def go() -> None:
        wire = Wire()
        reply = Reply(Request("GET", "/", []), wire)
        reply.begin(200, [], 4)
        await reply.write(b"ab")
        await reply.write(b"")
        await reply.write(b"cd")
        reply.end()
        assert wire.sent == [b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n", b"ab", b"cd"]

    asyncio.run(go())


def test_writing_waits_until_the_agent_has_taken_what_was_sent() -> None:
    async def go() -> None:
        wire = Wire(room=asyncio.get_running_loop().create_future())
        reply = Reply(Request("GET", "/", []), wire)
        reply.begin(200, [], None)
        writing = asyncio.create_task(reply.write(b"a"))
        await asyncio.sleep(0)
        assert not writing.done()
        assert wire.room is not None
        wire.room.set_result(None)
        await writing
        assert wire.sent[-1] == b"1\r\na\r\n"

    asyncio.run(go())


def test_pieces_stop_the_reading_while_nobody_takes_them() -> None:
    valve: list[str] = []

    class Tap:
        def hold(self) -> None:
            valve.append("hold")

        def release(self) -> None:
            valve.append("release")

    async def go() -> None:
        pieces = Pieces(Tap(), limit=4)
        pieces.put(b"abc")
        assert valve == []
        pieces.put(b"def")
        assert valve == ["hold"]
        pieces.end()
        assert pieces.complete
        assert [piece async for piece in pieces] == [b"abc", b"def"]
        assert valve[-1] == "release"

    asyncio.run(go())
