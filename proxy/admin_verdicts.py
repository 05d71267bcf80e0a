"""The admin API's part for pairs and what people say about them (docs/comparison.md)."""

from collections.abc import Callable

import msgspec
from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from ..traffic.errors import BadInput
from ..traffic.store import Store
from .admin_http import answer, read_body
from .pairs import list_pairs, show_pair
from .tool_policies import PolicyBook
from .verdicts import person_says, read_key

LONGEST_LIST = 10_000


class VerdictOrder(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /api/pairs/PAIR/verdict`."""

    verdict: str
    """accept, reject, or withdraw."""
    note: str = ""
    who: str = "api"


def add_verdicts(
    app: FastAPI, store: Store, policies: PolicyBook, one: Callable[[str], str], clock: Callable[[], float]
) -> None:
    """Add the routes under `/api/pairs`. `one`: id of the one pattern of an id or name."""

    @app.get("/api/pairs")
    def pairs(pattern: str = "", only: str = "all", before: str = "", limit: int = 50, student: str = "") -> Response:
        if not 1 <= limit <= LONGEST_LIST:
            raise BadInput(f"Parameter 'limit' must lie between 1 and {LONGEST_LIST}, not be {limit}.")
        return answer(list_pairs(store, one(pattern) if pattern else "", only, before, limit, student))

    @app.get("/api/pairs/{pair}")
    def pair(pair: str) -> Response:
        return answer(shown(pair))

    @app.post("/api/pairs/{pair}/verdict")
    async def verdict(pair: str, request: Request) -> Response:
        order = await read_body(request, VerdictOrder)

        def work() -> Response:
            person_says(store, read_key(pair), order.verdict, order.who, order.note, clock())
            return answer(shown(pair))

        return await run_in_threadpool(work)

    def shown(pair: str) -> dict[str, object]:
        pattern = store.value(
            "SELECT pattern_id FROM comparisons WHERE call_id = CAST($call_id AS UUID) AND student = $student "
            "AND kind = $kind",
            read_key(pair)._asdict(),
        )
        return show_pair(store, pair, policies.policy(pattern or ""))
