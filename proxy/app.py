"""The agents' port as an ASGI application.

Per call: read the body, parse it once, identify, look the route up in memory, relay, append one record. No database and
no model on this path, and whatever the control plane or the student does, the teacher's answer comes through.
"""

import asyncio
import logging
import zlib
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from typing import Any

import msgspec

from ..traffic.canonical import loads
from ..traffic.errors import BadInput
from ..traffic.journal import JournalWriter
from ..traffic.patterns import RegistryReader, facts_of
from . import openai_errors
from .callers import AcceptedCallers, caller_of
from .decide import decide
from .exchange import Event, Exchange, Receive, Send, is_text
from .headers import decoded
from .identify import PATTERN_HEADER, TRAJECTORY_HEADER, call_facts, retry_count
from .openai_errors import Problem
from .relay import CHAT, BrokenOff, Relay
from .routes import RouteReader

log = logging.getLogger("tutelage.proxy")
WATCH_AFTER_S = 0.25
"""Calls that take longer are watched for agents that leave; for quick ones a watcher costs more than it saves."""
STREAMED_UPLOAD = 1 << 20
"""Uploads of other endpoints that are no JSON are passed on piece by piece beyond this size, in bytes."""
HEALTH = ("/health", "/tutelage/health")


class Gone(Exception):
    """The agent went away while it was sending."""


