"""The student server: student versions behind OpenAI's chat completions.

An answer is checked as a whole before its first byte goes out, also when the agent asked for a stream: an invalid one
becomes a 422, and the proxy falls open to the teacher. Answers are written by `slots` threads; `queue` calls may wait,
one more is refused at once. A caller that hangs up, or whose deadline passes, stops the writing.
"""

import asyncio
import logging
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ..traffic.canonical import loads
from ..traffic.errors import BadInput, UnknownName
from ..traffic.sse import frames_of
from .engine import ContextTooLong, EngineError
from .options import ServingOptions
from .pool import Pool
from .render import InvalidOutput
from .schemas import Uncompilable
from .student import Answer, Cancelled

DEADLINE_S = 60.0
"""Longest time for one answer, waiting included; `x-tutelage-timeout-ms` of a request sets less."""
WATCH_S = 2.0
"""Time between two looks at the register."""
_log = logging.getLogger(__name__)


class Refused(Exception):
    """A call that gets an error of OpenAI's form."""

    def __init__(self, status: int, code: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.status, self.code, self.details = status, code, details

    def response(self) -> Response:
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        error = {"message": str(self), "type": kind, "param": None, "code": self.code, **self.details}
        return JSONResponse({"error": error}, self.status)


class StudentServer:
    """The endpoints over a pool. `app` is the ASGI application."""

    def __init__(self, options: ServingOptions, pool: Pool | None = None) -> None:
        self._options = options
        self._pool = pool or Pool(options)
        self._writers = ThreadPoolExecutor(options.slots, thread_name_prefix="student")
        self._inside = 0
        self._answers: Counter[str] = Counter()
        self._tokens: Counter[str] = Counter()
        self._started = int(time.time())
        routes = [
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
            Route("/v1/models", self.models),
            Route("/health", self.health),
            Route("/metrics", self.metrics),
            Route("/admin/refresh", self.refresh, methods=["POST"]),
        ]
        self.app = Starlette(routes=routes, lifespan=self._lifespan)

    async def chat(self, request: Request) -> Response:
        """One completion; the student's version is the model's name."""
        try:
            body = _checked(await request.body())
            if self._inside >= self._options.slots + self._options.queue:
                raise Refused(429, "queue_full", f"{self._inside} calls are running or waiting; try again later.")
            answer = await self._answered(request, body)
        except ClientDisconnect:
            self._answers["cancelled"] += 1
            return Response(status_code=499)
        except Exception as error:
            refused = _refusal(error)
            self._answers[refused.code] += 1
            return refused.response()
        self._answers["ok"] += 1
        self._tokens.update({key: answer.usage[f"{key}_tokens"] for key in ("prompt", "completion")})
        return _response(body, answer)

    async def models(self, request: Request) -> Response:
        """The loaded versions."""
        made = {"object": "model", "created": self._started, "owned_by": "tutelage"}
        return JSONResponse({"object": "list", "data": [{"id": name, **made} for name in self._pool.versions]})

    async def health(self, request: Request) -> Response:
        """Up as soon as it answers, also without a student."""
        return JSONResponse({"status": "ok", "students": self._pool.versions, "running": self._inside})

    async def refresh(self, request: Request) -> Response:
        """Look at the register now."""
        return JSONResponse({"students": await asyncio.to_thread(self._pool.refresh)})

    async def metrics(self, request: Request) -> Response:
        """Prometheus text."""
        lines = ["# TYPE tutelage_student_answers_total counter"]
        lines += [f'tutelage_student_answers_total{{code="{code}"}} {n}' for code, n in self._answers.items()]
        lines.append("# TYPE tutelage_student_tokens_total counter")
        lines += [f'tutelage_student_tokens_total{{direction="{way}"}} {n}' for way, n in self._tokens.items()]
        lines += ["# TYPE tutelage_student_running gauge", f"tutelage_student_running {self._inside}"]
        return PlainTextResponse("\n".join(lines) + "\n")

    async def _answered(self, request: Request, body: dict[str, Any]) -> Answer:
        """The student's answer, given up when the caller hangs up or its time is over."""
        limit = _limit(request.headers.get("x-tutelage-timeout-ms"))
        deadline = time.monotonic() + limit
        gone = asyncio.Event()
        waited: list[float] = []

        def over() -> bool:
            return gone.is_set() or time.monotonic() > deadline

        def write() -> Answer:
            waited.append(time.monotonic() - began)
            if over():
                raise Cancelled
            return self._pool.get(body["model"]).answer(body, over)

        began = time.monotonic()
        watcher = asyncio.create_task(_hang_up(request, gone))
        self._inside += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._writers, write)
        except Cancelled:
            if gone.is_set():
                raise ClientDisconnect from None
            # Half of the time in the queue: that says more about the load than about the student.
            queued = waited[0] if waited else limit
            code = "queue_timeout" if queued >= limit / 2 else "deadline_exceeded"
            raise Refused(503, code, f"No answer within {limit:g} s, {queued:.1f} of them in the queue.") from None
        finally:
            self._inside -= 1
            watcher.cancel()

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        watcher = asyncio.create_task(self._watch())
        yield
        watcher.cancel()
        with suppress(asyncio.CancelledError):
            await watcher
        self._writers.shutdown(cancel_futures=True)
        await asyncio.to_thread(self._pool.close)

    async def _watch(self) -> None:
        """Load new versions as they are registered."""
        while True:
            try:
                await asyncio.to_thread(self._pool.refresh)
            except Exception:
                # A version that cannot be read must not end the watch: the next look may find it whole.
                _log.exception("The register of students cannot be read.")
            await asyncio.sleep(WATCH_S)


