"""HTTP around the admin API: JSON answers and errors, request bodies, and the rules for browsers."""

import json
from collections.abc import Collection
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from ..traffic.errors import BadInput, DataFolderLocked, TutelageError, UnknownName

STATUS_OF: dict[type[TutelageError], int] = {UnknownName: 404, BadInput: 400, DataFolderLocked: 409}
"""HTTP status by error class; 500 for the others."""
OWN_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
PAGE_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
MAX_BODY = 64 * 1024

Body = TypeVar("Body")


def answer(value: Any, status: int = 200) -> Response:
    """A JSON response of dataclasses, structs and plain values."""
    try:
        content = msgspec.json.encode(value, enc_hook=str)
    except UnicodeEncodeError:
        # Logged text may hold lone surrogates, which only escapes can carry.
        content = json.dumps(msgspec.to_builtins(value, enc_hook=str)).encode()
    return Response(content, status, {"cache-control": "no-store"}, "application/json")


def html(text: str) -> Response:
    """A page, or a part of one, that may load nothing from elsewhere."""
    return Response(text, 200, PAGE_HEADERS, "text/html; charset=utf-8")


def problem(kind: str, message: str, status: int) -> Response:
    """An error in the API's form."""
    return answer({"error": {"type": kind, "message": message}}, status)


async def explain_error(_: Request, error: Exception) -> Response:
    """The response for an error that a user can cause."""
    if isinstance(error, TutelageError):
        return problem(type(error).__name__, str(error), STATUS_OF.get(type(error), 500))
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        return problem("BadInput", f"Parameter {where!r}: {first['msg']}. See docs/admin-api.md.", 400)
    if isinstance(error, HTTPException):
        return problem("UnknownName", f"{error.detail}. See docs/admin-api.md for what there is.", error.status_code)
    raise error


async def read_body(request: Request, kind: type[Body]) -> Body:
    """The JSON body as `kind`; an empty one gives the defaults. Raises BadInput."""
    # A form of a foreign page can send neither this content type nor, without asking first, any request with it.
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise BadInput("Expected a JSON body with the header 'content-type: application/json'.")
    content = await request.body()
    if len(content) > MAX_BODY:
        raise BadInput(f"Expected a body of at most {MAX_BODY} bytes, got {len(content)}.")
    try:
        return msgspec.json.decode(content or b"{}", type=kind)
    except msgspec.DecodeError as error:
        raise BadInput(f"The body does not fit: {error}. See docs/admin-api.md.") from error


class BrowserGuard:
    """ASGI middleware that keeps other sites' pages out.

    The Host must be one of our names, or a site could point its own name at this address and read everything. What
    changes something must come from no page at all (a command) or from our own.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str] | None = ()) -> None:
        """`hosts` are allowed beside the names of this machine; None allows any."""
        self._app = app
        self._hosts = None if hosts is None else OWN_NAMES | {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (why := self._refusal(scope["method"], Headers(scope=scope))):
            await problem("TutelageError", why, 403)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _refusal(self, method: str, headers: Headers) -> str:
        host = headers.get("host", "")
        if self._hosts is not None and _name_of(host) not in self._hosts:
            return f"This API does not answer under the name {host!r}. Use 127.0.0.1 or localhost."
        if method in ("GET", "HEAD"):
            return ""
        origin = headers.get("origin")
        foreign = origin is not None and urlsplit(origin).netloc.lower() != host.lower()
        if foreign or headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            return "This request comes from a page of another site."
        return ""


def _name_of(host: str) -> str:
    """The name in a Host header, without its port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""
