"""HTTP/1.1 to upstreams, with or without TLS: the client that nearly every call takes.

It runs on the worker's own event loop. A client whose work is done in other threads has to take the interpreter's lock
for every answer, and under load that costs more than all the rest of a call (docs/log.md has the figures); and a call
that is cancelled here is cancelled there, at once. HTTP/2 and proxies are left to `upstream`.
"""

import asyncio
import os
import socket
import ssl
from typing import NamedTuple
from urllib.parse import urlsplit

import certifi

from . import openai_errors
from .http_messages import Headers, SentHeaders
from .upstream import BODY_METHODS, Answer, Body, Timeouts, UpstreamError, authorities
from .upstream_connection import Connection

_IDLE_S = 55.0
"""An idle connection that is older is not trusted any more."""
_IDLE_MOST = 256
"""Idle connections kept for one upstream."""
_TICK_S = 0.25
_TARGETS = 1024


class _Target(NamedTuple):
    host: str
    port: int
    tls: bool
    line: bytes
    """The request line, and the host's."""


class Http1Upstream:
    """`Upstream` for URLs that need no proxy. Used by one event loop.

    Trusted are the system's authorities (or those of SSL_CERT_FILE), those that come with certifi, and `ca_file`'s.
    """

    def __init__(self, timeouts: Timeouts, ca_file: str = "") -> None:
        """Raises BadInput when `ca_file` holds no certificate."""
        self._timeouts, self._tls = timeouts, _trusting(ca_file)
        self._idle: dict[tuple[str, int, bool], list[Connection]] = {}
        self._busy: set[Connection] = set()
        self._targets: dict[tuple[str, str], _Target] = {}
        """By method and URL."""
        self._tick_s = min(_TICK_S, *(limit / 4 for limit in (timeouts.head_s, timeouts.read_s, timeouts.total_s)))
        self._ticking = False

    async def send(self, method: str, url: str, headers: Headers, body: Body, *, whole: bool = False) -> Answer:
        """The answer, as soon as its head is there; with `whole` only once all of its body is. Raises UpstreamError."""
        target = self._targets.get((method, url)) or self._target(method, url)
        fields = headers.text if isinstance(headers, SentHeaders) and headers.text else _fields(headers)
        connection = self._reuse(target) or await self._connect(target)
        self._watch(connection)
        if isinstance(body, bytes):
            length = b"content-length: %d\r\n\r\n" % len(body) if body or method in BODY_METHODS else b"\r\n"
            answer = connection.ask(target.line + fields + length + body, whole, method == "HEAD")
        else:
            chunked = "content-length" not in dict(headers)
            length = b"transfer-encoding: chunked\r\n\r\n" if chunked else b"\r\n"
            answer = connection.ask(target.line + fields + length, whole)
            connection.upload(body, chunked)
        await answer.arrived()
        return answer

    async def close(self) -> None:
        """Close all connections."""
        for connection in [*self._busy, *(one for idle in self._idle.values() for one in idle)]:
            connection.abort()

    def _reuse(self, target: _Target) -> Connection | None:
        idle = self._idle.get(target[:3])
        while idle:
            connection = idle.pop()
            if connection.usable and asyncio.get_running_loop().time() - connection.idle_since < _IDLE_S:
                return connection
            connection.abort()
        return None

    async def _connect(self, target: _Target) -> Connection:
        loop, key = asyncio.get_running_loop(), target[:3]

        def free(connection: Connection) -> None:
            self._busy.discard(connection)
            idle = self._idle.setdefault(key, [])
            if connection.usable and len(idle) < _IDLE_MOST:
                idle.append(connection)
            else:
                connection.abort()

        limit_s = self._timeouts.connect_s
        try:
            async with asyncio.timeout(limit_s):
                _, connection = await loop.create_connection(
                    lambda: Connection(loop, self._timeouts, free),
                    target.host,
                    target.port,
                    ssl=self._tls if target.tls else None,
                )
        except TimeoutError:
            raise UpstreamError(openai_errors.timed_out("connect", limit_s), sent=False) from None
        except ssl.SSLCertVerificationError as error:
            raise UpstreamError(openai_errors.untrusted(error.verify_message), sent=False) from None
        except OSError as error:
            raise UpstreamError(openai_errors.unreachable(_reason(error)), sent=False) from None
        return connection

    def _target(self, method: str, url: str) -> _Target:
        parts = urlsplit(url)
        path = url[url.index(parts.netloc) + len(parts.netloc) :] or "/"
        tls = parts.scheme == "https"
        authority = parts.netloc.rpartition("@")[2]
        if any(mark in path for mark in " \r\n"):
            raise UpstreamError(openai_errors.cannot_send(), sent=False)
        if len(self._targets) >= _TARGETS:
            self._targets.clear()
        line = f"{method} {path} HTTP/1.1\r\nhost: {authority}\r\n".encode("latin-1", "replace")
        port = parts.port or (443 if tls else 80)
        target = self._targets[method, url] = _Target(parts.hostname or "", port, tls, line)
        return target

    def _watch(self, connection: Connection) -> None:
        self._busy.add(connection)
        if not self._ticking:
            self._ticking = True
            asyncio.get_running_loop().call_later(self._tick_s, self._tick)

    def _tick(self) -> None:
        """Give up exchanges whose time is over."""
        loop = asyncio.get_running_loop()
        for connection in list(self._busy):
            if connection.idle:
                self._busy.discard(connection)
            elif loop.time() >= connection.deadline:
                connection.time_out()
        self._ticking = bool(self._busy)
        if self._ticking:
            loop.call_later(self._tick_s, self._tick)


def _trusting(ca_file: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    if ca_file:
        context.load_verify_locations(cadata=authorities(ca_file).decode("latin-1"))
    context.set_alpn_protocols(["http/1.1"])
    return context


def _reason(error: OSError) -> str:
    """In the system's words; asyncio puts its own, with the address, in their place."""
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or error}"
    if isinstance(error, socket.gaierror) or not error.errno:
        return error.strerror or str(error)
    return os.strerror(error.errno)


def _fields(headers: Headers) -> bytes:
    """The headers as bytes. Raises UpstreamError when one would be more than a line."""
    text = "".join([f"{name}: {value}\r\n" for name, value in headers])
    # Nothing that an agent sends may become a line, or a request, of its own.
    if not text.count("\n") == text.count("\r") == text.count("\r\n") == len(headers):
        raise UpstreamError(openai_errors.cannot_send(), sent=False)
    fields = text.encode("latin-1", "replace")
    if isinstance(headers, SentHeaders):
        headers.text = fields
    return fields
