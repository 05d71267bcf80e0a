"""The agents' port: HTTP/1.1 connections on asyncio, parsed by llhttp (httptools).

Written here because nothing else keeps up: a request costs a few microseconds, its headers and target stay the bytes
that were sent, an agent that leaves is noticed at once, one that reads slowly slows its own answer down and nobody
else, and an answer that breaks off can be shown as broken.

Requests of one connection are answered one after the other, in order, also when the agent sends them without waiting.
"""

import asyncio
import logging
import re
from collections import deque
from collections.abc import Awaitable
from typing import Protocol, cast

import httptools

from . import openai_errors
from .http_heads import RepeatedHead, repeatable
from .http_messages import Clock, Handler, Headers, Limits, Pieces, Reply, Request, header_name, long_head, slow
from .openai_errors import Problem

log = logging.getLogger("tutelage.proxy")

_PIPELINED = 16
"""So many requests may wait on one connection before it is read no further."""
_LINGER_S = 2.0
"""For so long a refused upload is read on and thrown away, so that the agent sees the refusal and not a reset."""
# Clients that would like to speak HTTP/2 ask so in their first request. An upgrade is optional; what is not, is that
# the request itself is answered, and the parser stops at the wish.
_UPGRADE = re.compile(rb"(?i)\r\nupgrade:")
_NEVER = float("inf")


class Server(Protocol):
    """What a connection needs of its server; see `http_server`."""

    handler: Handler
    limits: Limits
    draining: bool
    connections: "set[Connection]"

    def gone(self, connection: "Connection") -> None:
        """A connection is closed."""
        ...