@dataclass
class DataPlane:
    """One worker: an ASGI application around a relay, the published tables and a journal."""

    relay: Relay
    journal: JournalWriter
    registry: RegistryReader
    routes: RouteReader
    callers: AcceptedCallers
    secret: bytes
    max_body_bytes: int
    in_flight: int = 0

    async def __call__(self, scope: Event, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        path: str = scope["path"]
        if path in HEALTH and scope["method"] == "GET":
            await self._health(send)
            return
        call = self._exchange(scope, send, path)
        self.in_flight += 1
        loop = asyncio.get_running_loop()
        watch = _Watch(call, receive, asyncio.current_task())
        timer = loop.call_later(WATCH_AFTER_S, watch.start)
        try:
            await self._serve(call, scope, receive)
        except (asyncio.CancelledError, Gone):
            call.cancelled = True
        except BrokenOff:
            raise
        except Exception:
            log.exception("%s %s failed", call.method, path)
            if call.begun:
                call.error = "proxy_fault"
                raise
            await call.refuse(openai_errors.internal())
        finally:
            timer.cancel()
            watch.stop()
            call.log()
            self.in_flight -= 1

    def _exchange(self, scope: Event, send: Send, path: str) -> Exchange:
        headers = decoded(scope["headers"])
        named = dict(headers)
        call = Exchange(
            send=send,
            append=self.journal.append,
            method=scope["method"],
            path=path,
            headers=headers,
            named=named,
            keep_bytes=self.max_body_bytes,
        )
        call.caller, call.retry = caller_of(named, self.secret), retry_count(named)
        call.trajectory, call.hint = named.get(TRAJECTORY_HEADER, ""), named.get(PATTERN_HEADER, "")
        return call

    async def _serve(self, call: Exchange, scope: Event, receive: Receive) -> None:
        if call.path == CHAT and call.method == "POST":
            await self._chat(call, receive)
        elif call.path.startswith("/v1/"):
            await self._other(call, scope, receive)
        else:
            await call.refuse(openai_errors.unknown_path(call.method, call.path))

    async def _chat(self, call: Exchange, receive: Receive) -> None:
        raw = await self._body(call, receive)
        if isinstance(raw, Problem):
            await call.refuse(raw)
            return
        plain = unpacked(raw, call.named.get("content-encoding", ""), self.max_body_bytes)
        call.request = raw if plain is None else plain
        if plain is None:
            call.reason = "cannot:content_encoding"
            await self.relay.teacher(call, raw, None)
            return
        if plain is not raw:
            call.headers = [pair for pair in call.headers if pair[0] != "content-encoding"]
        try:
            body = loads(plain)
        except BadInput as error:
            await call.refuse(openai_errors.bad_json(str(error)))
            return
        if not isinstance(body, dict):
            await call.refuse(openai_errors.bad_json(f"A {type(body).__name__} came."))
            return
        if not (self._decide(call, body) and await self.relay.student(call, body)):
            await self.relay.teacher(call, plain, body)

    def _decide(self, call: Exchange, body: dict[str, Any]) -> bool:
        """Whether the student shall answer; notes what was found out about the call."""
        facts = call_facts(call.named, body, len(call.request), call.caller)
        shape = facts_of(body)
        match = self.registry.current().identify(shape, facts.hint) if shape is not None else None
        decision = decide(facts, match, self.routes.current(), self.callers.accepted(call.caller))
        model = body.get("model")
        call.model = model if isinstance(model, str) else ""
        call.session, call.trajectory, call.hint, call.stream = (
            facts.session,
            facts.trajectory,
            facts.hint,
            facts.stream,
        )
        call.pattern = match.pattern_id if match is not None else ""
        call.route, call.reason, call.student = decision.route, decision.reason, decision.student
        return decision.route == "student"

    async def _other(self, call: Exchange, scope: Event, receive: Receive) -> None:
        call.reason = "other_endpoint"
        target = (scope.get("raw_path") or call.path.encode()).decode("latin-1").split("?")[0].removeprefix("/v1")
        query = scope.get("query_string", b"").decode("latin-1")
        target = f"{target}?{query}" if query else target
        if _streamed(call):
            await self.relay.other(call, self._pieces(call, receive), target)
            return
        body = await self._body(call, receive)
        if isinstance(body, Problem):
            await call.refuse(body)
            return
        # Files and sound are not for the log.
        call.request = body if is_text(call.named.get("content-type", "")) else b""
        await self.relay.other(call, body, target)

    async def _body(self, call: Exchange, receive: Receive) -> bytes | Problem:
        limit = self.max_body_bytes
        length = call.named.get("content-length", "0")
        if length.isdigit() and int(length) > limit:
            return openai_errors.too_large(limit)
        event = await receive()
        body = event.get("body", b"")
        if event.get("more_body") or event["type"] == "http.disconnect":
            parts, size = [body], len(body)
            while event.get("more_body"):
                event = await receive()
                parts.append(event.get("body", b""))
                size += len(parts[-1])
                if size > limit:
                    return openai_errors.too_large(limit)
            if event["type"] == "http.disconnect":
                raise Gone
            body = b"".join(parts)
        call.request_read.set()
        return body

    async def _pieces(self, call: Exchange, receive: Receive) -> AsyncIterator[bytes]:
        more = True
        while more:
            event = await receive()
            if event["type"] == "http.disconnect":
                raise Gone
            more = event.get("more_body", False)
            if event.get("body"):
                yield event["body"]
        call.request_read.set()

    async def _health(self, send: Send) -> None:
        problems = [text for text in (self.routes.error, self.registry.error) if text]
        stats = asdict(self.journal.stats)
        body = msgspec.json.encode(
            {
                "status": "ok" if not (stats["lost"] or stats["dropped"] or problems) else "impaired",
                "journal": stats,
                "table_serial": self.routes.current().serial,
                "patterns": len(self.registry.current()),
                "in_flight": self.in_flight,
                "problems": problems,
            }
        )
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})


class _Watch:
    """Cancels a call when its agent goes away."""

    def __init__(self, call: Exchange, receive: Receive, task: "asyncio.Task[None] | None") -> None:
        self._call, self._receive, self._serving = call, receive, task
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._wait())

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _wait(self) -> None:
        await self._call.request_read.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self._serving is not None:
            self._serving.cancel()


def _streamed(call: Exchange) -> bool:
    """Whether an upload of another endpoint is passed on piece by piece."""
    length = call.named.get("content-length", "")
    if "json" in call.named.get("content-type", ""):
        return False
    return "transfer-encoding" in call.named or (length.isdigit() and int(length) > STREAMED_UPLOAD)


def unpacked(body: bytes, encoding: str, limit: int) -> bytes | None:
    """The body without its content encoding; None when that is unknown, broken, or larger than `limit` bytes."""
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        return None
    try:
        inflater = zlib.decompressobj(wbits=47 if encoding != "deflate" else 15)
        plain = inflater.decompress(body, limit)
    except zlib.error:
        return None
    return plain if inflater.eof and not inflater.unconsumed_tail else None
