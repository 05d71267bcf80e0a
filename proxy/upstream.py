"""The way to a teacher or student server: send a request, get status, headers and the body piece by piece.

One interface, so that the client library is chosen here alone; a fake for tests is any object with these methods.
The library is pyreqwest: its sockets, TLS, pooling and HTTP parsing run outside the interpreter, which made it the
only full client among those tried that keeps a worker above two thousand calls a second.

Invariant: a piece is handed over as soon as it arrives, still in the encoding it was sent in; nothing is retried here.
"""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Protocol

from pyreqwest.client import ClientBuilder
from pyreqwest.exceptions import PyreqwestError, RequestTimeoutError
from pyreqwest.request import StreamRequest
from pyreqwest.response import Response

from . import openai_errors
from .openai_errors import Problem

Headers = list[tuple[str, str]]
"""Header names in lower case, in the order sent."""
Body = bytes | AsyncIterator[bytes]

BODY_METHODS = ("POST", "PUT", "PATCH")


class UpstreamError(Exception):
    """No answer, or one that broke off; `problem` says which in OpenAI's shape."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class Answer(Protocol):
    """An answer whose body is still arriving."""

    status: int
    headers: Headers

    async def piece(self) -> bytes | None:
        """The next piece as it came from the network, None after the last. Raises UpstreamError."""
        ...

    async def close(self) -> None:
        """Let go of it; before its end this closes the connection, so that the upstream stops working."""
        ...


class Upstream(Protocol):
    """Sends requests."""

    async def send(self, method: str, url: str, headers: Headers, body: Body) -> Answer:
        """The answer, as soon as its head is there. Raises UpstreamError."""
        ...

    async def close(self) -> None:
        """Close idle connections."""
        ...


class ReqwestUpstream:
    """`Upstream` on pyreqwest. Redirects and compressed bodies are left to the agent; proxies come from HTTP_PROXY."""

    def __init__(self, connect_timeout_s: float = 5.0, read_timeout_s: float = 600.0) -> None:
        """`read_timeout_s` is the longest silence, before the head as well as between two pieces."""
        self._read_timeout_s = read_timeout_s
        builder = ClientBuilder().gzip(False).brotli(False).zstd(False).deflate(False).follow_redirects(False)
        builder = builder.connect_timeout(timedelta(seconds=connect_timeout_s)).user_agent("tutelage")
        self._client = builder.read_timeout(timedelta(seconds=read_timeout_s)).build()

    async def send(self, method: str, url: str, headers: Headers, body: Body) -> Answer:
        # With its default buffer the library reads 64 KB ahead before it shows the head: streams stand still.
        builder = self._client.request(method, url).headers(headers).streamed_read_buffer_limit(0)
        if not isinstance(body, bytes):
            builder = builder.body_stream(body)
        elif body or method in BODY_METHODS:
            builder = builder.body_bytes(body)
        request = builder.build_streamed()
        try:
            return _ReqwestAnswer(request, await request.__aenter__())
        except PyreqwestError as error:
            raise UpstreamError(_problem(error)) from error

    async def close(self) -> None:
        await self._client.close()


class _ReqwestAnswer:
    def __init__(self, request: StreamRequest, response: Response) -> None:
        self._request, self._reader = request, response.body_reader
        self.status = response.status
        self.headers: Headers = list(response.headers.items())

    async def piece(self) -> bytes | None:
        try:
            chunk = await self._reader.read_chunk()
        except RequestTimeoutError as error:
            raise UpstreamError(_problem(error)) from error
        except PyreqwestError as error:
            raise UpstreamError(openai_errors.broken_off()) from error
        return None if chunk is None else bytes(chunk)

    async def close(self) -> None:
        await self._request.__aexit__(None, None, None)


def _problem(error: PyreqwestError) -> Problem:
    if isinstance(error, RequestTimeoutError):
        return openai_errors.timed_out(_cause(error))
    return openai_errors.unreachable(_cause(error))


def _cause(error: PyreqwestError) -> str:
    """The innermost cause: "Connection refused" says more than "error sending request"."""
    details = getattr(error, "details", None) or {}
    causes = details.get("causes") or []
    return causes[-1]["message"] if causes else error.message
