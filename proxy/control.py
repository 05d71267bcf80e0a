"""The control plane: the one process that owns the store (`python -m tutelage.proxy.control`).

It holds the lock on the data folder, runs the keeper in a thread, the shadow and audit runners and the admin API on an
event loop. It may die at any moment and start again: agents don't notice, and nothing is lost or counted twice.
"""

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from ..traffic import logs
from ..traffic.errors import DataFolderLocked, TutelageError
from ..traffic.layout import DataDir
from ..traffic.priority import step_back
from ..traffic.store import Store
from ..traffic.verifiers import Verifiers
from ..traffic.verifying import Verifying
from .access import token_for
from .admin import Admin
from .admin_feedback import add_feedback
from .control_lock import ControlLock, is_ending, read_owner
from .draws import draw_for
from .housekeeping import Housekeeping
from .judging import Judging
from .keeper import Keeper
from .key_store import KeyBook
from .lean import keep_out, settle
from .noise_labels import NOISE, NoiseSource
from .options import ControlOptions, from_environment
from .overview import Overview
from .pace import Pace
from .phrases import Phrases
from .referee import PolicyReferee
from .reporting import Reporting, add_metrics
from .shadow import AUDIT, SHADOW, Asked, Endpoint, Runner
from .teachers import Teacher, Teachers
from .text_verifiers import TextVerifiers
from .tool_policies import PolicyBook

logger = logging.getLogger(__name__)
NOISE_IDLE_S = 5.0
"""Pause between two looks for calls to ask the teacher again."""
PREDECESSOR_S = 30.0
"""Longest wait for a control plane whose `serve` has died, and which is about to end as well."""
ANY_HOST = ("0.0.0.0", "::", "")
"""Addresses under which the operator has opened the API to the network: any name may be meant."""


@dataclass
class ControlPlane:
    """The opened data folder with everything that works on it. `close` gives it back."""

    options: ControlOptions
    data: DataDir
    lock: ControlLock
    store: Store
    keeper: Keeper
    verifying: Verifying
    policies: PolicyBook
    texts: TextVerifiers
    reporting: Reporting
    runners: list[Runner | Judging] = field(default_factory=list)
    clock: Callable[[], float] = time.time

    @classmethod
    def open(
        cls, data: DataDir, options: ControlOptions, url: str = "", clock: Callable[[], float] = time.time
    ) -> "ControlPlane":
        """Take the lock and open the store. `url` is where the admin API will be, for other commands.

        Raises DataFolderLocked, DataFolderError or StoreTooNew; nothing is held then.
        """
        lock = ControlLock.acquire(data.prepare(), url)
        try:
            store = Store(data.store)
        except BaseException:
            lock.release()
            raise
        runners: list[Runner | Judging] = []
        try:
            keeper = Keeper(data, store, options.routing, options.outcomes, clock=clock)
            reporting = Reporting(data, store, keeper, options, runners, clock)
        except BaseException:
            store.close()
            lock.release()
            raise
        functions = Verifiers(options.verifiers, options.verifier_limit_s)
        verifying = Verifying(store, functions, options.routing.session_idle_s, clock)
        texts = TextVerifiers(Verifiers(options.text_verifiers, options.verifier_limit_s))
        policies = PolicyBook(store, options.tools, clock)
        keeper.board.hearing.policy_of = policies.policy
        keeper.board.hearing.phrases = Phrases(options.phrase_languages, options.refusal_phrases, options.doubt_phrases)
        keeper.board.hearing.repeats.margin = options.noise_margin
        keeper.board.hearing.review = draw_for(data.read_secret(), "review", options.judge.review_share)
        return cls(options, data, lock, store, keeper, verifying, policies, texts, reporting, runners, clock)

    @property
    def app(self) -> Any:
        """The admin API and the dashboard, as an ASGI application."""
        problems = self._problems
        overview = Overview(self.store, self.keeper, self.options, self.data.runs, self.runners, problems)
        hosts = None if self.options.host in ANY_HOST else (self.options.host,)
        token = token_for(self.options.host, self.data, self.options.token_env)
        app = Admin(overview, self.data, self.policies, self.clock, hosts, token, self.texts).app()
        add_feedback(app, self.store, self.verifying, self.clock)
        add_metrics(app, self.reporting.metrics)
        return app

    def _problems(self) -> list[str]:
        return self.verifying.problems() + self.texts.told()

    def catch_up(self) -> None:
        """Take in everything that the journal holds."""
        self.keeper.catch_up()

    def close(self) -> None:
        """Give the store and the lock back."""
        self.texts.close()
        self.store.close()
        self.lock.release()

    def add_runners(self, client: httpx.AsyncClient) -> None:
        """Whatever asks others from the log: shadow, audit, the teacher's second answers, the judge."""
        options = self.options
        self.runners.append(self._runner(SHADOW, lambda _model: self._student(), client))
        if options.teacher_url:
            teachers = Teachers.build(options, os.environ, need_keys=False)

            def teacher(model: str) -> Endpoint:
                return _endpoint(teachers.of(model), options.shadow_timeout_s)

            self.runners.append(self._runner(AUDIT, teacher, client))
            self.runners.append(self._runner(NOISE, teacher, client))
        self.runners.append(Judging(self.store, options.judge, options.prices, client, self.clock))

    def _student(self) -> Endpoint:
        return Endpoint(self.options.student_url, timeout_s=self.options.shadow_timeout_s)

    def _runner(self, kind: str, asked: Asked, client: httpx.AsyncClient) -> Runner:
        options, noise = self.options, kind == NOISE
        draw = draw_for(self.data.read_secret(), NOISE, options.noise_share)
        return Runner(
            kind,
            NoiseSource(self.store, draw, options.noise_per_day, self.clock, self.keeper.board.hearing.doubted)
            if noise
            else self.keeper,
            asked,
            client,
            concurrency=1 if noise else options.shadow_concurrency,
            idle_s=NOISE_IDLE_S if noise else 0.2,
            clock=self.clock,
            pace=Pace(options.shadow_per_second if kind == SHADOW else 0),
            referee=PolicyReferee(self.policies.policy, bool(options.judge.url), self.texts),
        )


