"""An answer between its connection and the call that waits for it; with sockets, see test_upstream_http1."""

import asyncio

import pytest

from tutelage.proxy.http_answers import Read
from tutelage.proxy.http_messages import ReceivedHeaders
from tutelage.proxy.upstream_answer import Http1Answer


class Line:
    """A connection that counts what it is told."""

    def __init__(self) -> None:
        self.aborted = self.read_on_for = 0

    def read_on(self, answer: Http1Answer) -> None:
        self.read_on_for += 1

    def abort(self) -> None:
        self.aborted += 1


def test_whole_answers_come_in_one_piece() -> None:
    async def waits() -> list[bytes | None]:
        answer = Http1Answer(Line(), whole=True)
        waiting = asyncio.ensure_future(answer.arrived())
        answer.begin(200)
        answer.put(b"a")
        answer.put(b"b")
        await asyncio.sleep(0)
        assert not waiting.done()
        answer.finish()
        await waiting
        return [await answer.piece(), await answer.piece()]

    assert asyncio.run(waits()) == [b"ab", None]


@pytest.mark.parametrize(("body", "pieces"), [(b"x", [b"x", None]), (b"", [None])])
def test_an_answer_that_is_there_at_once(body: bytes, pieces: list[bytes | None]) -> None:
    async def takes() -> list[bytes | None]:
        answer = Http1Answer(line := Line(), whole=False)
        waiting = asyncio.ensure_future(answer.arrived())
        await asyncio.sleep(0)
        answer.take(Read(201, ReceivedHeaders([("a", "b")]), body))
        await waiting
        assert (answer.status, answer.headers, answer.complete) == (201, [("a", "b")], True)
        found = [await answer.piece() for _ in pieces]
        await answer.close()
        assert line.aborted == 0
        return found

    assert asyncio.run(takes()) == pieces


def test_the_connection_reads_on_once_the_agent_has_taken_enough() -> None:
    async def reads() -> None:
        answer = Http1Answer(line := Line(), whole=False)
        for _ in range(2):
            answer.put(b"x" * (1 << 18))
        assert answer.too_far_ahead
        await answer.piece()
        assert line.read_on_for == 1
        assert not answer.too_far_ahead

    asyncio.run(reads())


def test_who_stops_waiting_drops_the_connection() -> None:
    async def leaves() -> None:
        answer = Http1Answer(line := Line(), whole=True)
        waiting = asyncio.ensure_future(answer.arrived())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert line.aborted == 1

    asyncio.run(leaves())


def test_an_answer_that_failed_says_so_and_is_not_repeatable() -> None:
    async def fails() -> None:
        answer = Http1Answer(Line(), whole=True)
        answer.begin(200)
        assert answer.repeatable(b"") is None
        answer.fail(OSError("gone"))
        with pytest.raises(OSError, match="gone"):
            await answer.arrived()

    asyncio.run(fails())
