"""The dashboard's addresses: seven views, the pages behind them, and every table as JSON and CSV.

    /  /patterns  /patterns/ID  /pairs  /pairs/ID  /trajectories  /trajectories/ID  /scrub/ID
    /students  /students/VERSION  /runs/ID  /health  /tables/NAME.json  /tables/NAME.csv  /login

A page's address is its whole state. Errors that a user can cause are pages too.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool
from starlette.staticfiles import StaticFiles

from ..traffic.errors import TutelageError, UnknownName
from .access import logged_in
from .admin_http import STATUS_OF, answer, html
from .dashboard import PART, render, respond
from .page_tables import Tables
from .scrub_preview import scrub_page
from .tables import as_csv
from .views import Notice, Site
from .views_evidence import EvidenceBook
from .views_health import health_page
from .views_overview import overview_page
from .views_pairs import pair_page, pairs_page
from .views_pattern import pattern_page
from .views_patterns import patterns_page
from .views_run import run_page
from .views_student import student_page
from .views_students import students_page
from .views_trajectories import trajectories_page, trajectory_page

LONGEST_LOGIN = 4_096


class Pages:
    """Answers requests for pages."""

    def __init__(self, site: Site, token: str = "") -> None:
        self.site, self.token, self.evidence = site, token, EvidenceBook(site.store)
        self.tables = Tables(site, self.evidence)

    def show(self, request: Request, template: str, section: str, title: str, make: Callable[[], Any]) -> Response:
        """One page, or the page that tells why there is none."""
        part, now = PART in request.headers, self.site.clock()
        try:
            page, status = make(), 200
        except TutelageError as error:
            page, status = Notice("bad", str(error)), STATUS_OF.get(type(error), 500)
            template, title = "error.html", "There is nothing here"
        shell = self.site.shell(title, section)
        seen = request.headers.get("if-none-match", "")
        return respond(template, shell, page, now, part=part, seen=seen, status=status)

    def table(self, name: str, form: str, request: Request) -> Response:
        """A table's rows. Raises UnknownName and BadInput, which are answered as JSON."""
        kind, rows = self.tables.rows(name, dict(request.query_params))
        if form == "json":
            return answer(rows)
        headers = {"cache-control": "no-store", "content-disposition": f'attachment; filename="{name}.csv"'}
        return Response(as_csv(rows, kind), headers=headers, media_type="text/csv; charset=utf-8")

    def login(self, wanted: str, failed: bool = False) -> Response:
        """The form that asks for the token."""
        text = render("login.html", wanted=wanted, failed=failed, folder=str(self.site.data.admin_token.name))
        response = html(text)
        response.status_code = 401 if failed else 200
        return response


def add_pages(app: FastAPI, pages: Pages) -> None:
    """Add all addresses of the dashboard."""
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")
    _add_lists(app, pages)
    _add_details(app, pages)
    _add_login(app, pages)

    @app.get("/tables/{name}.{form}")
    def table(name: str, form: str, request: Request) -> Response:
        if form not in ("json", "csv"):
            raise UnknownName(f"Tables come as .json and .csv, not as .{form}.")
        return pages.table(name, form, request)


def _add_lists(app: FastAPI, pages: Pages) -> None:
    site, show = pages.site, pages.show

    @app.get("/")
    def overview(request: Request, span: str = "1h", scale: str = "calls") -> Response:
        return show(request, "overview.html", "Overview", "Overview", lambda: overview_page(site, span, scale))

    @app.get("/patterns")
    def patterns(request: Request, order: str = "calls") -> Response:
        return show(request, "patterns.html", "Patterns", "Patterns", lambda: patterns_page(site, order))

    @app.get("/pairs")
    def pairs(request: Request, pattern: str = "", only: str = "all", before: str = "") -> Response:
        return show(request, "pairs.html", "Pairs", "Pairs", lambda: pairs_page(site, pattern, only, before))

    @app.get("/trajectories")
    def trajectories(request: Request, agent: str = "", before: float | None = None) -> Response:
        def make() -> Any:
            return trajectories_page(site, agent, before)

        return show(request, "trajectories.html", "Trajectories", "Trajectories", make)

    @app.get("/students")
    def students(request: Request) -> Response:
        return show(request, "students.html", "Students", "Students and runs", lambda: students_page(site))

    @app.get("/health")
    def health(request: Request) -> Response:
        return show(request, "health.html", "Health", "Health and settings", lambda: health_page(site))


def _add_details(app: FastAPI, pages: Pages) -> None:
    site, show = pages.site, pages.show

    @app.get("/patterns/{pattern}")
    def pattern(request: Request, pattern: str) -> Response:
        title = site.names().get(pattern, "Pattern")
        return show(request, "pattern.html", "Patterns", title, lambda: pattern_page(site, pages.evidence, pattern))

    @app.get("/pairs/{pair:path}")
    def pair(request: Request, pair: str, pattern: str = "", only: str = "all") -> Response:
        return show(request, "pair.html", "Pairs", "Pair", lambda: pair_page(site, pair, pattern, only))

    @app.get("/trajectories/{trajectory:path}")
    def trajectory(request: Request, trajectory: str) -> Response:
        title = f"Trajectory {trajectory}"
        return show(request, "trajectory.html", "Trajectories", title, lambda: trajectory_page(site, trajectory))

    @app.get("/scrub/{trajectory:path}")
    def scrub(request: Request, trajectory: str) -> Response:
        title = f"Scrub preview of {trajectory}"
        return show(request, "scrub.html", "Trajectories", title, lambda: scrub_page(site, trajectory))

    @app.get("/students/{version}")
    def student(request: Request, version: str, beside: str = "") -> Response:
        return show(request, "student.html", "Students", version, lambda: student_page(site, version, beside))

    @app.get("/runs/{run}")
    def run(request: Request, run: str) -> Response:
        return show(request, "run.html", "Students", f"Run {run}", lambda: run_page(site, run))


def _add_login(app: FastAPI, pages: Pages) -> None:
    @app.get("/login")
    def form(next: str = "/") -> Response:
        return pages.login(next)

    @app.post("/login")
    async def login(request: Request) -> Response:
        body = (await request.body())[:LONGEST_LOGIN]
        return await run_in_threadpool(logged_in, body, pages.token) or pages.login("/", failed=True)
