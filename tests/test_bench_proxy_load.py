"""The load generator of the proxy's benchmark sees what a server did, and reads streams as they came."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.benchmarks.proxy_gateways import Gateway, direct
from tutelage.benchmarks.proxy_load import (
    Sent,
    at_once,
    one_by_one,
    open_loop,
    parse_reply,
    run_precisely,
    schedule,
    unchunked,
)
from tutelage.benchmarks.proxy_log import told_ids
from tutelage.benchmarks.proxy_mock import TIMED_FRAMES, answer, frames, request_body
from tutelage.benchmarks.proxy_rates import timings
from tutelage.benchmarks.proxy_streams import arrivals, compare, fault, rhythm, together

JSON_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Tutelage-Call-Id: %s\r\nContent-Length: %d\r\n\r\n"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


LAST = b"0\r\n\r\n"


# Answers on the wire.


@given(st.lists(st.binary(min_size=1, max_size=300)), st.data())
@settings(max_examples=60)
def test_chunked_bodies(parts: list[bytes], data: st.DataObject) -> None:
    raw = b"".join(map(chunk, parts)) + LAST
    assert unchunked(raw) == (b"".join(parts), True)
    assert unchunked(raw + b"x")[1] is False
    cut = data.draw(st.integers(0, len(raw) - 1))
    body, whole = unchunked(raw[:cut])
    assert not whole
    assert b"".join(parts).startswith(body)


def test_answers_taken_apart() -> None:
    plain = parse_reply(JSON_HEAD % (b"id-1", 2) + b"{}")
    assert (plain.status, plain.body, plain.whole, plain.headers["x-tutelage-call-id"]) == (200, b"{}", True, "id-1")
    assert not parse_reply(JSON_HEAD % (b"id-1", 3) + b"{}").whole
    assert parse_reply(STREAM_HEAD + chunk(b"data: 1\n\n") + LAST).body == b"data: 1\n\n"
    with pytest.raises(ValueError, match=r"HTTP/1\.1"):
        parse_reply(b"SSH-2.0\r\n\r\n")


def streamed(pieces: list[tuple[float, bytes]], done: bool = True) -> Sent:
    call = Sent(due=0.0, sent=0.0, pieces=pieces)
    call.done = pieces[-1][0] if done else 0.0
    return call


def steady(gap: float = 0.01, first: float = 0.002, events: list[bytes] | None = None) -> Sent:
    sent = frames() if events is None else events
    pieces = [(first + gap * number, chunk(event)) for number, event in enumerate(sent)]
    return streamed([(first / 2, STREAM_HEAD), *pieces[:-1], (pieces[-1][0], pieces[-1][1] + LAST)])


def test_streams_that_came_whole_and_others() -> None:
    expected = b"".join(frames())
    assert fault(steady(), expected) == ""
    assert "bytes of" in fault(steady(events=frames(usage=False)), expected)
    swapped = frames()
    swapped[3], swapped[4] = swapped[4], swapped[3]
    assert "changed" in fault(steady(events=swapped), expected)
    assert fault(streamed(steady().pieces, done=False), expected) == "did not end"
    assert fault(streamed(steady().pieces[:-1]), expected) == "broken off"
    assert fault(streamed([(0.1, b"HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n")]), expected) == "status 502"


def test_arrivals_count_an_event_when_its_last_byte_is_there() -> None:
    wire = STREAM_HEAD + b"".join(chunk(event) for event in (b"data: 1\n\n", b"data: 2\n\n")) + LAST
    middle = wire.index(b"data: 2") + 3
    halves = streamed([(1.0, wire[:middle]), (2.0, wire[middle:])])
    assert [arrival.at for arrival in arrivals(halves)] == [1.0, 2.0]
    bytewise = streamed([(float(at), wire[at : at + 1]) for at in range(len(wire))])
    assert [arrival.read for arrival in arrivals(bytewise)] == [wire.index(b"1\n\n") + 2, wire.index(b"2\n\n") + 2]


def test_a_gateway_that_merges_chunks_is_seen() -> None:
    pieces = steady().pieces
    merged = streamed([*pieces[:5], (pieces[6][0], pieces[5][1] + pieces[6][1]), *pieces[7:]])
    plain, mixed = rhythm([steady(), steady()]), rhythm([steady(), merged])
    assert (sum(plain.merged), sum(mixed.merged), mixed.merged[4]) == (0, 1, 1)
    result = compare(mixed, plain)
    assert result["merged_share_beyond_direct"] == pytest.approx(1 / (2 * (TIMED_FRAMES - 1)))
    assert compare(plain, mixed)["merged_share_beyond_direct"] == 0


def test_a_gateway_that_delays_chunks_is_seen() -> None:
    result = compare(rhythm([steady(first=0.005, gap=0.013)]), rhythm([steady()]))
    assert result["first_added_ms"] == pytest.approx(3)
    assert result["largest_gap_shift_ms"] == pytest.approx(3)
    with pytest.raises(ValueError, match="at least"):
        rhythm([steady(events=frames()[:5])])


# The load generator against a server.


@dataclass
class Server:
    """Answers at once, streams when asked to, and fails every `bad`-th call."""

    bad: int = 10**9
    calls: int = 0
    port: int = 0
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                body = json.loads(await reader.readexactly(length))
                self.calls += 1
                await self._answer(writer, body)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, body: dict[str, Any]) -> None:
        if self.calls % self.bad == 0:
            writer.write(b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops")
        elif body.get("stream"):
            writer.write(STREAM_HEAD)
            for event in frames():
                writer.write(chunk(event))
                await asyncio.sleep(0)
            writer.write(LAST)
        else:
            writer.write(JSON_HEAD % (b"id-%d" % self.calls, len(answer())) + answer())
        await writer.drain()

    @contextmanager
    def running(self) -> Iterator[Gateway]:
        server = self._loop.run_until_complete(asyncio.start_server(self._connection, "127.0.0.1", 0, backlog=500))
        self.port = server.sockets[0].getsockname()[1]
        thread = threading.Thread(target=self._loop.run_forever)
        thread.start()
        try:
            yield direct(f"http://127.0.0.1:{self.port}/v1")
        finally:
            asyncio.run_coroutine_threadsafe(self._end(server), self._loop).result(10)
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()
            self._loop.close()

    async def _end(self, server: asyncio.Server) -> None:
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


def test_calls_are_sent_when_due_and_all_are_answered() -> None:
    server = Server()
    with server.running() as way:
        calls = run_precisely(open_loop(way, request_body(), schedule(200, 1, seed=3), connections=4))
    assert server.calls == len(calls) > 150
    assert all(parse_reply(call.raw).body == answer() for call in calls)
    assert all(call.due <= call.sent <= call.done for call in calls)
    assert sorted(told_ids(calls)) == sorted(f"id-{number + 1}" for number in range(len(calls)))
    found = timings(calls)
    assert (found["calls"], found["failed"]) == (len(calls), 0)
    assert found["late_p99_ms"] <= found["p99_ms"]


def test_errors_are_counted_and_not_timed() -> None:
    with Server(bad=5).running() as way:
        calls = run_precisely(one_by_one(way, request_body(), 20))
    assert timings(calls)["failed"] == 4
    assert len(told_ids(calls)) == 16


def test_a_server_that_is_slow_shows_in_the_calls_behind() -> None:
    calls = [Sent(due=0.0), Sent(due=0.1)]
    for call in calls:
        call.sent, call.done, call.pieces = 0.5, 0.6, [(0.6, JSON_HEAD % (b"i", 0))]
    assert timings(calls)["p99_ms"] == pytest.approx(600)


def test_streams_together_come_whole() -> None:
    with Server().running() as way:
        result, calls = together(way, 30, usage=True)
        assert (result["wrong"], result["events"]) == (0, 30 * len(frames()))
        assert len({call.done for call in calls}) > 1
        several = run_precisely(at_once(way, request_body(stream=True), 3))
    assert all(fault(call, b"".join(frames())) == "" for call in several)


def test_arrivals_are_independent_and_at_the_rate() -> None:
    due = schedule(500, 20, seed=1)
    assert due == schedule(500, 20, seed=1) != schedule(500, 20, seed=2)
    assert due == sorted(due)
    assert len(due) == pytest.approx(10_000, rel=0.05)
