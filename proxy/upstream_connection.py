"""One HTTP/1.1 connection to an upstream; used by `upstream_http1`.

Invariants: a connection carries one exchange at a time and is used again only after a complete answer; header values
stay the bytes that were sent; an answer that did not come to its end is never taken for complete.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from typing import cast

import httptools

from . import openai_errors
from .http_answers import RepeatedAnswer
from .http_messages import header_name
from .openai_errors import Problem
from .upstream import Timeouts, UpstreamError
from .upstream_answer import Http1Answer

_HEAD_BYTES = 1 << 18
"""Longer heads of answers are refused."""
_NOTED_S = 0.02
"""So often at most a head is noted to know the next one by: where all of them differ that is work for nothing."""


class Connection(asyncio.Protocol):
    """One connection to an upstream."""

    def __init__(self, loop: asyncio.AbstractEventLoop, timeouts: Timeouts, free: "Free") -> None:
        """`free` is called when the connection can be used again."""
        self._loop, self._timeouts, self._free = loop, timeouts, free
        self._head_s = min(timeouts.head_s, timeouts.total_s)
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer: Http1Answer | None = None
        self._room: asyncio.Future[None] | None = None
        self._uploading: asyncio.Task[None] | None = None
        self._held = self._framed = self._begun = self._bodiless = False
        self._head_bytes = 0
        self._repeated: RepeatedAnswer | None = None
        self._ends = self._noted_at = 0.0
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
        self.deadline = now + self._head_s
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
        answer = self._answer
        if answer is None:
            self.abort()  # nobody asked for anything
            return
        first = not (self._begun or self._head_bytes)
        if first and self._repeated is not None and not self._bodiless:
            read = self._repeated.match(data)
            if read is not None:
                self._answer = None
                answer.take(read)
                self._let_go()
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
        elif first and self.usable and self.idle_since - self._noted_at > _NOTED_S:
            self._noted_at, self._repeated = self.idle_since, answer.repeatable(data)

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
        if self._framed and self._parser.should_keep_alive():
            self._let_go()
        else:
            self.abort()

    def _let_go(self) -> None:
        """The next exchange may come, unless this one is still being sent."""
        if self._uploading is None:
            self.idle_since = self._loop.time()
            self._free(self)
        else:
            self.abort()


Free = Callable[[Connection], None]
