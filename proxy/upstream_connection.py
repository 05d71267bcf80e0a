"""One HTTP/1.1 connection to an upstream, and the answer that arrives on it; used by `upstream_http1`.

Invariants: a connection carries one exchange at a time and is used again only after a complete answer; header values
stay the bytes that were sent; an answer that did not come to its end is never taken for complete.
"""

import asyncio
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import cast

import httptools

from . import openai_errors
from .http_messages import Headers, header_name
from .openai_errors import Problem
from .upstream import Timeouts, UpstreamError

_AHEAD_BYTES = 1 << 18
"""So much of an answer is read ahead of the agent."""
_HEAD_BYTES = 1 << 18
"""Longer heads of answers are refused."""


class Http1Answer:
    """An answer on its way in; see `upstream.Answer`."""

    def __init__(self, connection: "Connection", whole: bool) -> None:
        """`whole`: nobody is waiting for less than all of it."""
        self.status = 0
        self.headers: Headers = []
        self.whole, self.complete = whole, False
        self.failed: BaseException | None = None
        self._connection = connection
        self._pieces: deque[bytes] = deque()
        self._size = 0
        # With the answer and not with the connection: that may have been given to the next exchange already.
        self._waiter: asyncio.Future[None] | None = None

    async def arrived(self) -> None:
        """Wait for the head, or for everything where that is wanted. Raises UpstreamError."""
        while not (self.complete or self.failed is not None or (self.status and not self.whole)):
            await self._news()
        if self.failed is not None:
            raise self.failed
        if self.whole and len(self._pieces) > 1:
            self._pieces = deque([b"".join(self._pieces)])

    async def piece(self) -> bytes | None:
        """The next piece as it came from the network, None after the last. Raises UpstreamError."""
        while not self._pieces:
            if self.failed is not None:
                raise self.failed
            if self.complete:
                return None
            await self._news()
        piece = self._pieces.popleft()
        self._size -= len(piece)
        if self._size <= _AHEAD_BYTES:
            self._connection.read_on(self)
        return piece

    async def close(self) -> None:
        """Let go of it; before its end this closes the connection."""
        if not self.complete:
            self._connection.abort()

    async def _news(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        except asyncio.CancelledError:
            if not self.complete:
                self._connection.abort()
            raise

    # The connection's side.

    @property
    def too_far_ahead(self) -> bool:
        """More has arrived than the agent takes."""
        return self._size > _AHEAD_BYTES

    def begin(self, status: int) -> None:
        """The head is there."""
        self.status = status
        self._wake(not self.whole)

    def put(self, piece: bytes) -> None:
        """A piece has arrived."""
        self._pieces.append(piece)
        self._size += len(piece)
        self._wake(not self.whole)

    def finish(self) -> None:
        """That was all."""
        self.complete = True
        self._wake()

    def fail(self, error: BaseException) -> None:
        """Nothing more will come."""
        self.failed = error
        self._wake()

    def _wake(self, wanted: bool = True) -> None:
        if wanted and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Connection(asyncio.Protocol):
    """One connection to an upstream."""

    def __init__(self, loop: asyncio.AbstractEventLoop, timeouts: Timeouts, free: "Free") -> None:
        """`free` is called when the connection can be used again."""
        self._loop, self._timeouts, self._free = loop, timeouts, free
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer: Http1Answer | None = None
        self._room: asyncio.Future[None] | None = None
        self._uploading: asyncio.Task[None] | None = None
        self._held = self._framed = self._begun = self._bodiless = False
        self._head_bytes = 0
        self._ends = 0.0
        self.idle_since = 0.0
        self.deadline = 0.0

    @property
    def idle(self) -> bool:
        """Without an exchange."""
        return self._answer is None

    @property
    def usable(self) -> bool:
        """Open and without an exchange."""
        return self._transport is not None and not self._transport.is_closing() and self._answer is None

    # One exchange.

    def ask(self, request: bytes, whole: bool, bodiless: bool = False) -> Http1Answer:
        """Send a request, or its head. `bodiless`: its answer has no body, whatever the answer's head says."""
        answer = self._answer = Http1Answer(self, whole)
        self._framed = self._begun = False
        self._head_bytes, self._bodiless = 0, bodiless
        now = self._loop.time()
        self._ends = now + self._timeouts.total_s
        self.deadline = min(self._ends, now + self._timeouts.head_s)
        self._write(request)
        return answer

    def upload(self, pieces: AsyncIterator[bytes], chunked: bool) -> None:
        """Send a body piece by piece, as fast as the upstream takes it."""
        self._uploading = self._loop.create_task(self._upload(pieces, chunked))
        self._uploading.add_done_callback(self._uploaded)

    async def _upload(self, pieces: AsyncIterator[bytes], chunked: bool) -> None:
        async for piece in pieces:
            if piece:  # an empty chunk would be the end
                self._write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            if self._room is not None:
                await self._room
            self.deadline = min(self._ends, self._loop.time() + self._timeouts.head_s)
        if chunked:
            self._write(b"0\r\n\r\n")

    def _uploaded(self, upload: "asyncio.Task[None]") -> None:
        self._uploading = None
        error = None if upload.cancelled() else upload.exception()
        if error is not None:
            self._fail(error)

    def read_on(self, answer: Http1Answer) -> None:
        """The agent has taken enough of this answer."""
        if self._held and answer is self._answer and self._transport is not None:
            self._held = False
            self._transport.resume_reading()
            self._heard()

    def time_out(self) -> None:
        """The deadline has passed."""
        now = self._loop.time()
        if self._held and now < self._ends:
            return  # The agent is slow, not the upstream.
        limits = self._timeouts
        if now >= self._ends:
            self._give_up(openai_errors.timed_out("total", limits.total_s))
        elif self._begun:
            self._give_up(openai_errors.timed_out("read", limits.read_s))
        else:
            self._give_up(openai_errors.timed_out("head", limits.head_s))

    def abort(self) -> None:
        """Drop the connection, so that the upstream stops working."""
        if self._uploading is not None:
            self._uploading.cancel()
        if self._transport is not None:
            self._transport.abort()

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def _give_up(self, problem: Problem) -> None:
        self._fail(UpstreamError(problem))

    def _fail(self, error: BaseException) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.fail(error)
        self.abort()

    def _heard(self) -> None:
        self.deadline = min(self._ends, self._loop.time() + self._timeouts.read_s)

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # that of uvloop is none by name
        # A model may think for minutes: a host that has gone meanwhile is found out.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def data_received(self, data: bytes) -> None:
        if self._answer is None:
            self.abort()  # nobody asked for anything
            return
        if self._begun:
            self._heard()
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            detail = f"its answer is no HTTP/1.1: {error}"
            self._give_up(openai_errors.broken_off() if self._begun else openai_errors.unreachable(detail))
        if not self._begun:
            self._head_bytes += len(data)
            if self._head_bytes > _HEAD_BYTES:
                self._give_up(openai_errors.unreachable("the head is too large"))

    def eof_received(self) -> None:
        self._lost(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost(exc)
        self._transport = None
        self.resume_writing()

    def _lost(self, exc: Exception | None) -> None:
        answer = self._answer
        if answer is None:
            return
        if self._begun and not self._framed and exc is None:
            self._answer = None
            answer.finish()
        elif self._begun:
            self._give_up(openai_errors.broken_off())
        else:
            reason = getattr(exc, "strerror", None) or "closed the connection before it answered"
            self._give_up(openai_errors.unreachable(reason))

    def pause_writing(self) -> None:
        self._room = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self._room = None

    # The parser's side.

    def on_message_begin(self) -> None:
        if self._answer is None:
            self.abort()  # an answer that nobody asked for

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._answer is not None and not self._begun:  # afterwards these are trailers
            self._answer.headers.append((header_name(name), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        answer, status = self._answer, self._parser.get_status_code()
        if answer is None:
            return
        if status < 200:
            answer.headers.clear()
            return
        named = dict(answer.headers)
        self._framed = (
            "content-length" in named or "chunked" in named.get("transfer-encoding", "") or status in (204, 304)
        )
        self._begun = True
        answer.begin(status)
        if self._bodiless:
            # The parser would wait for a body, and cannot be told.
            self._answer = None
            answer.finish()
            self.abort()
            return
        self._heard()

    def on_body(self, body: bytes) -> None:
        answer = self._answer
        if answer is None:
            return
        answer.put(body)
        if not answer.whole and answer.too_far_ahead and not self._held and self._transport is not None:
            self._held = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        answer = self._answer
        if answer is None or not self._begun:
            return
        self._answer = None
        answer.finish()
        if self._held and self._transport is not None:
            self._held = False
            self._transport.resume_reading()
        if self._framed and self._parser.should_keep_alive() and self._uploading is None:
            self.idle_since = self._loop.time()
            self._free(self)
        else:
            self.abort()


Free = Callable[[Connection], None]
