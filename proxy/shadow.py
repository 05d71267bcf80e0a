"""Labels from the log: the student's answer beside the teacher's, never on the request path.

Two runners of one form. The *shadow* runner sends a copy of a call that the teacher has answered to the student; the
*audit* runner sends a copy of a call that the student has answered to the teacher. Either way the two answers are
compared by `traffic.compare` and the row goes to the keeper.

A student that fails (timeout, invalid output, an error) has lost: loss 1 with the reason. A server that cannot be
reached at all says nothing about the student: the call waits and `RunnerStatus` says so. Nothing is remembered here
that the store doesn't know, so a restart repeats at most the calls that were in flight.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import httpx

from ..traffic.compare import COMPARATOR, DEFAULT_POLICY, Verdict, compare
from ..traffic.tool_policy import ToolPolicy
from .pace import Pace
from .replies import Message, Reply, read_student, read_teacher

SHADOW, AUDIT = "shadow", "audit"
MAX_TRIES = 3
"""A connection that breaks this often in mid-answer on one call is the student's loss, not the network's."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """One label to get."""

    kind: str
    """`shadow` or `audit`."""
    call_id: str
    pattern_id: str
    trajectory_id: str
    student: str
    request: dict[str, Any]
    """The logged request, rebuilt."""
    answer: Message | None
    """The logged answer: the teacher's in shadow, the student's in audit; None when there was none."""
    usage: tuple[int | None, int | None] = (None, None)
    """Prompt and completion tokens of the logged answer."""
    latency_ms: float | None = None
    """Of the logged answer."""
    failure: str = ""
    """Audit only: why the student, though chosen, did not answer. The label is then known: loss 1, nobody is asked."""

    @property
    def key(self) -> tuple[str, str, str]:
        return self.call_id, self.student, self.kind


@dataclass(frozen=True)
class Label:
    """One comparison, as the keeper stores it."""

    task: Task
    loss: float
    reason: str
    comparator: int
    reply: Message | None
    """The answer that was asked for here: the student's in shadow, the teacher's in audit."""
    at: float
    latency_ms: float | None
    usage: tuple[int | None, int | None] = (None, None)
    policy: str = ""
    """Digest of the tool policy it was made under."""
    waits: bool = False
    """A judge is to decide what the rules could not."""
    score: float | None = None
    """How sure the student said it was; None where its server does not say."""


@dataclass(frozen=True)
class RunnerStatus:
    """What a runner is doing, for `/api/status` and the dashboard."""

    kind: str
    done: int = 0
    losses: float = 0.0
    in_flight: int = 0
    problem: str = ""
    """Why labels are not coming, in words; empty when all is well."""
    since: float = 0.0
    """When the problem began, Unix seconds."""


class LabelSource(Protocol):
    """Where tasks come from and labels go: the keeper. Both are called from worker threads."""

    def tasks(self, kind: str, limit: int) -> Sequence[Task]: ...

    def deliver(self, label: Label) -> None: ...


@dataclass
class Endpoint:
    """Who is asked."""

    url: str
    """Base URL with its `/v1`."""
    headers: dict[str, str] = field(default_factory=dict)
    timeout_s: float = 60.0
    model: str = ""
    """Model to ask for instead of the logged one; empty: as logged."""


Asked = Callable[[str], Endpoint]
"""Who is asked about calls that name a model."""
Referee = Callable[[Task, Reply, float], Label]
"""Makes the label of a task from what the asked side said, at a time; see `judge`."""


class Runner:
    """Asks about the tasks of one kind, `concurrency` at a time. `asked` says whom, by the logged model."""

    def __init__(
        self,
        kind: str,
        source: LabelSource,
        asked: Asked,
        client: httpx.AsyncClient,
        *,
        concurrency: int = 4,
        idle_s: float = 0.2,
        backoff_s: float = 1.0,
        clock: Callable[[], float] = time.time,
        pace: Pace | None = None,
        referee: Referee | None = None,
    ) -> None:
        self.status = RunnerStatus(kind)
        self._kind, self._source, self._asked, self._client = kind, source, asked, client
        self._concurrency, self._idle_s, self._backoff_s, self._clock = concurrency, idle_s, backoff_s, clock
        self._pace, self._referee = pace or Pace(0), referee or judge
        self._tries: dict[tuple[str, str, str], int] = {}

    async def run(self) -> None:
        """Work until cancelled. An unexpected error is logged and shown, and work goes on after a pause."""
        while True:
            try:
                worked = await self.round()
            except Exception as error:
                logger.exception("The %s runner failed and will try again", self._kind)
                self._note(f"{type(error).__name__}: {error}")
                worked = False
            if not worked:
                await asyncio.sleep(self._backoff_s if self.status.problem else self._idle_s)

    async def round(self) -> bool:
        """Label what is due now. False when there was nothing, or when the other side cannot be asked."""
        tasks = await asyncio.to_thread(self._source.tasks, self._kind, self._concurrency * 16)
        queue = list(reversed(by_session(tasks)))
        answered = False

        async def worker() -> None:
            nonlocal answered
            while queue:
                for task in queue.pop():
                    if await self._label(task):
                        answered = True
                    else:
                        # Whoever cannot be asked now won't be able to answer the next question either.
                        queue.clear()
                        return

        workers = [asyncio.create_task(worker()) for _ in range(min(self._concurrency, len(queue)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for task in workers:
                task.cancel()
            self.status = replace(self.status, in_flight=0)
        return answered

    async def _label(self, task: Task) -> bool:
        """Get one label; False when it has to wait."""
        if not task.failure:
            await self._pace.turn()
        self.status = replace(self.status, in_flight=self.status.in_flight + 1)
        try:
            reply = Reply(failure=task.failure) if task.failure else await self._ask(task)
        finally:
            self.status = replace(self.status, in_flight=self.status.in_flight - 1)
        if reply.retry:
            self._note(reply.retry)
            return False
        # In a thread: a referee may have to look something up in the store.
        label = await asyncio.to_thread(self._referee, task, reply, self._clock())
        label = replace(label, score=reply.score)
        await asyncio.to_thread(self._source.deliver, label)
        self._tries.pop(task.key, None)
        self.status = replace(
            self.status, done=self.status.done + 1, losses=self.status.losses + label.loss, problem="", since=0.0
        )
        return True

    async def _ask(self, task: Task) -> Reply:
        # ASCII with escapes: logged text may hold lone surrogates, which UTF-8 cannot carry.
        asked = self._asked(str(task.request.get("model") or ""))
        body = json.dumps(question(task) | ({"model": asked.model} if asked.model else {})).encode()
        headers = {"content-type": "application/json", **asked.headers}
        if self._kind == SHADOW:
            headers |= {"x-tutelage-pattern": task.pattern_id, "x-tutelage-copy": SHADOW}
        started = time.monotonic()
        try:
            async with asyncio.timeout(asked.timeout_s):
                url = asked.url.rstrip("/") + "/chat/completions"
                response = await self._client.post(url, content=body, headers=headers)
        except (httpx.TimeoutException, TimeoutError):
            return self._late(asked, time.monotonic() - started)
        except httpx.ConnectError as error:
            return Reply(retry=f"{asked.url} cannot be reached ({error}); it is asked again.")
        except httpx.TransportError as error:
            return self._broken(asked, task, error)
        elapsed = (time.monotonic() - started) * 1000
        if self._kind == SHADOW:
            return replace(read_student(response), latency_ms=elapsed)
        return replace(self._settle(task, read_teacher(response), response.status_code), latency_ms=elapsed)

    def _settle(self, task: Task, reply: Reply, status: int) -> Reply:
        """A request that the teacher keeps refusing has no reference: counted as lost, for no data is not a pass."""
        if not reply.retry or status not in (400, 404, 413, 422):
            return reply
        tries = self._tries[task.key] = self._tries.get(task.key, 0) + 1
        return Reply(failure=f"teacher_http_{status}") if tries >= MAX_TRIES else reply

    def _late(self, asked: Endpoint, seconds: float) -> Reply:
        """A silent student has lost; a silent teacher says nothing about the student."""
        if self._kind == SHADOW:
            return Reply(failure="timeout", latency_ms=seconds * 1000)
        return Reply(retry=f"{asked.url} did not answer within {asked.timeout_s:g} s.")

    def _broken(self, asked: Endpoint, task: Task, error: httpx.TransportError) -> Reply:
        tries = self._tries[task.key] = self._tries.get(task.key, 0) + 1
        if self._kind == SHADOW and tries >= MAX_TRIES:
            return Reply(failure="connection_broken")
        return Reply(retry=f"{asked.url} broke the connection ({error or type(error).__name__}).")

    def _note(self, problem: str) -> None:
        since = self.status.since or self._clock()
        self.status = replace(self.status, problem=problem, since=since)


def by_session(tasks: Sequence[Task]) -> list[list[Task]]:
    """The tasks of each session together and in the order of its calls: a call's prompt begins with the one before it,
    and an engine that has just read that need not read it again."""
    groups: dict[str, list[Task]] = {}
    for task in tasks:
        groups.setdefault(task.trajectory_id, []).append(task)
    return [sorted(group, key=lambda task: task.call_id) for group in groups.values()]


def question(task: Task) -> dict[str, Any]:
    """The request to send: the logged one, answered in one piece, by the student's version in shadow."""
    body = {name: value for name, value in task.request.items() if name not in ("stream", "stream_options")}
    return {**body, "model": task.student} if task.kind == SHADOW else body


def judge(task: Task, reply: Reply, at: float, policy: ToolPolicy = DEFAULT_POLICY) -> Label:
    """Compare the two answers of a task. The logged one is the reference, but in audits, where the student gave it."""
    tools = task.request.get("tools") or []
    theirs, ours = (reply.message, task.answer) if task.kind == AUDIT else (task.answer, reply.message)
    if reply.failure or theirs is None or ours is None:
        verdict = Verdict(1.0, reply.failure or "missing", COMPARATOR, policy.digest)
    else:
        verdict = compare(theirs, ours, tools, policy)
    return Label(
        task,
        verdict.loss,
        verdict.reason,
        verdict.comparator,
        reply.message,
        at,
        reply.latency_ms,
        reply.usage,
        policy=verdict.policy,
    )
