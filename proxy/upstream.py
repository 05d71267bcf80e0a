"""The way to a teacher or student server: send a request, get status, headers and the body piece by piece.

One interface, so that clients are chosen in one place (`upstream_choice`); a fake for tests is any object with these
methods. `upstream_http1` takes nearly all calls. The client here is for HTTP/2 and for proxies; its library, pyreqwest,
does sockets, TLS and parsing outside the interpreter.

Invariants: a piece is handed over as soon as it arrives, still in the encoding it was sent in; nothing is retried
here; and an error says whether the upstream may have seen the request, for only one that it has not may be repeated.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import PyreqwestError
from pyreqwest.http import HeaderMap
from pyreqwest.request import StreamRequest
from pyreqwest.response import Response

from ..traffic.errors import BadInput
from . import openai_errors
from .openai_errors import Problem

Headers = list[tuple[str, str]]
"""Header names in lower case, in the order sent."""
Body = bytes | AsyncIterator[bytes]

BODY_METHODS = ("POST", "PUT", "PATCH")
_URL = re.compile(r"\S+://\S+")


class UpstreamError(Exception):
    """No answer, or one that broke off; `problem` says which in OpenAI's shape."""

    def __init__(self, problem: Problem, sent: bool = True) -> None:
        """`sent` is False where the upstream has certainly not seen the request."""
        super().__init__(problem.message)
        self.problem, self.sent = problem, sent


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

    async def send(self, method: str, url: str, headers: Headers, body: Body, *, whole: bool = False) -> Answer:
        """The answer, as soon as its head is there; with `whole` only once all of its body is. Raises UpstreamError.

        `whole` is for agents that want the answer in one piece; nobody is woken up for less then.
        """
        ...

    async def close(self) -> None:
        """Close idle connections."""
        ...


@dataclass(frozen=True)
class Timeouts:
    """How long each phase of a call may take, in seconds."""

    connect_s: float = 5.0
    """Name look-up, TCP and TLS together."""
    head_s: float = 600.0
    """From sending to the head of the answer; a model that does not stream thinks all this time."""
    read_s: float = 600.0
    """Longest silence within an answer."""
    total_s: float = 3600.0
    """From sending to the last byte."""


class ReqwestUpstream:
    """`Upstream` on pyreqwest, for HTTP/2 and for calls through a proxy.

    HTTP/2 is spoken where TLS offers it. Trusted are the system's authorities (or those of SSL_CERT_FILE) and those in
    `ca_file`. HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY are honoured, but never for this machine's own addresses.
    Redirects and compressed bodies are left to the agent.

    Limits of the library: a call that is cancelled before its head has come goes on until then, and is closed then;
    an answer may have no more than 100 headers, and those that are not ASCII are left out.
    """

    def __init__(self, timeouts: Timeouts | None = None, ca_file: str = "") -> None:
        """Raises BadInput when `ca_file` holds no certificate."""
        self._timeouts, self._authorities = timeouts or Timeouts(), authorities(ca_file)
        self._clients: dict[str, Client] = {}
        self._made: dict[bool, Client] = {}
        self._head_s = _watched(self._timeouts.head_s, self._timeouts)
        self._leaving: set[asyncio.Task[None]] = set()

    async def send(self, method: str, url: str, headers: Headers, body: Body, *, whole: bool = False) -> Answer:
        started = time.monotonic()
        try:
            request = self._request(method, url, headers, body)
            async with asyncio.timeout(self._head_s):
                response = await self._head_of(request)
        except ValueError:
            # The library's way to say that a header or the URL cannot be sent; its words would quote a key.
            raise UpstreamError(openai_errors.cannot_send(), sent=False) from None
        except (PyreqwestError, TimeoutError) as error:
            raise _failed(error, self._timeouts, started) from None
        answer = _StreamedAnswer(request, response, self._timeouts, started)
        return await _gathered(answer) if whole else answer

    async def close(self) -> None:
        for client in self._made.values():
            await client.close()
        await asyncio.gather(*self._leaving)

    def _request(self, method: str, url: str, headers: Headers, body: Body) -> StreamRequest:
        parts = url.split("/", 3)
        origin = parts[2] if len(parts) > 2 else ""
        if origin not in self._clients:
            self._clients[origin] = self._client(is_local(origin))
        builder = self._clients[origin].request(method, url).headers(_sendable(headers))
        if not isinstance(body, bytes):
            builder = builder.body_stream(body)
        elif body or method in BODY_METHODS:
            builder = builder.body_bytes(body)
        # With its default buffer the library reads 64 KB ahead before it shows the head: streams stand still.
        return builder.streamed_read_buffer_limit(0).build_streamed()

    def _client(self, local: bool) -> Client:
        if local not in self._made:
            builder = ClientBuilder().gzip(False).brotli(False).zstd(False).deflate(False).follow_redirects(False)
            builder = builder.http2(True).read_timeout(timedelta(seconds=_longest(self._timeouts)))
            builder = builder.connect_timeout(timedelta(seconds=self._timeouts.connect_s))
            builder = builder.timeout(timedelta(seconds=self._timeouts.total_s)).user_agent("tutelage")
            if self._authorities:
                builder = builder.add_root_certificate_pem(self._authorities)
            self._made[local] = (builder.no_proxy() if local else builder).build()
        return self._made[local]

    async def _head_of(self, request: StreamRequest) -> Response:
        entering = asyncio.ensure_future(request.__aenter__())
        try:
            return await asyncio.shield(entering)
        except asyncio.CancelledError:
            leaving = asyncio.get_running_loop().create_task(_leave(entering, request))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)
            raise


