"""The admin API's part for tool policies: how calls of a pattern's tools are compared (docs/comparison.md)."""

from collections.abc import Callable
from typing import Any

import msgspec
from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from ..traffic.store import Store
from ..traffic.tool_policy import ToolRule
from .admin_http import answer, read_body
from .recompare import recompare
from .referee import Decides
from .tool_policies import PolicyBook


class ToolsOrder(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of `PUT /api/patterns/PATTERN/tools`."""

    tools: dict[str, ToolRule | None]
    """Rules by tool; tools that are not named stay as they are, null takes back what people said."""
    who: str = "api"
    reason: str = ""


class WhoOrder(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /api/patterns/PATTERN/tools/guess` and `…/recompare`."""

    who: str = "api"


def add_tools(
    app: FastAPI,
    store: Store,
    policies: PolicyBook,
    one: Callable[[str], str],
    clock: Callable[[], float],
    texts: Decides | None = None,
) -> None:
    """Add the routes under `/api/patterns/PATTERN/tools`.

    one: id of the one pattern of an id or name; texts: decides where the rules are unsure.
    """

    @app.get("/api/patterns/{pattern}/tools")
    def tools(pattern: str) -> Response:
        return answer(_shown(policies, one(pattern)))

    @app.post("/api/patterns/{pattern}/tools/recompare")
    async def again(pattern: str, request: Request) -> Response:
        order = await read_body(request, WhoOrder)

        def work() -> Response:
            wanted = one(pattern)
            return answer(recompare(store, wanted, policies.policy(wanted), clock(), order.who, texts=texts))

        return await run_in_threadpool(work)

    @app.put("/api/patterns/{pattern}/tools")
    async def change(pattern: str, request: Request) -> Response:
        order = await read_body(request, ToolsOrder)

        def work() -> Response:
            wanted = one(pattern)
            policies.change(wanted, order.tools, order.who, order.reason)
            return answer(_shown(policies, wanted))

        return await run_in_threadpool(work)

    @app.post("/api/patterns/{pattern}/tools/guess")
    async def guess(pattern: str, request: Request) -> Response:
        order = await read_body(request, WhoOrder)

        def work() -> Response:
            wanted = one(pattern)
            policies.guess(wanted, order.who)
            return answer(_shown(policies, wanted))

        return await run_in_threadpool(work)


def _shown(policies: PolicyBook, pattern_id: str) -> dict[str, Any]:
    seen = policies.seen(pattern_id)
    tools = [
        {
            "tool": ruled.tool,
            **msgspec.to_builtins(ruled.rule),
            "source": ruled.source,
            "reason": ruled.reason,
            "actor": ruled.actor,
            "at": ruled.at,
            "parameters": ruled.parameters,
            "description": ruled.description,
        }
        for ruled in seen.tools
    ]
    history = policies.history(pattern_id)
    return {"pattern_id": pattern_id, "policy": seen.policy.digest, "tools": tools, "history": history}
