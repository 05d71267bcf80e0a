"""The agents' port: what happens to one request.

Per call: parse the body once, identify, look the route up in memory, relay, append one record. No database and no
model on this path, and whatever the control plane or the student does, the teacher's answer comes through.
"""

import asyncio
import logging
import os
import re
import zlib
from collections.abc import Awaitable
from dataclasses import asdict, dataclass, field
from typing import Any

import msgspec

from ..traffic.errors import BadInput
from ..traffic.journal import JournalWriter
from ..traffic.patterns import RegistryReader, facts_of
from ..traffic.tool_lists import load_request
from . import feedback, intake, openai_errors, otlp
from .decide import decide
from .exchange import Exchange, is_text
from .http_messages import Reply, Request
from .identify import call_facts, names_in
from .keys import Admission, KeyRing
from .metrics_workers import Overhead, Report
from .relay import CHAT, MODELS, Relay
from .routes import RouteReader

log = logging.getLogger("tutelage.proxy")
STREAMED_UPLOAD = 1 << 20
"""Uploads of other endpoints that are no JSON are passed on piece by piece beyond this size, in bytes."""
_ADMISSION, _NAMES = "admission", "names"
HEALTH = ("/health", "/tutelage/health")
_CLIMBS = re.compile(r"(?i)(?:/|\\|%2f|%5c)(?:\.|%2e){1,2}(?:/|\\|%2f|%5c|$)|#")
"""Paths that could lead out of the teacher's `/v1`."""