async def _leave(entering: "asyncio.Future[Response]", request: StreamRequest) -> None:
    """Close a request that nobody waits for any more. Cancelled within the library, it would be done to its end."""
    with contextlib.suppress(PyreqwestError):
        await entering
        await request.__aexit__(None, None, None)


class _StreamedAnswer:
    def __init__(self, request: StreamRequest, response: Response, timeouts: Timeouts, started: float) -> None:
        self.status, self.headers = response.status, _received(response.headers)
        self._request, self._reader, self._timeouts, self._started = request, response.body_reader, timeouts, started
        self._read_s = _watched(timeouts.read_s, timeouts)

    async def piece(self) -> bytes | None:
        try:
            async with asyncio.timeout(self._read_s):
                chunk = await self._reader.read_chunk()
        except (PyreqwestError, TimeoutError) as error:
            raise _failed(error, self._timeouts, self._started, begun=True) from None
        return None if chunk is None else chunk.to_bytes()

    async def close(self) -> None:
        await self._request.__aexit__(None, None, None)


class _WholeAnswer:
    def __init__(self, status: int, headers: Headers, body: bytes) -> None:
        self.status, self.headers, self._body = status, headers, body

    async def piece(self) -> bytes | None:
        body, self._body = self._body, b""
        return body or None

    async def close(self) -> None:
        self._body = b""


async def _gathered(answer: Answer) -> Answer:
    pieces = []
    try:
        while (piece := await answer.piece()) is not None:
            pieces.append(piece)
    finally:
        await answer.close()
    return _WholeAnswer(answer.status, answer.headers, b"".join(pieces))


def _longest(timeouts: Timeouts) -> float:
    """The library knows one limit for the silence before and after the head: it gets the longer of the two."""
    return max(timeouts.head_s, timeouts.read_s)


def _watched(limit_s: float, timeouts: Timeouts) -> float | None:
    """The limit that the library does not watch for us, the shorter of the two; None when it does."""
    return limit_s if limit_s < _longest(timeouts) else None


def _failed(error: Exception, limits: Timeouts, started: float, begun: bool = False) -> UpstreamError:
    causes = [cause["message"] for cause in (getattr(error, "details", None) or {}).get("causes") or []]
    # The exception classes do not tell: a connection that breaks, too, is a ConnectError.
    sent = "client error (Connect)" not in causes
    cause = _clean(causes[-1] if causes else str(error))
    if isinstance(error, TimeoutError):
        if not sent:
            return UpstreamError(openai_errors.timed_out("connect", limits.connect_s), sent=False)
        if time.monotonic() - started >= limits.total_s:
            return UpstreamError(openai_errors.timed_out("total", limits.total_s))
        phase, limit_s = ("read", limits.read_s) if begun else ("head", limits.head_s)
        return UpstreamError(openai_errors.timed_out(phase, limit_s))
    if begun:
        return UpstreamError(openai_errors.broken_off())
    if "certificate" in cause:
        return UpstreamError(openai_errors.untrusted(cause), sent=False)
    return UpstreamError(openai_errors.unreachable(cause), sent)


def _clean(text: str) -> str:
    """Without URLs, which may carry keys."""
    return _URL.sub("its URL", text)


def _sendable(headers: Headers) -> Headers:
    """The library sends text as UTF-8; decoded as Latin-1, as it came in, it would be encoded twice."""
    for _, value in headers:
        if not value.isascii():
            return [(name, value.encode("latin-1", "replace").decode("utf-8", "replace")) for name, value in headers]
    return headers


def _received(headers: HeaderMap) -> Headers:
    """All headers that are ASCII: the library cannot read others out, and for their sake no answer shall be lost."""
    try:
        return list(headers.items())
    except ValueError:
        return [(name, value) for name in headers.keys() for value in _readable(headers, name)]  # noqa: SIM118


def _readable(headers: HeaderMap, name: str) -> list[str]:
    try:
        return headers.getall(name)
    except ValueError:
        return []


def is_local(origin: str) -> bool:
    """Whether `user@host:port` is this machine itself."""
    host = urlsplit(f"//{origin}").hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def authorities(ca_file: str) -> bytes:
    if not ca_file:
        return b""
    try:
        found = Path(ca_file).read_bytes()
    except OSError as error:
        raise BadInput(f"ca_file {ca_file} cannot be read: {error.strerror}.") from error
    if b"-----BEGIN CERTIFICATE-----" not in found:
        raise BadInput(f"ca_file {ca_file} holds no certificate in PEM form (-----BEGIN CERTIFICATE-----).")
    return found
