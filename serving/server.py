"""The student server: student versions behind OpenAI's chat completions.

An answer is checked as a whole before its first byte goes out, also when the agent asked for a stream: an invalid one
becomes a 422, and the proxy falls open to the teacher. `slots` calls are answered at a time, shared fairly by the
versions; `queue` calls may wait, one more is refused at once. A caller that hangs up, or whose deadline passes, gives
its place up, or stops the writing.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .meters import Meters
from .options import ServingOptions
from .pool import Pool
from .sag import voting_for
from .schedule import Slots
from .student import Answer, Cancelled
from .wire import COPY_HEADER, PATTERN_HEADER, Refused, checked, refusal, response, time_limit

DEADLINE_S = 60.0
"""Longest time for one answer, waiting included; `x-tutelage-timeout-ms` of a request sets less."""
WATCH_S = 2.0
"""Time between two looks at the register."""
_ANSWER_COST = 128.0
"""Work of an answer beside its prompt, in tokens: one that is written takes the time of several that are read. Of a
vote so much for each drawn answer; each takes a slot, too."""
_BYTES_A_TOKEN = 4.0
_log = logging.getLogger(__name__)


class StudentServer:
    """The endpoints over a pool. `app` is the ASGI application."""

    def __init__(self, options: ServingOptions, pool: Pool | None = None) -> None:
        self._options, self._pool = options, pool or Pool(options)
        self._writers = ThreadPoolExecutor(options.slots, thread_name_prefix="student")
        self._slots = Slots(options.slots, options.queue, self._pool.lane)
        self._meters = Meters(
            lambda: self._slots.running, lambda: self._slots.waiting, lambda: len(self._pool.versions)
        )
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
        began, model = time.monotonic(), ""
        try:
            raw = await request.body()
            body = checked(raw)
            model = body["model"] if body["model"] in self._pool.versions else ""
            answer, queued_s = await self._answered(request, body, len(raw))
        except ClientDisconnect:
            self._meters.failed(model, "cancelled")
            return Response(status_code=499)
        except Exception as error:
            refused = refusal(error)
            self._meters.failed(model, refused.code)
            return refused.response()
        self._meters.answered(body["model"], answer, queued_s, time.monotonic() - began)
        return response(body, answer)

    async def models(self, request: Request) -> Response:
        """The loaded versions."""
        made = {"object": "model", "created": self._started, "owned_by": "tutelage"}
        return JSONResponse({"object": "list", "data": [{"id": name, **made} for name in self._pool.versions]})

    async def health(self, request: Request) -> Response:
        """Up as soon as it answers, also without a student. `problems`: what cannot be served, and why."""
        problems = self._pool.problems
        return JSONResponse(
            {
                "status": "degraded" if problems else "ok",
                "students": self._pool.versions,
                "running": self._slots.running,
                "waiting": self._slots.waiting,
                "problems": [f"{name}: {why}" for name, why in problems.items()],
            }
        )

    async def refresh(self, request: Request) -> Response:
        """Look at the register now."""
        return JSONResponse({"students": await asyncio.to_thread(self._pool.refresh)})

    async def metrics(self, request: Request) -> Response:
        """Prometheus text."""
        return Response(self._meters.page(), media_type="text/plain; version=0.0.4")

    async def _answered(self, request: Request, body: dict[str, Any], size: int) -> tuple[Answer, float]:
        """The student's answer, given up when the caller hangs up or its time is over; and how long it waited, in s."""
        began, limit = time.monotonic(), time_limit(request.headers.get("x-tutelage-timeout-ms"), DEADLINE_S)
        pattern, served = request.headers.get(PATTERN_HEADER, ""), COPY_HEADER not in request.headers
        voting = voting_for(pattern, self._options.samples, self._options.least_share)
        drawn = voting.samples if voting else 1
        ticket = self._slots.enter(body["model"], drawn * _ANSWER_COST + size / _BYTES_A_TOKEN, drawn)
        gone, queued = asyncio.create_task(_hang_up(request)), 0.0
        try:
            await asyncio.wait({ticket.turn, gone}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            queued = time.monotonic() - began
            if gone.done():
                raise ClientDisconnect
            if not ticket.turn.done():
                raise _too_late(limit, queued)
            ticket.turn.result()

            def over() -> bool:
                return gone.done() or time.monotonic() > began + limit

            def write() -> Answer:
                student = self._pool.get(body["model"])
                return voting.answer(student, body, over, served) if voting else student.answer(body, over)

            return await asyncio.get_running_loop().run_in_executor(self._writers, write), queued
        except Cancelled:
            raise ClientDisconnect if gone.done() else _too_late(limit, queued) from None
        finally:
            self._slots.leave(ticket)
            gone.cancel()

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


def _too_late(limit: float, queued: float) -> Refused:
    # Half of the time in the queue: that says more about the load than about the student.
    code = "queue_timeout" if queued >= limit / 2 else "deadline_exceeded"
    return Refused(503, code, f"No answer within {limit:g} s, {queued:.1f} of them in the queue.")


async def _hang_up(request: Request) -> None:
    receive: Callable[[], Awaitable[Any]] = request.receive
    while (await receive())["type"] != "http.disconnect":
        pass
