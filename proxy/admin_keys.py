"""The admin API's part for the proxy's keys (docs/keys.md).

Making a key is the only request whose answer holds its text. The rules for browsers are those of the whole API.
"""

from typing import Any

import msgspec
from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from .admin_http import answer, read_body
from .key_budgets import Period
from .key_limits import Limits
from .key_store import KeyBook


class Changes(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Body of `POST /api/keys/KEY/update`: the fields of `Limits` to change; those left out (or null) stay."""

    name: str | None = None
    expires_at: float | None = None
    rate: float | None = None
    burst: int | None = None
    budget_usd: float | None = None
    budget_tokens: int | None = None
    period: Period | None = None
    models: tuple[str, ...] | None = None

    def given(self) -> dict[str, Any]:
        """The fields that were given."""
        return {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """Body of a POST that needs none."""


def add_keys(app: FastAPI, book: KeyBook) -> None:
    """Add the routes under `/api/keys`."""

    @app.get("/api/keys")
    def keys() -> Response:
        return answer(book.listed())

    @app.get("/api/keys/{key:path}")
    def key(key: str) -> Response:
        return answer(book.get(key))

    @app.post("/api/keys")
    async def create(request: Request) -> Response:
        limits = await read_body(request, Limits)
        return answer(await run_in_threadpool(book.create, limits))

    @app.post("/api/keys/{key:path}/update")
    async def update(key: str, request: Request) -> Response:
        changes = await read_body(request, Changes)
        return answer(await run_in_threadpool(book.update, key, changes.given()))

    @app.post("/api/keys/{key:path}/revoke")
    async def revoke(key: str, request: Request) -> Response:
        await read_body(request, Nothing)
        return answer(await run_in_threadpool(book.revoke, key))
