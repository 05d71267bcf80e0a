"""The admin API and the dashboard: one small application over the store and the keeper (docs/admin-api.md).

Reads go straight to the store; whatever changes something goes through the keeper. Errors that a user can cause come
back as `{"error": {"type", "message"}}`, the type being a class of `traffic.errors`.

Browsers are kept in their place: the API answers only under names that are its own (a hostile site cannot reach it by
pointing its own name here), and refuses whatever changes something when the request comes from another site's page.
"""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from ..traffic import queries
from ..traffic.errors import BadInput, TutelageError, UnknownName
from ..traffic.export import export_agent
from ..traffic.layout import DataDir
from ..traffic.students import StudentRegister
from . import comparisons
from .access import TokenGuard
from .admin_http import BrowserGuard, answer, explain_error, read_body
from .admin_intents import add_intents
from .admin_judge import JudgeAdmin, add_judge
from .admin_keys import add_keys
from .admin_patterns import PatternAdmin, add_patterns
from .admin_routes import RouteAdmin, add_routes
from .admin_savings import add_savings
from .admin_store import add_store
from .admin_students import StudentAdmin, add_students
from .admin_tools import add_tools
from .admin_verdicts import add_verdicts
from .key_store import KeyBook
from .overview import Overview
from .pages import Pages, add_pages
from .referee import Decides
from .tool_policies import PolicyBook
from .views import Site

LONGEST_LIST = 10_000


class ExportOrder(msgspec.Struct):
    """Body of `POST /api/exports`."""

    agent: str = ""
    """Agent id, pattern id or name; empty: the agent with the most successful sessions."""