class Connection(asyncio.Protocol):
    """One agent's connection; also the wire of its replies."""

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self._server, self._loop, self._limits = server, loop, server.limits
        self._clock: Clock = loop.time
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[tuple[Request, bool]] = deque()
        self._serving: asyncio.Task[None] | None = None
        self._deadline = self._clock() + self._limits.request_s
        self._room: asyncio.Future[None] | None = None
        self._keep_alive, self._lingering, self._held = True, False, False
        self._begin_message()
        self._receiving = False
        self._repeated: RepeatedHead | None = None

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A new agent."""
        self._transport = cast(asyncio.Transport, transport)  # that of uvloop is none by name
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The agent has gone: what works for it stops."""
        self._server.gone(self)
        self._transport = None
        if self._serving is not None:
            self._serving.cancel()
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Bytes of a request."""
        if self._lingering:
            return
        first = not self._receiving and self._serving is None
        if first and self._repeated is not None:
            request = self._repeated.match(data, self._limits.body_bytes)
            if request is not None:
                self._current, self._current_pieces = request, None
                self._serve(request, True)
                return
        if not self._receiving:
            data = self._first_bytes(data)
        elif self._current_pieces is not None:
            self._deadline = self._clock() + self._limits.request_s
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(Problem(501, "upgrade_unsupported", "This proxy speaks HTTP/1.1 and upgrades no connection."))
        except httptools.HttpParserError as error:
            if not self._lingering:
                self._refuse(Problem(400, "bad_http", f"This is not a valid HTTP/1.1 request: {error}."))
        else:
            if self._receiving and not self._head_done:
                self._head_bytes += len(data)
                if self._head_bytes > self._limits.head_bytes:
                    self._refuse(long_head(self._limits))
            elif first and self._serving is not None and not (self._receiving or self._waiting):
                # One request and nothing else.
                self._repeated = repeatable(data, self._current) if self._current is not None else None

    def _first_bytes(self, data: bytes) -> bytes:
        self._receiving = True
        if self._serving is None:
            self._deadline = self._clock() + self._limits.request_s
        if b"pgrade:" in data:
            end = data.find(b"\r\n\r\n")
            head = data[: end if end >= 0 else len(data)]
            data = _UPGRADE.sub(b"\r\nx-pgrade:", head) + data[len(head) :]
        return data

    def pause_writing(self) -> None:
        """The agent takes nothing at the moment."""
        self._room = self._loop.create_future()
        self._deadline = self._clock() + self._limits.stalled_s

    def resume_writing(self) -> None:
        """It takes something again."""
        self._deadline = _NEVER
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self._room = None

    # The parser's side.

    def _begin_message(self) -> None:
        self._target = b""
        self._headers: Headers = []
        self._body: list[bytes] = []
        self._body_bytes = self._head_bytes = 0
        self._head_done = self._receiving = False
        self._current: Request | None = None
        self._current_pieces: Pieces | None = None

    def on_message_begin(self) -> None:
        """A request begins, perhaps right behind another one."""
        self._begin_message()
        self._receiving = True

    def on_url(self, url: bytes) -> None:
        """A part of the request line."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header is complete."""
        self._headers.append((header_name(name), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        """The head is complete: decide how the body is taken."""
        self._head_done = True
        method = self._parser.get_method().decode("ascii")
        target = self._target.decode("latin-1")
        http10 = self._parser.get_http_version() == "1.0"
        request = self._current = Request(method, target, self._headers, http10)
        length = request.named.get("content-length")
        expected = request.named.get("expect", "")
        size = len(target) + sum([len(name) + len(value) + 4 for name, value in self._headers])
        if size > self._limits.head_bytes:
            self._cut(long_head(self._limits))
            return
        pieces = (length or "transfer-encoding" in request.named) and self._server.handler.wants_pieces(request)
        if not pieces and length is not None and int(length) > self._limits.body_bytes:
            self._cut(openai_errors.too_large(self._limits.body_bytes))
            return
        if expected.lower() == "100-continue" and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if pieces:
            request.pieces = self._current_pieces = Pieces(self)
            self._take(request)

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if self._lingering:
            return
        if self._current_pieces is not None:
            self._current_pieces.put(body)
            return
        self._body.append(body)
        self._body_bytes += len(body)
        if self._body_bytes > self._limits.body_bytes:
            self._cut(openai_errors.too_large(self._limits.body_bytes))

    def on_message_complete(self) -> None:
        """The request is complete."""
        request, pieces = self._current, self._current_pieces
        self._receiving = False
        if self._lingering or request is None:
            return
        if pieces is not None:
            self._keep_alive = self._parser.should_keep_alive()
            pieces.end()
            self._deadline = _NEVER
            return
        request.body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._take(request)

    def _cut(self, problem: Problem) -> None:
        """The rest of this request is not wanted; the handler says why."""
        request = self._current
        assert request is not None
        request.problem, self._lingering = problem, True
        self._take(request)

    def _take(self, request: Request) -> None:
        keep_alive = self._parser.should_keep_alive() and request.problem is None
        if self._serving is None:
            self._serve(request, keep_alive)
            return
        self._waiting.append((request, keep_alive))
        if len(self._waiting) >= _PIPELINED:
            self.hold()

    # Serving.

    def _serve(self, request: Request, keep_alive: bool) -> None:
        self._keep_alive = keep_alive
        if self._current_pieces is None:
            self._deadline = _NEVER
        self._serving = self._loop.create_task(self._answer(request, Reply(request, self)))

    async def _answer(self, request: Request, reply: Reply) -> None:
        try:
            await self._server.handler(request, reply)
        except asyncio.CancelledError:
            self.abort()
        except Exception:
            log.exception("%s %s failed", request.method, request.path)
            self.abort()
        self._answered(request, reply)

    def _answered(self, request: Request, reply: Reply) -> None:
        self._serving = None
        transport = self._transport
        if transport is None:
            return
        if not reply.ended:
            transport.abort()
        elif request.problem is not None or not (request.pieces is None or request.pieces.complete):
            self._linger()
        elif not (self._keep_alive and reply.keeps_open) or (self._server.draining and not self._waiting):
            transport.close()
        elif self._waiting:
            following = self._waiting.popleft()
            self.release()
            self._serve(*following)
        elif not self._receiving:
            self._deadline = self._clock() + self._limits.idle_s
        else:
            self._deadline = self._clock() + self._limits.request_s

    def _refuse(self, problem: Problem) -> None:
        """Answer what is no request at all, and close."""
        if self._transport is None or self._lingering:
            return
        self._lingering = True
        self._waiting.clear()
        if self._serving is not None:
            # Behind a request that is being answered there came rubbish: that answer still goes out, then it ends.
            self._keep_alive = False
            return
        reply = Reply(Request("GET", "/", []), self)
        reply.whole(problem.status, [("content-type", "application/json")], problem.body())
        self._linger()

    def _linger(self) -> None:
        transport = self._transport
        if transport is None:
            return
        self._lingering = True
        self.release()
        self._deadline = self._clock() + _LINGER_S
        if transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()

    # What the server asks for.

    def check_deadline(self) -> None:
        """Act when this connection's time is over."""
        if self._clock() < self._deadline or self._transport is None:
            return
        self._deadline = _NEVER
        if self._room is not None or self._lingering or self._current_pieces is not None:
            self._transport.abort()
        elif self._receiving and self._current is not None and self._serving is None:
            self._cut(slow(self._limits))
        elif self._receiving:
            self._refuse(slow(self._limits))
        else:
            self._transport.close()

    def close_if_idle(self) -> None:
        """Close unless a request is being received or answered."""
        if self._serving is None and not self._receiving and self._transport is not None:
            self._transport.close()

    # The wire of the reply, and the valve of a body that is passed on.

    @property
    def closing(self) -> bool:
        """The connection will be closed after this reply."""
        return not self._keep_alive or self._lingering or self._server.draining

    def write(self, data: bytes) -> None:
        """Send."""
        if self._transport is not None:
            self._transport.write(data)

    def drained(self) -> Awaitable[None] | None:
        """To be awaited while the agent takes nothing."""
        return self._room

    def abort(self) -> None:
        """Drop the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def hold(self) -> None:
        """Read no further for now."""
        if not self._held and self._transport is not None:
            self._held = True
            self._transport.pause_reading()

    def release(self) -> None:
        """Read on."""
        if self._held and self._transport is not None:
            self._held = False
            self._transport.resume_reading()
