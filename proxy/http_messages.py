"""What an agent sends and gets: one request, and the reply to it on the same connection.

The framing of HTTP/1.1 is done here and nowhere else: a reply has a `content-length` when its length is known and is
chunked otherwise. Invariant: a reply that could not be finished is never made to look finished; its connection is
dropped instead.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol

from .openai_errors import Problem

Headers = list[tuple[str, str]]
"""Header names in lower case, in the order sent. Values hold bytes as Latin-1 text, so none can be lost."""


class SentHeaders(list[tuple[str, str]]):
    """Headers for an upstream that will be sent more than once, and not be changed any more."""

    __slots__ = ("text",)

    def __init__(self, headers: Headers) -> None:
        super().__init__(headers)
        self.text = b""
        """Their bytes, once they have been sent."""


class ReceivedHeaders(list[tuple[str, str]]):
    """Headers of an upstream's answer that come again and again, and are not changed any more."""

    __slots__ = ("lines", "named")

    def __init__(self, headers: Headers) -> None:
        super().__init__(headers)
        self.named: dict[str, str] = dict(headers)
        """By name; of repeated ones the last."""
        self.lines = ""
        """What the agent gets of them, once that has been worked out; see `headers.relayed`."""

    def with_length(self, length: str) -> "ReceivedHeaders":
        """The same with another content-length, which is not among the `lines`."""
        other = ReceivedHeaders([(name, length if name == "content-length" else value) for name, value in self])
        other.lines = self.lines
        return other


_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}
_BODILESS = (204, 304)


_NAMES: dict[bytes, str] = {}
_KNOWN_NAMES = 1000


def header_name(raw: bytes) -> str:
    """A header's name in lower case. The same few come with every call, so they are remembered."""
    name = _NAMES.get(raw)
    if name is None:
        name = raw.decode("latin-1").lower()
        if len(_NAMES) < _KNOWN_NAMES and len(raw) < 64:
            _NAMES[raw] = name
    return name


def header_lines(headers: Headers) -> str:
    """The headers as lines of a head."""
    return "".join([f"{name}: {value}\r\n" for name, value in headers])


class Request:
    """One request. Its body is complete, unless it is passed on piece by piece."""

    __slots__ = ("body", "headers", "http10", "known", "method", "named", "path", "pieces", "problem", "query")

    def __init__(self, method: str, target: str, headers: Headers, http10: bool = False) -> None:
        """`target` as it stands in the request line, nothing decoded."""
        self.method, self.headers, self.http10 = method, headers, http10
        self.path, _, self.query = target.partition("?")
        self.named: dict[str, str] = dict(headers)
        """The headers by name; of repeated ones the last."""
        self.body = b""
        self.pieces: Pieces | None = None
        """The body as it arrives, where the handler wanted it so; `body` is empty then."""
        self.problem: Problem | None = None
        """Why the request could not be read to its end; all that is left is to say so."""
        self.known: dict[Any, Any] = {}
        """What has been worked out from the head alone, content-length aside. Requests of one connection whose heads
        are the same share it."""

    def alike(self, headers: Headers, named: dict[str, str], body: bytes) -> "Request":
        """Another request with the same line and the same `known`."""
        other = Request.__new__(Request)
        other.method, other.path, other.query, other.http10 = self.method, self.path, self.query, self.http10
        other.headers, other.named, other.body, other.known = headers, named, body, self.known
        other.pieces, other.problem = None, None
        return other


class Reading(Protocol):
    """A connection that can stop reading for a while."""

    def hold(self) -> None: ...

    def release(self) -> None: ...


class Pieces:
    """A request body on its way in. Holds little: the connection stops reading when nobody takes the pieces."""

    def __init__(self, connection: Reading, limit: int = 1 << 18) -> None:
        self._connection, self._limit = connection, limit
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self._arrived = asyncio.Event()

    def put(self, piece: bytes) -> None:
        """Add what has arrived."""
        self._waiting.append(piece)
        self._size += len(piece)
        if self._size > self._limit:
            self._connection.hold()
        self._arrived.set()

    def end(self) -> None:
        """Nothing more will come."""
        self._ended = True
        self._arrived.set()

    @property
    def complete(self) -> bool:
        """The whole body has arrived."""
        return self._ended

    def __aiter__(self) -> "Pieces":
        return self

    async def __anext__(self) -> bytes:
        while not self._waiting:
            if self._ended:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        piece = self._waiting.popleft()
        self._size -= len(piece)
        if self._size <= self._limit:
            self._connection.release()
        return piece