@dataclass(frozen=True)
class Admin:
    """What the routes need."""

    overview: Overview
    data: DataDir
    policies: PolicyBook
    clock: Callable[[], float] = time.time
    hosts: Collection[str] | None = ()
    """Names beside those of this machine under which the API may be asked; None: any."""
    token: str = ""
    """Asked of everybody; empty: nothing is asked (see `access`)."""
    texts: Decides | None = None
    """Decides where the comparison rules are unsure."""

    def app(self) -> FastAPI:
        """The application."""
        app = FastAPI(title="Tutelage", docs_url=None, redoc_url=None, openapi_url=None)
        app.add_exception_handler(TutelageError, explain_error)
        app.add_exception_handler(HTTPException, explain_error)
        app.add_exception_handler(RequestValidationError, explain_error)
        app.add_middleware(BrowserGuard, hosts=self.hosts)
        app.add_middleware(TokenGuard, token=self.token)
        self._add_reads(app)
        self._add_evidence(app)
        self._add_writes(app)
        add_keys(app, KeyBook(self.overview.store, self.data, self.overview.options.prices, self.clock))
        add_intents(app, self.overview.store, self.data, self._one)
        add_routes(app, RouteAdmin(self.overview, self._all, self._one))
        add_store(app, self.overview, self.data, self.clock)
        add_savings(app, self.overview, self.data, self.clock, self._one)
        add_students(app, StudentAdmin(self.overview, StudentRegister(self.data), self.clock))
        patterns = PatternAdmin(self.overview, self.clock, self._one)
        add_patterns(app, patterns)
        add_verdicts(app, self.overview.store, self.policies, self._one, self.clock)
        add_tools(app, self.overview.store, self.policies, self._one, self.clock, self.texts)
        add_judge(app, JudgeAdmin(self.overview, self.data.read_secret(), self.clock, self._one))
        site = Site(self.overview, self.data, patterns, self.policies, self.clock, started=self.clock())
        add_pages(app, Pages(site, self.token))
        return app

    def _add_reads(self, app: FastAPI) -> None:
        store = self.overview.store

        @app.get("/healthz")
        def healthz() -> Response:
            return answer({"status": "ok"})

        @app.get("/api/status")
        def status() -> Response:
            return answer(self.overview.status())

        @app.get("/api/calls")
        def calls(limit: int = 50, pattern: str = "", trajectory: str = "", before: float | None = None) -> Response:
            wanted = self._one(pattern) if pattern else ""
            return answer(
                queries.list_calls(store, _limit(limit), pattern=wanted, trajectory=trajectory, before=before)
            )

        @app.get("/api/calls/{call_id}")
        def call(call_id: str) -> Response:
            return answer(queries.show_call(store, call_id))

        @app.get("/api/trajectories")
        def trajectories(limit: int = 50, agent: str = "", before: float | None = None) -> Response:
            return answer(queries.list_trajectories(store, _limit(limit), agent=agent, before=before))

        @app.get("/api/trajectories/{trajectory_id:path}")
        def trajectory(trajectory_id: str) -> Response:
            return answer(queries.show_trajectory(store, trajectory_id))

    def _add_evidence(self, app: FastAPI) -> None:
        overview, store = self.overview, self.overview.store

        @app.get("/api/patterns")
        def patterns() -> Response:
            return answer(overview.patterns())

        @app.get("/api/patterns/{pattern}")
        def pattern(pattern: str) -> Response:
            row, entry = overview.pattern(self._one(pattern))
            return answer({**msgspec.to_builtins(row), "entry": entry})

        @app.get("/api/comparisons")
        def compared(pattern: str, limit: int = 50, student: str = "", worse: bool = False) -> Response:
            found = comparisons.listed(store, self._one(pattern), _limit(limit), student=student, worse_only=worse)
            return answer(found)

        @app.get("/api/traffic")
        def traffic(minutes: int = 60) -> Response:
            return answer(queries.traffic_by_minute(store, self.clock() - 60 * minutes))

        @app.get("/api/ledger")
        def ledger() -> Response:
            return answer(overview.ledger())

        @app.get("/api/runs")
        def runs() -> Response:
            return answer(overview.runs())

    def _add_writes(self, app: FastAPI) -> None:
        @app.post("/api/exports")
        async def export(request: Request) -> Response:
            order = await read_body(request, ExportOrder)
            return await run_in_threadpool(self._export, order)

    def _export(self, order: ExportOrder) -> Response:
        now = self.clock()
        agent = self._agent(order.agent)
        folder = self.data.exports / f"{agent}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}"
        idle_s = self.overview.options.routing.session_idle_s
        return answer(export_agent(self.overview.store, agent, folder, idle_s, now))

    def _all(self, name: str) -> list[str]:
        """Ids of the pattern of that id, or of all those of that name. Raises UnknownName."""
        entries = self.overview.keeper.registry.entries()
        found = [entry.pattern_id for entry in entries if name in (entry.pattern_id, entry.name)]
        if not found:
            raise UnknownName(f"There is no pattern {name!r}. List them with: tutelage patterns list")
        return found

    def _one(self, name: str) -> str:
        """The one pattern of that id or name. Raises UnknownName, or BadInput when several have the name."""
        found = self._all(name)
        if len(found) > 1:
            raise BadInput(f"Several patterns are called {name!r}. Give one of their ids: {', '.join(found)}.")
        return found[0]

    def _agent(self, name: str) -> str:
        """The agent of an agent id, pattern id or name; without one, that with the most successful sessions."""
        entries = self.overview.keeper.registry.entries()
        if not name:
            sql = """
                SELECT agent_id FROM trajectories WHERE agent_id IS NOT NULL GROUP BY agent_id
                ORDER BY count(*) FILTER (success) DESC, count(*) DESC, agent_id LIMIT 1
            """
            found = self.overview.store.value(sql)
            if found is None:
                raise UnknownName("There is no agent yet: one is found after about 30 calls of the same kind.")
            return found
        for entry in reversed(entries):
            if name in (entry.agent_id, entry.pattern_id, entry.name):
                return entry.agent_id
        raise UnknownName(f"There is no agent or pattern {name!r}. List them with: tutelage patterns list")


def _limit(wanted: int) -> int:
    if not 1 <= wanted <= LONGEST_LIST:
        raise BadInput(f"Parameter 'limit' must lie between 1 and {LONGEST_LIST}, not be {wanted}.")
    return wanted
