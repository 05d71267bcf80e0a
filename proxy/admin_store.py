"""The admin API's part for the store itself: its size, and long work on it (docs/store.md)."""

from collections.abc import Callable

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from ..traffic.layout import DataDir
from ..traffic.store_stats import detailed
from .admin_http import answer, read_body
from .overview import Overview
from .store_jobs import StoreJobs, StoreOrder


def add_store(app: FastAPI, overview: Overview, data: DataDir, clock: Callable[[], float]) -> None:
    """Add the routes under `/api/store`."""
    store = overview.store
    jobs = StoreJobs(store, overview.keeper, data, overview.options.store, clock)

    @app.get("/api/store/stats")
    def stats() -> Response:
        return answer(detailed(store))

    @app.post("/api/store/jobs")
    async def start(request: Request) -> Response:
        order = await read_body(request, StoreOrder)
        return answer(await run_in_threadpool(jobs.start, order))

    @app.get("/api/store/jobs/{job}")
    def job(job: int) -> Response:
        return answer(jobs.status(job))
