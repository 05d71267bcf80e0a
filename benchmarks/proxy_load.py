"""Open-loop load and many streams at once: what the proxy's benchmark sends itself, without a client library.

Each answer is kept as the pieces that the socket gave, with their times; it is read after the measurement, so that the
generator costs little. Open loop means that calls are sent when they are due, whatever became of earlier ones, and
latency counts from the time a call was due: a gateway that stalls cannot hide it (coordinated omission).

The event loop waits with select(), whose timeouts are finer than epoll's milliseconds.
"""

import asyncio
import gc
import random
import selectors
import time
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

from .proxy_gateways import Gateway

Result = TypeVar("Result")
_LAST_CHUNK = b"0\r\n\r\n"
_GIVE_UP_S = 30
"""Calls still unanswered so long after the last one was due have failed."""


@dataclass(slots=True)
class Sent:
    """One call and what came back, times in seconds of `time.perf_counter`."""

    due: float
    sent: float = 0.0
    pieces: list[tuple[float, bytes]] = field(default_factory=list)
    """When each read of the socket gave which bytes, head included."""
    done: float = 0.0
    """0 when the answer did not end."""

    @property
    def raw(self) -> bytes:
        """The answer as it came."""
        return b"".join(piece for _, piece in self.pieces)

    @property
    def latency_ms(self) -> float:
        """From when it was due to its last byte."""
        return (self.done - self.due) * 1000


@dataclass(frozen=True)
class Reply:
    """An answer in HTTP/1.1, taken apart."""

    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes
    whole: bool
    """The body's end has come and nothing lies behind it."""


def parse_reply(raw: bytes) -> Reply:
    """Take an answer apart. Raises ValueError when its head is not there or it is no HTTP."""
    head, found, rest = raw.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    if not found or not status.startswith("HTTP/1."):
        raise ValueError(f"Expected an answer in HTTP/1.1, but {raw[:60]!r} came.")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if "chunked" in headers.get("transfer-encoding", ""):
        body, whole = unchunked(rest)
    else:
        body, whole = rest, len(rest) == int(headers.get("content-length", -1))
    return Reply(int(status.split()[1]), headers, body, whole)


def unchunked(raw: bytes) -> tuple[bytes, bool]:
    """The content of a chunked body, and whether it ended exactly where the bytes end."""
    parts, at = [], 0
    while (line := raw.find(b"\r\n", at)) >= 0:
        size = int(raw[at:line].split(b";")[0], 16)
        if size == 0:
            return b"".join(parts), raw[line:] == b"\r\n\r\n"
        parts.append(raw[line + 2 : line + 2 + size])
        at = line + 2 + size + 2
    return b"".join(parts), False


class Connection(asyncio.Protocol):
    """One connection that carries a call at a time."""

    def __init__(self, finished: "Callable[[Connection, Sent], None]") -> None:
        self._finished = finished
        self._call: Sent | None = None
        self._tail, self._missing, self._chunked = b"", -1, False
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def send(self, request: bytes, call: Sent) -> None:
        assert self.transport is not None
        self._call, self._tail, self._missing, self._chunked = call, b"", -1, False
        call.sent = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        call = self._call
        if call is None:
            return
        now = time.perf_counter()
        call.pieces.append((now, data))
        if self._ends(call, data):
            call.done, self._call = now, None
            self._finished(self, call)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self._call is not None:
            call, self._call = self._call, None
            self._finished(self, call)

    def _ends(self, call: Sent, data: bytes) -> bool:
        if self._missing < 0 and not self._chunked:
            head, found, rest = call.raw.partition(b"\r\n\r\n")
            if not found:
                return False
            _, _, length = head.lower().partition(b"\r\ncontent-length:")
            self._chunked = not length
            self._missing = int(length.split(b"\r\n")[0]) - len(rest) if length else 0
        elif not self._chunked:
            self._missing -= len(data)
        if not self._chunked:
            return self._missing <= 0
        self._tail = (self._tail + data)[-len(_LAST_CHUNK) :]
        return self._tail == _LAST_CHUNK


