"""The admin API about routes: who answers which pattern, why, and an operator's words (docs/admin-api.md)."""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from ..traffic.errors import BadInput
from .admin_http import answer, read_body
from .explain import explain
from .operators import Wish
from .overview import Overview
from .versions import ruling

LONGEST_LIST = 10_000


class Word(msgspec.Struct):
    """Body of the POSTs that change a route."""

    reason: str = ""
    actor: str = "api"
    student: str = ""
    """Version that is meant; empty: the one that has the pattern."""
    force: bool = False
    """Promote, or set a share, beyond the evidence; the state stays marked until the evidence has caught up."""
    share: float = 0.0
    """For `share`: the student's share of the sessions, from .01 to .80."""


@dataclass(frozen=True)
class RouteAdmin:
    """What these routes need."""

    overview: Overview
    all_of: Callable[[str], list[str]]
    """Ids of the patterns of an id or name."""
    one_of: Callable[[str], str]
    """The one pattern of an id or name."""

    def show(self, pattern: str) -> dict[str, object]:
        """All evidence behind one route."""
        wanted, overview = self.one_of(pattern), self.overview
        row = next(row for row in overview.routes() if row.pattern_id == wanted)
        states = overview.board.states(wanted)
        lead = ruling(states)
        others = [explain(state) for state in states if state is not lead]
        changes = overview.board.log.transitions(50, wanted)
        return {**explain(lead), **msgspec.to_builtins(row), "other_versions": others, "transitions": changes}

    def say(self, patterns: list[str | None], action: str, word: Word) -> dict[str, object]:
        """Put a person's word in force. Raises BadInput or UnknownName; patterns before the refused one are changed."""
        keeper, board = self.overview.keeper, self.overview.board
        for pattern in patterns:
            keeper.operate(pattern, Wish(action, **msgspec.structs.asdict(word)))
        states = {pattern: board.state(pattern).state for pattern in patterns if pattern}
        marked = [pattern for pattern in patterns if pattern and board.state(pattern).forced]
        return {"off": bool(board.big_switch["off"]), "states": states, "forced": marked}


def add_routes(app: FastAPI, admin: RouteAdmin) -> None:
    """Add the endpoints."""
    overview = admin.overview

    @app.get("/api/routes")
    def routes() -> Response:
        return answer(overview.routes())

    @app.get("/api/replay")
    def replay() -> Response:
        return answer(overview.keeper.retell())

    @app.get("/api/routes/{pattern}")
    def route(pattern: str) -> Response:
        return answer(admin.show(pattern))

    @app.get("/api/transitions")
    def transitions(limit: int = 50, pattern: str = "") -> Response:
        if not 1 <= limit <= LONGEST_LIST:
            raise BadInput(f"Parameter 'limit' must lie between 1 and {LONGEST_LIST}, not be {limit}.")
        return answer(overview.board.log.transitions(limit, admin.one_of(pattern) if pattern else ""))

    async def say(patterns: list[str | None], action: str, request: Request) -> Response:
        word = await read_body(request, Word)
        return answer(await run_in_threadpool(admin.say, patterns, action, word))

    @app.post("/api/off")
    async def off(request: Request) -> Response:
        return await say([None], "off", request)

    @app.post("/api/on")
    async def on(request: Request) -> Response:
        return await say([None], "on", request)

    @app.post("/api/routes/{pattern}/{action}")
    async def operate(pattern: str, action: str, request: Request) -> Response:
        return await say(list(admin.all_of(pattern)), action, request)
