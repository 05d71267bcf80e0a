"""The admin API's part for feedback (docs/feedback.md): what was said about runs, and how the verifiers are doing."""

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from ..traffic import feedback_rows
from ..traffic.errors import BadInput
from ..traffic.feedback import PATH, Given, check
from ..traffic.records import CallRecord, new_call_id
from ..traffic.store import Store
from ..traffic.verifying import Verifying
from .admin_http import answer, read_body

LONGEST_LIST = 10_000


def add_feedback(app: FastAPI, store: Store, verifying: Verifying, clock: Callable[[], float]) -> None:
    """Add the routes under `/api/feedback`, and `/api/verifiers`."""

    @app.get("/api/feedback")
    def listed(limit: int = 50, trajectory: str = "", metric: str = "") -> Response:
        if not 1 <= limit <= LONGEST_LIST:
            raise BadInput(f"Parameter 'limit' must lie between 1 and {LONGEST_LIST}, not be {limit}.")
        return answer(feedback_rows.listed(store, limit, trajectory=trajectory, metric=metric))

    @app.post("/api/feedback")
    async def add(request: Request) -> Response:
        given = check(await read_body(request, Given))
        return answer(await run_in_threadpool(_add, store, given, clock()))

    @app.get("/api/verifiers")
    def verifiers() -> Response:
        return answer(verifying.report())


def _add(store: Store, given: Given, now: float) -> dict[str, Any]:
    """Store one value; what it is about is looked up within a round of the keeper."""
    record = CallRecord(call_id=new_call_id(now), started_at=now, endpoint=PATH)
    row = feedback_rows.row_of(given, record)
    added = feedback_rows.save(store, [row])
    return {"id": row["feedback_id"], "metric": given.metric, "value": given.value, "added": bool(added)}
