"""The judge at work: asks about the pairs in its queue, a few at a time, within its budget.

It never stands in anybody's way: it has its own connections and its own pace, the runners go on without it, and a
session is held back for it only for a limited time. A server that is away or busy is asked again later; a pair on which
it says nothing of use three times is given up, and stays the loss that it was.
"""

import asyncio
import json
import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from ..traffic.actions import text_of
from ..traffic.store import Store
from .judge import Answer, Question, decide, questions, read, version_of
from .judge_queue import Case, JudgeQueue
from .ledger import cost, price_of
from .options import JudgeOptions, Price
from .replies import Reply, read_judge
from .shadow import RunnerStatus
from .verdicts import ACCEPT, FAILED, JUDGE, Said, release, say

MAX_TRIES = 3
"""Answers without a verdict on one pair before it is given up."""
IDLE_S, BACKOFF_S = 2.0, 10.0

logger = logging.getLogger(__name__)


@dataclass
class _Asked:
    """What one pair has cost so far."""

    tries: int = 0
    questions: int = 0
    usage: list[int] = field(default_factory=lambda: [0, 0])


class _Later(Exception):
    """The judge cannot be asked now."""


class Judging:
    """The judge of one store. `run` belongs to one event loop; the store is asked from worker threads."""

    def __init__(
        self,
        store: Store,
        options: JudgeOptions,
        prices: dict[str, Price],
        client: httpx.AsyncClient,
        clock: Callable[[], float] = time.time,
        key: str | None = None,
    ) -> None:
        """`key`: to send instead of the environment's."""
        self._store, self._options, self._client, self._clock = store, options, client, clock
        self.status = RunnerStatus(JUDGE)
        self.version = version_of(options.model, options.extra) if options.url else ""
        self.given_up = 0
        self._price = price_of(options.model, prices)
        self.queue = JudgeQueue(store, options, self.version, priced=self._price is not None)
        self._key = os.environ.get(options.key_env, "") if key is None else key
        self._asked: dict[Any, _Asked] = {}

    async def run(self) -> None:
        """Work until cancelled. Without a judge, pairs that waited for one are let go and nothing else happens."""
        while True:
            try:
                worked = await self.round()
            except Exception as error:
                logger.exception("The judge failed and will try again")
                self._note(f"{type(error).__name__}: {error}")
                worked = False
            if not self._options.url:
                return
            if not worked:
                await asyncio.sleep(BACKOFF_S if self.status.problem else IDLE_S)

    async def round(self) -> bool:
        """Judge what is due now. False when there was nothing, or when it cannot be asked."""
        now = self._clock()
        overdue = now - self._options.wait_s if self._options.url else math.inf
        await asyncio.to_thread(release, self._store, overdue)
        if not self._options.url:
            return False
        cases = await asyncio.to_thread(self.queue.cases, now, self._options.concurrency * 8)
        if not cases:
            self.status = replace(self.status, problem="", since=0.0)
            return False
        waiting, worked = list(reversed(cases)), False

        async def worker() -> None:
            nonlocal worked
            while waiting:
                case = waiting.pop()
                # Asked before each pair, so that several at a time exceed the budget by what is in flight at most.
                if why := await asyncio.to_thread(self.queue.room, self._clock()):
                    self._note(f"The judge rests: {why}")
                    waiting.clear()
                    return
                try:
                    worked |= await self._judge(case)
                except _Later as later:
                    self._note(str(later))
                    waiting.clear()

        workers = [asyncio.create_task(worker()) for _ in range(min(self._options.concurrency, len(cases)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for task in workers:
                task.cancel()
            self.status = replace(self.status, in_flight=0)
        return worked

    async def _judge(self, case: Case) -> bool:
        """Ask both forms about one pair and keep what was said. False when it has to be asked again."""
        spent = self._asked.setdefault((case.key, case.source), _Asked())
        self.status = replace(self.status, in_flight=self.status.in_flight + 1)
        try:
            forms = questions(case.request, case.teacher, case.student, self._options.context_chars)
            answers = [await self._ask(form, spent) for form in forms]
        finally:
            self.status = replace(self.status, in_flight=self.status.in_flight - 1)
        verdict = decide(*answers)
        spent.tries += 1
        if verdict == FAILED and spent.tries < MAX_TRIES:
            return False
        await asyncio.to_thread(say, self._store, self._said(case, verdict, answers, spent))
        del self._asked[case.key, case.source]
        self.given_up += verdict == FAILED
        done, losses = self.status.done + 1, self.status.losses + (verdict != ACCEPT)
        self.status = replace(self.status, done=done, losses=losses, problem="", since=0.0)
        return True

    def _said(self, case: Case, verdict: str, answers: list[Answer], spent: _Asked) -> Said:
        return Said(
            case.key,
            case.source,
            self.version,
            verdict,
            self._clock(),
            "\n---\n".join(answer.text for answer in answers),
            asked=spent.questions,
            prompt_tokens=spent.usage[0],
            completion_tokens=spent.usage[1],
            usd=cost(self._price, *spent.usage),
        )

    async def _ask(self, form: Question, spent: _Asked) -> Answer:
        """One form's answer. Raises _Later when the judge's server cannot say anything now."""
        options = self._options
        body = json.dumps({**options.extra, "model": options.model, "messages": form.messages}).encode()
        headers = {"content-type": "application/json"}
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        try:
            async with asyncio.timeout(options.timeout_s):
                url = options.url.rstrip("/") + "/chat/completions"
                response = await self._client.post(url, content=body, headers=headers)
        except (httpx.TransportError, TimeoutError) as error:
            raise _Later(f"The judge at {options.url} does not answer ({error or type(error).__name__}).") from None
        reply: Reply = read_judge(response)
        if reply.retry:
            raise _Later(reply.retry)
        spent.questions += 1
        if reply.failure:
            return Answer("", reply.failure)
        for side, tokens in enumerate(reply.usage):
            spent.usage[side] += tokens or 0
        return read(text_of((reply.message or {}).get("content")))

    def _note(self, problem: str) -> None:
        since = self.status.since or self._clock()
        self.status = replace(self.status, problem=problem, since=since)
