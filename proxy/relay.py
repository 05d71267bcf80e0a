"""From decision to last byte: ask the student or the teacher and pass the answer on as it arrives.

Until the first byte of an answer has gone to the agent, anything the student does wrong falls open to the teacher.
After it the answer belongs to whoever began it.
"""

import asyncio
from contextlib import suppress
from typing import Any

import msgspec

from . import headers, openai_errors
from .callers import AcceptedCallers
from .exchange import Exchange
from .upstream import Answer, Body, Headers, Upstream, UpstreamError
from .usage import UsageFilter, asks_for_usage, with_usage

CHAT = "/v1/chat/completions"
_DONE_ENDS = (b"data: [DONE]\n\n", b"data: [DONE]\n", b"data:[DONE]\n\n", b"data: [DONE]\r\n\r\n")


class BrokenOff(Exception):
    """The upstream broke off and the agent must see that: the connection is to be dropped."""


class Relay:
    """Talks to the upstreams for one worker."""

    def __init__(
        self,
        upstream: Upstream,
        callers: AcceptedCallers,
        teacher_url: str,
        student_url: str,
        student_timeout_s: float,
        teacher_key: str = "",
    ) -> None:
        self._upstream, self._callers, self._teacher_key = upstream, callers, teacher_key
        self._teacher_url, self._student_url = teacher_url.rstrip("/"), student_url.rstrip("/")
        self._student_timeout_s = student_timeout_s
        self._usage_refused = False
        """The teacher rejects `stream_options`: don't ask it again."""

    async def student(self, call: Exchange, body: dict[str, Any]) -> bool:
        """Let the student answer; False when it could not, and nothing has been sent to the agent."""
        try:
            async with asyncio.timeout(self._student_timeout_s):
                answer, first = await self._student_begins(call, body)
        except TimeoutError:
            call.fallback = "student_timeout"
        except UpstreamError as error:
            call.fallback = error.problem.code.replace("upstream", "student")
        except _Declined as declined:
            call.fallback = str(declined)
        else:
            call.route, call.confidence = "student", _number(dict(answer.headers).get("x-tutelage-confidence"))
            await self._pass_on(call, answer, None if asks_for_usage(body) else UsageFilter(), first)
            return True
        call.route = "teacher"
        return False

    async def _student_begins(self, call: Exchange, body: dict[str, Any]) -> tuple[Answer, bytes]:
        asked: dict[str, Any] = {**body, "model": call.student}
        if not asks_for_usage(body):
            asked["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
        sent = [(n, v) for n, v in headers.to_student(call.headers) if n not in ("content-type", "content-encoding")]
        sent.append(("content-type", "application/json"))
        answer = await self._upstream.send("POST", f"{self._student_url}/chat/completions", sent, _encoded(asked))
        try:
            first = await answer.piece()
            if answer.status != 200 or not first or first.startswith((b'data: {"error"', b'{"error"')):
                raise _Declined(await _decline_reason(answer, first or b""))
        except BaseException:
            # Also when the time is up: a student that is let go must not go on generating.
            await answer.close()
            raise
        return answer, first

    async def teacher(self, call: Exchange, raw: bytes, body: dict[str, Any] | None) -> None:
        """Let the teacher answer a chat call. `body` is None where the request could not be read."""
        own_ask = body is not None and not self._usage_refused and not asks_for_usage(body)
        asked = with_usage(raw, body) if own_ask and body is not None else raw
        answer = await self._ask(call, asked)
        if answer is None:
            return
        self._callers.note(call.caller, answer.status)
        if own_ask and answer.status in (400, 422):
            refusal = await _rest(answer)
            if b"stream_options" not in refusal:
                await self._pass_on(call, answer, None, refusal)
                return
            await answer.close()
            self._usage_refused, own_ask = True, False
            answer = await self._ask(call, raw)
            if answer is None:
                return
        await self._pass_on(call, answer, UsageFilter() if own_ask else None)

    async def other(self, call: Exchange, body: Body, target: str) -> None:
        """Pass a call of another endpoint through; `target` is the path after `/v1` with its query."""
        answer = await self._ask(call, body, target)
        if answer is not None:
            self._callers.note(call.caller, answer.status)
            call.stream = "event-stream" in dict(answer.headers).get("content-type", "")
            await self._pass_on(call, answer, None)

    async def _ask(self, call: Exchange, body: Body, target: str = "/chat/completions") -> Answer | None:
        sent: Headers = headers.to_teacher(call.headers, self._teacher_key)
        if not isinstance(body, bytes) and "content-length" in call.named:
            sent.append(("content-length", call.named["content-length"]))
        try:
            return await self._upstream.send(call.method, self._teacher_url + target, sent, body)
        except UpstreamError as error:
            await call.refuse(error.problem, "teacher")
            return None

    async def _pass_on(self, call: Exchange, answer: Answer, usage: UsageFilter | None, first: bytes = b"") -> None:
        try:
            await self._head(call, answer)
            try:
                await _pump(call, answer, usage if call.stream else None, first)
            except UpstreamError as error:
                await _broke_off(call, error)
        finally:
            await answer.close()

    async def _head(self, call: Exchange, answer: Answer) -> None:
        length = dict(answer.headers).get("content-length", "")
        streams = call.stream and "event-stream" in dict(answer.headers).get("content-type", "")
        await call.begin(answer.status, answer.headers, int(length) if length.isdigit() and not streams else None)


async def _pump(call: Exchange, answer: Answer, usage: UsageFilter | None, first: bytes) -> None:
    piece: bytes | None = first or await answer.piece()
    while piece is not None:
        call.keep(piece)
        if piece.endswith(_DONE_ENDS):
            call.log()
        out = usage.feed(piece) if usage else piece
        if out:
            await call.body(out, more=True)
        piece = await answer.piece()
    call.log()
    await call.body(usage.finish() if usage else b"", more=False)


async def _broke_off(call: Exchange, error: UpstreamError) -> None:
    """Tell the agent that the answer stops here: by an error event, or by dropping the connection."""
    call.error = error.problem.code
    call.log()
    if "event-stream" not in call.response_type:
        raise BrokenOff from error
    await call.body(error.problem.frame(), more=False)


class _Declined(Exception):
    """The student answered, but with an error."""


async def _decline_reason(answer: Answer, first: bytes) -> str:
    text = first + await _rest(answer)
    with suppress(msgspec.DecodeError, AttributeError, TypeError):
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
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