class Wire(Protocol):
    """Where a reply's bytes go."""

    @property
    def closing(self) -> bool:
        """The connection will be closed after this reply."""
        ...

    def write(self, data: bytes) -> None:
        """Send; what the agent does not take yet is kept."""
        ...

    def drained(self) -> Awaitable[None] | None:
        """To be awaited before more is written; None when there is room."""
        ...

    def abort(self) -> None:
        """Drop the connection at once."""
        ...


class Reply:
    """The answer to one request: `whole`, or `begin`, any number of `write` and one `end`."""

    __slots__ = ("_bodiless", "_chunked", "_http10", "_wire", "begun", "ended", "keeps_open")

    def __init__(self, request: Request, wire: Wire) -> None:
        self._wire, self._http10 = wire, request.http10
        self._bodiless, self._chunked = request.method == "HEAD", False
        self.begun = self.ended = False
        self.keeps_open = True
        """False when only closing the connection can end the body."""

    def whole(self, status: int, headers: Headers | str, body: bytes) -> None:
        """Send a complete answer. Headers may be given as `header_lines` of them."""
        self.begun = self.ended = True
        if status in _BODILESS:
            self._wire.write(self._head(status, headers, None))
            return
        head = self._head(status, headers, len(body))
        self._wire.write(head if self._bodiless else head + body)

    def begin(self, status: int, headers: Headers | str, length: int | None) -> None:
        """Send the head. `length` is given when the body will have exactly so many bytes."""
        self.begun = True
        self._bodiless = self._bodiless or status in _BODILESS
        if length is None and not self._bodiless:
            self._chunked, self.keeps_open = not self._http10, not self._http10
        self._wire.write(self._head(status, headers, length))

    async def write(self, piece: bytes) -> None:
        """Send a piece of the body as soon as the agent has taken the ones before."""
        if piece and not self._bodiless:
            self._wire.write(b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked else piece)
            waiting = self._wire.drained()
            if waiting is not None:
                await waiting

    def end(self) -> None:
        """Mark the end of the body."""
        self.ended = True
        if self._chunked:
            self._wire.write(b"0\r\n\r\n")

    def abort(self) -> None:
        """Break off visibly: the agent's client reports an incomplete answer."""
        self._wire.abort()

    def _head(self, status: int, headers: Headers | str, length: int | None) -> bytes:
        line = _STATUS_LINES.get(status) or f"HTTP/1.1 {status} \r\n"
        lines = headers if isinstance(headers, str) else header_lines(headers)
        framing = "" if length is None else f"content-length: {length}\r\n"
        if self._chunked:
            framing = "transfer-encoding: chunked\r\n"
        if self._wire.closing or not self.keeps_open:
            framing += "connection: close\r\n"
        elif self._http10:
            framing += "connection: keep-alive\r\n"
        return f"{line}{lines}{framing}\r\n".encode("latin-1", "replace")


class Handler(Protocol):
    """What answers requests."""

    def wants_pieces(self, request: Request) -> bool:
        """Whether this request's body shall be passed on as it arrives."""
        ...

    async def __call__(self, request: Request, reply: Reply) -> None:
        """Answer. Cancelled when the agent goes away; an answer that is left unfinished is dropped visibly."""
        ...


Clock = Callable[[], float]


@dataclass(frozen=True)
class Limits:
    """What one agent may take up."""

    body_bytes: int = 32 << 20
    head_bytes: int = 64 << 10
    request_s: float = 60.0
    """Longest time for a request to arrive; for bodies passed on piece by piece, the longest silence."""
    idle_s: float = 620.0
    """A connection without a request is closed after this; longer than what clients and balancers keep one."""
    stalled_s: float = 120.0
    """An agent that takes nothing of its answer for so long is given up."""


def long_head(limits: Limits) -> Problem:
    """The refusal of a request whose head is over the limit."""
    return Problem(431, "head_too_large", f"The request's head is larger than {limits.head_bytes} bytes, the limit.")


def slow(limits: Limits) -> Problem:
    """The refusal of a request that did not arrive in time."""
    return Problem(408, "request_timeout", f"The request did not arrive within {limits.request_s:g} s, the limit.")