def _endpoint(teacher: Teacher, timeout_s: float) -> Endpoint:
    headers = {"authorization": f"Bearer {teacher.key}"} if teacher.key else {}
    return Endpoint(teacher.url, headers, timeout_s, teacher.model)


async def serve(plane: ControlPlane, stopped: asyncio.Event) -> None:
    """Run everything until `stopped` is set, then stop in order: API, runners, keeper with a last round."""
    options, stop, parent = plane.options, threading.Event(), os.getppid()
    async with httpx.AsyncClient(timeout=options.shadow_timeout_s, trust_env=False) as client:
        plane.add_runners(client)
        # Before the threads begin: a backlog would keep the interpreter busy while nobody is answered yet.
        server = _http_server(plane)
        # Here and not in `open`: a command that opens the store must not remove anything unasked.
        plane.keeper.housework = Housekeeping(plane.data, plane.store, options.store, plane.clock).step
        keeper = threading.Thread(target=plane.keeper.run, args=(stop, options.tick_s), name="keeper")
        keeper.start()
        plane.reporting.start()
        book = KeyBook(plane.store, plane.data, options.prices, plane.clock)
        keys = threading.Thread(target=book.run, args=(stop,), name="keys")
        keys.start()
        verifying = threading.Thread(target=plane.verifying.run, args=(stop,), name="verifying")
        verifying.start()
        runners = [asyncio.create_task(runner.run()) for runner in plane.runners]
        # Only now: starting should be quick.
        step_back()
        try:
            await _serve_http(server, stopped)
        finally:
            for task in runners:
                task.cancel()
            await asyncio.gather(*runners, return_exceptions=True)
            stop.set()
            plane.verifying.close()
            plane.texts.close()
            await asyncio.to_thread(verifying.join)
            await asyncio.to_thread(keeper.join)
            await asyncio.to_thread(keys.join)
            if os.getppid() == parent:
                # Else `serve` was killed, and the next one waits for the lock: the journal keeps what is left for it.
                await asyncio.to_thread(plane.catch_up)
            await asyncio.to_thread(plane.reporting.stop)


def _http_server(plane: ControlPlane) -> Any:
    from granian.constants import Interfaces
    from granian.log import LogLevels
    from granian.server.embed import Server

    options = plane.options
    return Server(
        plane.app,
        address=options.host,
        port=options.port,
        interface=Interfaces.ASGINL,
        log_level=LogLevels.warning,
        log_access=False,
        log_dictconfig=logs.SERVER,
        websockets=False,
    )


async def _serve_http(server: Any, stopped: asyncio.Event) -> None:
    serving = asyncio.create_task(server.serve())
    waiting = asyncio.create_task(stopped.wait())
    await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not serving.done():
        server.stop()
    await serving


async def _run(plane: ControlPlane) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await serve(plane, stopped)


def main() -> int:
    """Entry of the process; its options come in the environment variable TUTELAGE_OPTIONS."""
    keep_out("pandas", "pydantic.v1")
    logs.configure()
    options = from_environment(ControlOptions)
    try:
        plane = _opened(DataDir(Path(options.data)), options, f"http://{_shown(options.host)}:{options.port}")
    except TutelageError as error:
        print(error, file=sys.stderr)
        return 1
    plane.keeper.on_rest = settle
    try:
        asyncio.run(_run(plane))
    finally:
        plane.close()
    return 0


def _opened(data: DataDir, options: ControlOptions, url: str) -> ControlPlane:
    """As `ControlPlane.open`, once a predecessor that is about to end has given the lock back."""
    deadline = time.monotonic() + PREDECESSOR_S
    while True:
        try:
            return ControlPlane.open(data, options, url)
        except DataFolderLocked:
            if time.monotonic() > deadline or not is_ending(read_owner(data)):
                raise
            time.sleep(0.05)


def _shown(host: str) -> str:
    """The address under which this machine reaches a listening address."""
    if host in ANY_HOST:
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


if __name__ == "__main__":
    code = main()
    # Everything is closed. The HTTP server's threads may still abort the process while the interpreter winds up.
    logging.shutdown()
    os._exit(code)
