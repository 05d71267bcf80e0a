"""From decision to last byte: ask the student or a teacher and pass the answer on as it arrives.

Until the first byte of an answer has gone to the agent, anything the student does wrong falls open to the teacher.
After it the answer belongs to whoever began it.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from math import isfinite
from typing import Any

import msgspec

from . import headers, openai_errors
from .breaker import Breaker
from .callers import AcceptedCallers
from .exchange import Exchange
from .http_messages import Headers, SentHeaders
from .retries import Retries
from .teachers import DEFAULT, Teacher, Teachers, merged_models
from .threshold import accepts
from .upstream import Answer, Body, Upstream, UpstreamError
from .usage import UsageFilter, asks_for_usage, with_model, with_usage

CHAT = "/v1/chat/completions"
MODELS = "/v1/models"
TIMEOUT_HEADER = "x-tutelage-timeout-ms"
SERVER_SHARE = 0.95
"""Part of the student's time that its server is told, so that it can still say why there is no answer."""
_DONE_ENDS = (b"data: [DONE]\n\n", b"data:[DONE]\n\n", b"data: [DONE]\r\n\r\n")


@dataclass
class Relay:
    """Talks to the upstreams for one worker."""

    upstream: Upstream
    callers: AcceptedCallers
    teachers: Teachers
    student_url: str
    student_timeout_s: float
    retries: Retries
    breakers: dict[str, Breaker]
    """By name of the teacher; the student's under `student`."""
    _usage_refused: set[str] = field(default_factory=set)
    """Teachers that reject `stream_options`: they are not asked again."""
    _asking: int = 0
    """Calls that the student is busy with."""

    async def student(self, call: Exchange, body: dict[str, Any]) -> bool:
        """Let the student answer; False when it could not, and nothing has been sent to the agent."""
        breaker = self.breakers["student"]
        if breaker.allow():
            self._asking += 1
            busy = self._asking > 1
            try:
                async with asyncio.timeout(self.student_timeout_s):
                    answer, first = await self._student_begins(call, body)
            except TimeoutError:
                breaker.failure()
                # With others in the queue, the time that it took says little about the student.
                call.fallback = "student_timeout_busy" if busy or self._asking > 1 else "student_timeout"
            except UpstreamError as error:
                _note(breaker, error)
                call.fallback = error.problem.code.replace("upstream", "student")
            except _Declined as declined:
                breaker.note(declined.status)
                call.fallback = declined.reason
            except BaseException:
                breaker.cancelled()
                raise
            else:
                breaker.success()
                call.route = "student"
                usage = None if asks_for_usage(body) else UsageFilter()
                await self._pass_on(call, answer, usage, whole=not call.stream, first=first)
                return True
            finally:
                self._asking -= 1
        else:
            call.fallback = "student_breaker_open"
        call.route = "teacher"
        return False

    async def _student_begins(self, call: Exchange, body: dict[str, Any]) -> tuple[Answer, bytes]:
        asked: dict[str, Any] = {**body, "model": call.student}
        if not asks_for_usage(body):
            asked["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
        sent = [(n, v) for n, v in headers.to_student(call.headers) if n not in ("content-type", "content-encoding")]
        sent += [
            ("content-type", "application/json"),
            ("x-tutelage-pattern", call.pattern),
            (TIMEOUT_HEADER, f"{SERVER_SHARE * 1000 * self.student_timeout_s:.0f}"),
        ]
        url = f"{self.student_url}/chat/completions"
        call.asking()
        answer = await self.upstream.send("POST", url, sent, _encoded(asked), whole=not call.stream)
        try:
            first = await answer.piece()
            if answer.status != 200 or not first or first.startswith((b'data: {"error"', b'{"error"')):
                raise _Declined(answer.status, await _decline_reason(answer, first or b""))
            call.confidence = _number(dict(answer.headers).get("x-tutelage-confidence"))
            if not accepts(call.threshold, call.confidence):
                raise _Declined(answer.status, "low_confidence")
        except BaseException:
            # Also when the time is up: a student that is let go must not go on generating.
            await answer.close()
            raise
        return answer, first

    async def teacher(self, call: Exchange, raw: bytes, body: dict[str, Any] | None) -> None:
        """Let a teacher answer a chat call. `body` is None where the request could not be read."""
        teacher = self.teachers.of(call.model)
        if teacher.model and body is not None:
            raw, body = with_model(raw, teacher.model), {**body, "model": teacher.model}
        own_ask = body is not None and not asks_for_usage(body) and teacher.name not in self._usage_refused
        asked = with_usage(raw, body) if own_ask and body is not None else raw
        whole = body is not None and not call.stream
        answer = await self._ask(call, teacher, asked, whole=whole)
        if answer is None:
            return
        if own_ask and answer.status in (400, 422):
            refusal = await _rest(answer)
            if b"stream_options" not in refusal:
                await self._pass_on(call, answer, None, whole=True, first=refusal)
                return
            await answer.close()
            self._usage_refused.add(teacher.name)
            own_ask = False
            answer = await self._ask(call, teacher, raw)
            if answer is None:
                return
        await self._pass_on(call, answer, UsageFilter() if own_ask else None, whole)

    async def other(self, call: Exchange, body: Body, target: str) -> None:
        """Pass a call of another endpoint through; `target` is the path after `/v1` with its query."""
        teacher = self.teachers.of(call.model)
        if teacher.model and call.model and isinstance(body, bytes):
            body = with_model(body, teacher.model)
        answer = await self._ask(call, teacher, body, target)
        if answer is not None:
            call.stream = "event-stream" in dict(answer.headers).get("content-type", "")
            await self._pass_on(call, answer, None, whole=False)

    async def models(self, call: Exchange, target: str) -> None:
        """The models of all teachers in one list."""
        every = self.teachers.every()
        if len(every) == 1:
            await self.other(call, b"", target)
            return
        lists = await asyncio.gather(*(self._models_of(call, teacher, target) for teacher in every))
        merged = merged_models({teacher.name: answer for teacher, answer in zip(every, lists, strict=True)})
        call.whole(200, [("content-type", "application/json")], merged)

    async def _models_of(self, call: Exchange, teacher: Teacher, target: str) -> bytes:
        if call.admission.refuse_teacher(teacher.key, _key_setting(teacher)) is not None:
            return b""
        with suppress(UpstreamError):
            sent = headers.to_teacher(call.headers, teacher.key)
            answer = await self.upstream.send("GET", teacher.url + target, sent, b"", whole=True)
            body = await _rest(answer)
            await answer.close()
            return body if answer.status == 200 else b""
        return b""

    async def _ask(
        self, call: Exchange, teacher: Teacher, body: Body, target: str = "/chat/completions", whole: bool = False
    ) -> Answer | None:
        """The teacher's answer; None when there is none and the agent has been told."""
        breaker = self.breakers[teacher.name]
        call.teacher = teacher.name
        keyless = call.admission.refuse_teacher(teacher.key, _key_setting(teacher))
        if keyless is not None:
            call.refuse(keyless)
            return None
        if not breaker.allow():
            call.refuse(openai_errors.breaker_open(teacher.name, breaker.retry_after_s), "teacher")
            return None
        sent, url = _sent(call, teacher), teacher.url + target
        if not isinstance(body, bytes) and "content-length" in call.named:
            sent = [*sent, ("content-length", call.named["content-length"])]
        call.asking()
        self.retries.budget.call()
        try:
            try:
                answer = await self.upstream.send(call.method, url, sent, body, whole=whole)
            except UpstreamError as error:
                if not isinstance(body, bytes):
                    raise
                again = partial(self.upstream.send, call.method, url, sent, body, whole=whole)
                answer = await self.retries.again(error, again)
        except UpstreamError as error:
            _note(breaker, error)
            call.refuse(error.problem, "teacher")
            return None
        except BaseException:
            breaker.cancelled()
            raise
        breaker.note(answer.status)
        self.callers.note(call.caller, answer.status)
        return answer

    async def _pass_on(
        self, call: Exchange, answer: Answer, usage: UsageFilter | None, whole: bool, first: bytes = b""
    ) -> None:
        """`whole`: the upstream was asked for one piece; `first`: what has been read of it."""
        try:
            if whole:
                call.whole(answer.status, answer.headers, first or await answer.piece() or b"")
                return
            _begin(call, answer)
            try:
                await _pump(call, answer, usage if call.stream and not call.response_encoding else None, first)
            except UpstreamError as error:
                await _broke_off(call, error)
        finally:
            await answer.close()


def _sent(call: Exchange, teacher: Teacher) -> Headers:
    """What the teacher gets of the agent's headers; the same list for heads that are the same."""
    key = ("sent", teacher.name)
    sent = call.known.get(key)
    if sent is None:
        sent = call.known[key] = SentHeaders(headers.to_teacher(call.headers, teacher.key))
    return sent


def _key_setting(teacher: Teacher) -> str:
    return "proxy.teacher_key_env" if teacher.name == DEFAULT else f"teachers.{teacher.name}.key_env"


def _note(breaker: Breaker, error: UpstreamError) -> None:
    """What the agent did wrong says nothing about the upstream."""
    if error.problem.status >= 500:
        breaker.failure()
    else:
        breaker.cancelled()


def _begin(call: Exchange, answer: Answer) -> None:
    found = dict(answer.headers)
    length = found.get("content-length", "")
    streams = call.stream and "event-stream" in found.get("content-type", "")
    call.begin(answer.status, answer.headers, int(length) if length.isdigit() and not streams else None)


async def _pump(call: Exchange, answer: Answer, usage: UsageFilter | None, first: bytes) -> None:
    reply = call.reply
    piece: bytes | None = first or await answer.piece()
    while piece is not None:
        call.keep(piece)
        if piece.endswith(_DONE_ENDS):
            call.log()
        out = usage.feed(piece) if usage else piece
        if out:
            await reply.write(out)
        piece = await answer.piece()
    call.log()
    if usage:
        await reply.write(usage.finish())
    reply.end()


async def _broke_off(call: Exchange, error: UpstreamError) -> None:
    """Tell the agent that the answer stops here: by an error event, or by dropping the connection."""
    call.error = error.problem.code
    call.log()
    if "event-stream" not in call.response_type:
        call.reply.abort()
        return
    await call.reply.write(error.problem.frame())
    call.reply.end()


class _Declined(Exception):
    """The student answered, but with an error."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


async def _decline_reason(answer: Answer, first: bytes) -> str:
    text = first + await _rest(answer)
    with suppress(msgspec.DecodeError, AttributeError, LookupError, TypeError):
        code = msgspec.json.decode(text.removeprefix(b"data: ").split(b"\n\n")[0])["error"]["code"]
        if isinstance(code, str) and code:
            return f"student_{code}"
    return f"student_status_{answer.status}" if answer.status != 200 else "student_empty"


async def _rest(answer: Answer) -> bytes:
    pieces = []
    with suppress(UpstreamError):
        while (piece := await answer.piece()) is not None:
            pieces.append(piece)
    return b"".join(pieces)


def _encoded(body: dict[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(body)
    except (UnicodeEncodeError, OverflowError) as error:
        raise UpstreamError(openai_errors.bad_json("It holds text that is not Unicode.")) from error


def _number(text: str | None) -> float | None:
    with suppress(ValueError):
        number = float(text or "nan")
        return number if isfinite(number) else None
    return None
