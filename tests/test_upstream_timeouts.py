"""Every phase of a call has its own limit, and the error says which one ran out; for both clients to upstreams."""

import asyncio
import socket

import pytest
from upstream_servers import (
    CHUNKED,
    EVERY_WAY,
    OK,
    WHEN_WHOLE,
    Handler,
    Way,
    against,
    answering,
    asked,
    call,
    failing,
)

from tutelage.proxy.upstream import Timeouts, Upstream, UpstreamError


def timeout_of(handler: Handler, way: Way, timeouts: Timeouts) -> tuple[str, bool]:
    """The words and `sent` of the timeout that a call to this server ends with."""
    error = failing(handler, way, timeouts)
    assert (error.problem.status, error.problem.code) == (504, "upstream_timeout")
    return error.problem.message.partition(": ")[2], error.sent


@EVERY_WAY
@pytest.mark.parametrize("read_s", [0.1, 0.3, 5.0])
def test_waiting_for_the_head_has_its_own_limit(read_s: float, way: Way) -> None:
    found = timeout_of(answering(stay_s=3), way, Timeouts(head_s=0.3, read_s=read_s))
    assert found == ("nothing came within 0.3 s (head_timeout_s).", True)


@EVERY_WAY
@pytest.mark.parametrize("head_s", [0.2, 0.3, 5.0])
def test_silence_within_an_answer_has_its_own_limit(head_s: float, way: Way) -> None:
    found = timeout_of(answering(CHUNKED + b"1\r\na\r\n", stay_s=3), way, Timeouts(head_s=head_s, read_s=0.3))
    assert found == ("it fell silent for 0.3 s (read_timeout_s).", True)


@WHEN_WHOLE
def test_an_answer_read_whole_may_take_long_before_its_head_and_not_after(way: Way) -> None:
    timeouts = Timeouts(head_s=2, read_s=0.3)

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        await asyncio.sleep(0.7)
        writer.write(OK + b"content-length: 2\r\n\r\nok")
        await writer.drain()

    async def test(upstream: Upstream, url: str) -> None:
        assert (await call(upstream, url, way))[2] == [b"ok"]

    against(way, slow, test, timeouts)
    assert timeout_of(answering(CHUNKED, stay_s=3), way, timeouts)[0].startswith("it fell silent for 0.3 s")


@EVERY_WAY
def test_the_whole_answer_has_a_limit(way: Way) -> None:
    drip = answering(CHUNKED, *[b"1\r\na\r\n"] * 30, pause_s=0.1)
    found = timeout_of(drip, way, Timeouts(head_s=2, read_s=2, total_s=0.5))
    assert found == ("it was not done within 0.5 s (total_timeout_s).", True)


@EVERY_WAY
def test_no_connection_in_time(way: Way) -> None:
    async def go() -> None:
        # A listener whose queue is full drops further handshakes.
        with socket.socket() as full, socket.socket() as first, socket.socket() as second:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            for waiting in (first, second):
                waiting.setblocking(False)
                waiting.connect_ex(full.getsockname())
            await asyncio.sleep(0.1)
            upstream = way.upstream(Timeouts(connect_s=0.3, head_s=5, read_s=5))
            with pytest.raises(UpstreamError) as caught:
                await upstream.send("POST", f"http://127.0.0.1:{full.getsockname()[1]}/v1", [], b"{}", whole=way.whole)
            await upstream.close()
        assert caught.value.problem.code == "upstream_timeout"
        assert "no connection within 0.3 s (connect_timeout_s)" in caught.value.problem.message
        assert not caught.value.sent

    asyncio.run(go())