@dataclass
class DataPlane:
    """One worker: answers requests with a relay, the published tables and a journal."""

    relay: Relay
    journal: JournalWriter
    registry: RegistryReader
    routes: RouteReader
    keys: KeyRing
    max_body_bytes: int
    max_concurrent: int = 2000
    intake: bool = True
    in_flight: int = 0
    overhead: Overhead = field(default_factory=Overhead)

    def wants_pieces(self, request: Request) -> bool:
        """Whether an upload of another endpoint is passed on piece by piece."""
        if request.path in (CHAT, intake.PATH, otlp.PATH) or "json" in request.named.get("content-type", ""):
            return False
        length = request.named.get("content-length", "")
        return "transfer-encoding" in request.named or (length.isdigit() and int(length) > STREAMED_UPLOAD)

    async def __call__(self, request: Request, reply: Reply) -> None:
        """Serve one request."""
        if request.path in HEALTH and request.method == "GET":
            self._health(reply)
            return
        call = self._exchange(request, reply)
        self.in_flight += 1
        try:
            waiting = self._serve(call, request)
            if waiting is not None:
                await waiting
        except asyncio.CancelledError:
            call.cancelled = True
            raise
        except Exception:
            log.exception("%s %s failed", call.method, call.path)
            if reply.begun:
                call.error = "proxy_fault"
                reply.abort()
            else:
                call.refuse(openai_errors.internal())
        finally:
            call.log()
            self.in_flight -= 1
            if call.own_s:
                self.overhead.note(call.route, call.own_s)

    def _exchange(self, request: Request, reply: Reply) -> Exchange:
        named = request.named
        names = request.known.get(_NAMES)
        if names is None:
            names = request.known[_NAMES] = names_in(named)
        return Exchange(
            reply,
            self.journal.append,
            request.method,
            request.path,
            request.headers,
            named,
            self.max_body_bytes,
            request.known,
            names=names,
            trajectory=names.trajectory,
            hint=names.hint,
            parent=names.parent,
            retry=names.retry,
        )

    def _serve(self, call: Exchange, request: Request) -> Awaitable[None] | None:
        """Answer the call; what is still to be waited for, if anything."""
        admission = call.admission = call.known.get(_ADMISSION) or self._admit(call)
        call.caller = admission.caller
        problem = request.problem or admission.problem
        if problem is not None:
            call.refuse(problem)
        elif self.in_flight > self.max_concurrent:
            call.refuse(openai_errors.busy(self.max_concurrent))
        elif call.path == CHAT and call.method == "POST":
            return self._chat(call, request.body)
        elif call.path == feedback.PATH:
            self._feedback(call, request.body)
        elif call.path == intake.PATH:
            plain = unpacked(request.body, call.named.get("content-encoding", ""), self.max_body_bytes)
            return intake.serve(call, plain, lambda: self.journal.stats.behind, self.intake)
        elif call.path == otlp.PATH:
            plain = unpacked(request.body, call.named.get("content-encoding", ""), self.max_body_bytes)
            return otlp.serve(call, plain, lambda: self.journal.stats.behind, self.intake)
        elif call.path.startswith("/v1/") and not _CLIMBS.search(call.path):
            return self._other(call, request)
        else:
            call.refuse(openai_errors.unknown_path(call.method, call.path))
        return None

    def _admit(self, call: Exchange) -> Admission:
        admission = self.keys.admit(call.named, call.started_at)
        if admission.ok and not admission.key_id:
            call.known[_ADMISSION] = admission  # the agent's own key, on which there is nothing to look up
        return admission

    def _feedback(self, call: Exchange, raw: bytes) -> None:
        plain = unpacked(raw, call.named.get("content-encoding", ""), self.max_body_bytes)
        feedback.serve(call, plain)

    def _chat(self, call: Exchange, raw: bytes) -> Awaitable[None] | None:
        plain = unpacked(raw, call.named.get("content-encoding", ""), self.max_body_bytes)
        call.request = raw if plain is None else plain
        if plain is None:
            call.reason = "cannot:content_encoding"
            return None if _forbidden(call) else self.relay.teacher(call, raw, None)
        if plain is not raw:
            call.headers = [pair for pair in call.headers if pair[0] != "content-encoding"]
            call.known = {}
        try:
            body = load_request(plain)
        except BadInput as error:
            call.refuse(openai_errors.bad_json(str(error)))
            return None
        if not isinstance(body, dict):
            call.refuse(openai_errors.bad_json(f"A {type(body).__name__} came."))
            return None
        to_student = self._decide(call, body)
        if _forbidden(call):
            return None
        return self._student_first(call, plain, body) if to_student else self.relay.teacher(call, plain, body)

    async def _student_first(self, call: Exchange, plain: bytes, body: dict[str, Any]) -> None:
        if not await self.relay.student(call, body):
            await self.relay.teacher(call, plain, body)

    def _decide(self, call: Exchange, body: dict[str, Any]) -> bool:
        """Whether the student shall answer; notes what was found out about the call."""
        facts = call_facts(call.names, body, len(call.request), call.caller)
        shape = facts_of(body)
        match = self.registry.current().identify(shape, facts.hint) if shape is not None else None
        decision = decide(facts, match, self.routes.current(), lambda: self._accepted(call))
        model = body.get("model")
        call.model = model if isinstance(model, str) else ""
        call.session, call.stream = facts.session, facts.stream
        if "metadata" in body:
            call.trajectory, call.parent, call.hint = facts.trajectory, facts.parent, facts.hint
        call.pattern = match.pattern_id if match is not None else ""
        call.route, call.reason, call.student = decision.route, decision.reason, decision.student
        call.threshold = decision.threshold
        return decision.route == "student"

    def _accepted(self, call: Exchange) -> bool:
        """Whether the student may serve this caller: it must not become a free model for anyone who can reach it."""
        return bool(call.admission.key_id) or self.relay.callers.accepted(call.caller)

    async def _other(self, call: Exchange, request: Request) -> None:
        call.reason = "other_endpoint"
        target = call.path.removeprefix("/v1")
        target = f"{target}?{request.query}" if request.query else target
        if call.path == MODELS and call.method == "GET":
            await self.relay.models(call, target)
            return
        # Files and sound are not for the log.
        call.request = request.body if is_text(call.named.get("content-type", "")) else b""
        call.model = _model_of(call.request)
        body = request.pieces or request.body
        if not (body and _forbidden(call)):
            await self.relay.other(call, body, target)

    def report(self, now: float) -> Report:
        """What this worker has counted, for the control plane. `now`: Unix seconds."""
        stats = self.journal.stats
        return Report(
            at=now,
            pid=os.getpid(),
            appended=stats.appended,
            dropped=stats.dropped,
            lost=stats.lost,
            unsynced=stats.unsynced,
            stalls=stats.stalls,
            retries=self.relay.retries.made,
            waiting=stats.appended - stats.written,
            waiting_bytes=stats.queue_bytes,
            in_flight=self.in_flight,
            table_serial=self.routes.current().serial,
            breakers={name: breaker.report() for name, breaker in self.relay.breakers.items()},
            overhead=self.overhead.steps,
        )

    def _health(self, reply: Reply) -> None:
        problems = [text for text in (self.routes.error, self.registry.error, self.keys.error) if text]
        stats = asdict(self.journal.stats)
        body = msgspec.json.encode(
            {
                "status": "ok" if not (stats["lost"] or stats["dropped"] or problems) else "impaired",
                "journal": stats,
                "table_serial": self.routes.current().serial,
                "patterns": len(self.registry.current()),
                "in_flight": self.in_flight,
                "breakers": {name: breaker.report() for name, breaker in self.relay.breakers.items()},
                "retries": self.relay.retries.made,
                "problems": problems,
            }
        )
        reply.whole(200, [("content-type", "application/json")], body)


def _forbidden(call: Exchange) -> bool:
    """Refuse a call whose key is not good for the model that it names, or for none."""
    problem = call.admission.refuse_model(call.model)
    if problem is not None:
        call.refuse(problem)
    return problem is not None


class _Named(msgspec.Struct):
    model: str = ""


_named = msgspec.json.Decoder(_Named)


def _model_of(body: bytes) -> str:
    """The model that a body names; empty when it names none."""
    if b'"model"' not in body:
        return ""
    try:
        return _named.decode(body).model
    except msgspec.DecodeError:
        return ""


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
