"""Answers whose heads repeat are read as the parser reads them, or left to it."""

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.proxy.http_answers import repeatable
from tutelage.proxy.upstream import Timeouts, UpstreamError
from tutelage.proxy.upstream_connection import Connection

JSON = b"HTTP/1.1 200 OK\r\nServer: s\r\nDate: %b\r\nContent-Type: application/json\r\n"
FRAMES = (
    b"Content-Length: %d\r\n\r\n%b",
    b"content-length:%d\r\nx-a: b\r\n\r\n%b",
    b"Content-Length: 0%d\r\n\r\n%b",
    b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n%X\r\n%b\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n0%x\r\n%b\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n%x;a=b\r\n%b\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\nx-trailer: 1\r\n\r\n",
    b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n%x\r\n%b\r\n0\r\n\r\n",
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%b",
)


@dataclass
class Wire(asyncio.Transport):
    """A connection to an upstream that takes everything."""

    open: bool = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        return

    def get_extra_info(self, name: str, default: object = None) -> "Wire":
        return self

    def setsockopt(self, *_: int) -> None:
        return

    def is_closing(self) -> bool:
        return not self.open

    def abort(self) -> None:
        self.open = False


@dataclass
class Upstream:
    """Reads answers on one connection, or, `alone`, each on its own."""

    alone: bool
    now: float = 1.0
    connection: Connection | None = None
    wire: Wire = field(default_factory=Wire)

    def time(self) -> float:
        self.now += 1.0
        return self.now

    def create_future(self) -> "asyncio.Future[None]":
        return asyncio.get_running_loop().create_future()

    async def read(self, parts: list[bytes], bodiless: bool = False) -> tuple[object, ...]:
        if self.connection is None or self.alone or not self.wire.open:
            self.wire = Wire()
            self.connection = Connection(self, Timeouts(), lambda connection: None)  # type: ignore[arg-type]
            self.connection.connection_made(self.wire)
        answer = self.connection.ask(b"", True, bodiless)
        for part in parts:
            self.connection.data_received(part)
        if not (answer.complete or answer.failed):
            self.connection.eof_received()
        try:
            await answer.arrived()
        except UpstreamError as error:
            return (error.problem.code, self.wire.open)
        return (answer.status, list(answer.headers), await answer.piece(), self.wire.open)


async def both(messages: list[tuple[list[bytes], bool]]) -> None:
    kept, alone = Upstream(alone=False), Upstream(alone=True)
    for parts, bodiless in messages:
        assert await kept.read(parts, bodiless) == await alone.read(parts, bodiless)


def answer(frame: bytes, body: bytes, date: bytes = b"now") -> bytes:
    return JSON % date + frame % (len(body), body)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(FRAMES),
            st.sampled_from((b"{}", b"", b"x" * 17, b"a\r\n0\r\n\r\n", b"3\r\nabc\r\n0\r\n\r\n")),
            st.sampled_from((b"now", b"then")),
            st.integers(0, 400),
            st.sampled_from((b"", b"", b"", b"\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")),
            st.sampled_from((False, False, False, True)),
        ),
        max_size=6,
    )
)
def test_a_connection_reads_answers_as_if_each_was_its_first(
    messages: list[tuple[bytes, bytes, bytes, int, bytes, bool]],
) -> None:
    made: list[tuple[list[bytes], bool]] = []
    for frame, body, date, cut, behind, bodiless in messages:
        data = answer(frame, body, date) + behind
        # Cut in two where the number lies within, whole otherwise.
        made.append(([data[:cut], data[cut:]] if 0 < cut < len(data) else [data], bodiless))
    asyncio.run(both(made))


@pytest.mark.parametrize("frame", [FRAMES[0], FRAMES[1], FRAMES[3]])
def test_the_same_head_with_another_length_is_known(frame: bytes) -> None:
    async def heads() -> None:
        upstream = Upstream(alone=False)
        first = await upstream.read([answer(frame, b"{}")])
        assert upstream.connection is not None
        known = upstream.connection._repeated
        assert known is not None
        read = known.match(answer(frame, b"x" * 300))
        assert read is not None
        assert (read.status, read.body) == (200, b"x" * 300)
        assert read.headers.named.get("content-length", "300") == "300"
        assert known.match(answer(frame, b"x" * 300)[:-1]) is None
        assert known.match(answer(frame, b"x" * 300, b"later")) is None
        assert first[2] == b"{}"

    asyncio.run(heads())


@pytest.mark.parametrize("frame", [FRAMES[2], *FRAMES[4:8]])
def test_unusual_framing_is_left_to_the_parser(frame: bytes) -> None:
    named = [("transfer-encoding", "chunked")] if b"chunked" in frame else [("content-length", "017")]
    assert repeatable(answer(frame, b"x" * 28), 200, named, b"x" * 28) is None


def test_answers_without_a_body_are_left_to_the_parser() -> None:
    for status in (100, 204, 304):
        assert (
            repeatable(b"HTTP/1.1 %d X\r\ncontent-length: 0\r\n\r\n" % status, status, [("content-length", "0")], b"")
            is None
        )