async def _hang_up(request: Request, gone: asyncio.Event) -> None:
    receive: Callable[[], Awaitable[Any]] = request.receive
    while (await receive())["type"] != "http.disconnect":
        pass
    gone.set()


def _checked(raw: bytes) -> dict[str, Any]:
    try:
        body = loads(raw)
    except BadInput as error:
        raise Refused(400, "invalid_json", str(error)) from error
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        raise Refused(400, "invalid_request", "Expected a JSON object with `model` and `messages`.")
    messages, tools = body.get("messages"), body.get("tools") or []
    if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
        raise Refused(400, "invalid_request", "Expected `messages`: a list of at least one message.")
    if not isinstance(tools, list) or not all(isinstance(t, dict) and t.get("type") == "function" for t in tools):
        raise Refused(400, "unsupported_content", "A student uses function tools only.")
    if body.get("n") not in (None, 1):
        raise Refused(400, "unsupported_content", "A student gives one answer; `n` must be 1.")
    return body


def _refusal(error: Exception) -> Refused:
    match error:
        case Refused():
            return error
        case UnknownName():
            return Refused(404, "model_not_found", str(error))
        case InvalidOutput():
            message = f"The student's answer is not a valid action: {error.reason}."
            return Refused(422, "invalid_output", message, reason=error.reason, output=error.text[:4000])
        case ContextTooLong():
            return Refused(400, "context_length_exceeded", str(error))
        case Uncompilable():
            return Refused(400, "schema_unsupported", str(error))
        case BadInput():
            return Refused(400, "unsupported_content", str(error))
        case EngineError():
            return Refused(500, "engine_error", str(error))
    _log.error("A call failed in the student server.", exc_info=error)
    return Refused(500, "internal_error", "The student server failed; its log says why.")


def _limit(header: str | None) -> float:
    with suppress(ValueError):
        return min(DEADLINE_S, max(0.0, float(header or "nan") / 1000)) if header else DEADLINE_S
    return DEADLINE_S


def _response(body: dict[str, Any], answer: Answer) -> Response:
    completion = {
        "id": f"chatcmpl-{secrets.token_hex(12)}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body["model"],
        "choices": [{"index": 0, "message": answer.message, "logprobs": None, "finish_reason": answer.finish}],
        "usage": answer.usage,
    }
    headers = {"x-tutelage-confidence": f"{answer.mean_logprob:.6f}"}
    if not body.get("stream"):
        return JSONResponse(completion, headers=headers)
    include_usage = bool((body.get("stream_options") or {}).get("include_usage"))
    return Response(b"".join(frames_of(completion, include_usage)), media_type="text/event-stream", headers=headers)