class Sender:
    """Sends calls to one gateway over as many connections as are needed, up to a limit."""

    def __init__(self, gateway: Gateway, body: bytes, connections: int) -> None:
        split = urlsplit(gateway.url)
        self._host, self._port = split.hostname or "127.0.0.1", split.port or 80
        lines = [f"POST {split.path} HTTP/1.1", f"Host: {split.netloc}", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in gateway.headers.items()]
        self._request = "\r\n".join(lines).encode() + b"\r\n\r\n" + body
        self._limit, self._idle, self._waiting = connections, list[Connection](), deque[Sent]()
        self._all: list[Connection] = []
        self._ended = 0
        self._wanted, self._over = 0, asyncio.Event()

    async def connect(self) -> None:
        """Open all connections, so that none is opened while it is measured."""
        loop = asyncio.get_running_loop()
        for _ in range(self._limit):
            _, connection = await loop.create_connection(lambda: Connection(self._free), self._host, self._port)
            self._all.append(connection)
            self._idle.append(connection)

    def send(self, call: Sent) -> None:
        """Send it now, or as soon as a connection is free."""
        while self._idle:
            connection = self._idle.pop()
            if connection.transport is not None:
                connection.send(self._request, call)
                return
        self._waiting.append(call)

    async def wait(self, count: int, seconds: float) -> None:
        """Until `count` calls have ended since the start, at most that long."""
        self._wanted = count
        self._over.clear()
        if self._ended < count:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), seconds)

    def close(self) -> None:
        for connection in self._all:
            if connection.transport is not None:
                connection.transport.abort()

    def _free(self, connection: Connection, _: Sent) -> None:
        self._ended += 1
        if self._waiting and connection.transport is not None:
            connection.send(self._request, self._waiting.popleft())
        else:
            self._idle.append(connection)
        if self._ended == self._wanted:
            self._over.set()


def schedule(per_s: float, seconds: float, seed: int) -> list[float]:
    """When calls are due, in seconds from the start: independent arrivals (Poisson) at that mean rate."""
    dice, at, due = random.Random(seed), 0.0, list[float]()
    while (at := at + dice.expovariate(per_s)) < seconds:
        due.append(at)
    return due


async def open_loop(gateway: Gateway, body: bytes, due: list[float], connections: int = 200) -> list[Sent]:
    """Send a call at each time of `due` (seconds from now); all of them, answered or not."""
    sender = Sender(gateway, body, connections)
    await sender.connect()
    start = time.perf_counter() + 0.2
    calls = [Sent(start + at) for at in due]
    for call in calls:
        wait = call.due - time.perf_counter()
        # Also when it is late: answers have to be read all the same.
        await asyncio.sleep(max(0.0, wait))
        sender.send(call)
    await sender.wait(len(calls), _GIVE_UP_S)
    sender.close()
    return calls


async def at_once(gateway: Gateway, body: bytes, count: int, seconds: float = 120) -> list[Sent]:
    """Send `count` calls together, each on its own connection, and wait for all."""
    sender = Sender(gateway, body, count)
    await sender.connect()
    calls = [Sent(time.perf_counter()) for _ in range(count)]
    for call in calls:
        sender.send(call)
    await sender.wait(count, seconds)
    sender.close()
    return calls


async def one_by_one(gateway: Gateway, body: bytes, count: int) -> list[Sent]:
    """Send calls one after the other on one connection, each when the one before has ended."""
    sender, calls = Sender(gateway, body, 1), list[Sent]()
    await sender.connect()
    for number in range(count):
        calls.append(Sent(time.perf_counter()))
        sender.send(calls[-1])
        await sender.wait(number + 1, _GIVE_UP_S)
    sender.close()
    return calls


def run_precisely(work: Coroutine[Any, Any, Result], many: bool = False) -> Result:
    """Run on an event loop with fine timers and without pauses of the garbage collector.

    many: more connections than select() can watch (1,024); timers are as coarse as milliseconds then.
    """
    gc.collect()
    gc.disable()
    try:
        selector = selectors.DefaultSelector if many else selectors.SelectSelector
        with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector())) as runner:
            return runner.run(work)
    finally:
        gc.enable()
