"""An answer that arrives on an HTTP/1.1 connection, between the connection that fills it and the call that waits.

Invariant: an answer that did not come to its end is never taken for complete, and letting go of one closes its
connection.
"""

import asyncio
from typing import Protocol

from .http_answers import Read, RepeatedAnswer, repeatable
from .http_messages import Headers

_AHEAD_BYTES = 1 << 18
"""So much of an answer is read ahead of the agent."""


class Source(Protocol):
    """The connection on which an answer arrives."""

    def read_on(self, answer: "Http1Answer") -> None:
        """The agent has taken enough of it."""
        ...

    def abort(self) -> None:
        """Nobody wants the rest."""
        ...


class Http1Answer:
    """An answer on its way in; see `upstream.Answer`."""

    def __init__(self, connection: Source, whole: bool) -> None:
        """`whole`: nobody is waiting for less than all of it."""
        self.status = 0
        self.headers: Headers = []
        self.whole, self.complete = whole, False
        self.failed: BaseException | None = None
        self._connection = connection
        self._pieces: list[bytes] = []
        self._size = 0
        # With the answer and not with the connection: that may have been given to the next exchange already.
        self._waiter: asyncio.Future[None] | None = None

    async def arrived(self) -> None:
        """Wait for the head, or for everything where that is wanted. Raises UpstreamError."""
        while not self.complete:
            if self.failed is not None:
                raise self.failed
            if self.status and not self.whole:
                return
            await self._news()
        if self.whole and len(self._pieces) > 1:
            self._pieces = [b"".join(self._pieces)]

    async def piece(self) -> bytes | None:
        """The next piece as it came from the network, None after the last. Raises UpstreamError."""
        while not self._pieces:
            if self.failed is not None:
                raise self.failed
            if self.complete:
                return None
            await self._news()
        piece = self._pieces.pop(0)
        self._size -= len(piece)
        if not self.complete and self._size <= _AHEAD_BYTES:
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

    def take(self, read: Read) -> None:
        """All of it is there."""
        self.status, self.headers, self.complete = read.status, read.headers, True
        if read.body:
            self._pieces.append(read.body)
            self._size = len(read.body)
        self._wake()

    def repeatable(self, data: bytes) -> RepeatedAnswer | None:
        """Its head, to know the next one by, if it is complete and nobody has taken any of it; it came as `data`."""
        return repeatable(data, self.status, self.headers, b"".join(self._pieces)) if self.complete else None

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
