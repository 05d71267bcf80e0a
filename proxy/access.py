"""Who may use the admin API when it listens beyond this machine: whoever knows its token.

On 127.0.0.1 nothing is asked: who can reach the port is on the machine. Bound to any other address, every request but
the health check and the login needs the token, as `authorization: Bearer TOKEN` (programs) or in a session cookie
(browsers). The cookie is derived from the token and never holds it; with SameSite=Strict no other site's page can use
it, beside the check of `admin_http.BrowserGuard`. Commands on the machine find the token in the data folder.
"""

import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address
from urllib.parse import parse_qs, quote

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ..traffic.errors import BadInput
from ..traffic.layout import DataDir, publish
from .admin_http import problem

COOKIE = "tutelage_session"
LEAST_TOKEN = 16
"""Characters of a token that somebody chooses."""
OPEN_PATHS = ("/healthz", "/login")
SESSION_S = 7 * 86_400


def is_local(host: str) -> bool:
    """Whether only this machine reaches an address that is listened on."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def token_for(host: str, data: DataDir, variable: str, environ: Mapping[str, str] = os.environ) -> str:
    """The token that is to be asked for; empty when none is. It is in the data folder when this returns.

    Taken from the environment `variable` if that is set, else as it was, else made. Raises BadInput for a short one.
    """
    if is_local(host):
        return ""
    chosen = environ.get(variable, "") if variable else ""
    if chosen and len(chosen) < LEAST_TOKEN:
        raise BadInput(f"The token in {variable} must have at least {LEAST_TOKEN} characters, not {len(chosen)}.")
    token = chosen or read_token(data) or secrets.token_urlsafe(32)
    if token != read_token(data):
        publish(data.admin_token, token.encode())
        data.admin_token.chmod(0o600)
    return token


def read_token(data: DataDir) -> str:
    """The token in the data folder; empty when there is none."""
    try:
        return data.admin_token.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


class TokenGuard:
    """ASGI middleware that asks for the token; an empty one lets everybody through."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._token or self._open(scope["path"]) or self._knows(Headers(scope=scope)):
            await self._app(scope, receive, send)
        else:
            await self._refusal(scope)(scope, receive, send)

    def _open(self, path: str) -> bool:
        return path in OPEN_PATHS or path.startswith("/static/")

    def _knows(self, headers: Headers) -> bool:
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and same(given.strip(), self._token):
            return True
        return same(_cookie(headers.get("cookie", "")), session_of(self._token))

    def _refusal(self, scope: Scope) -> Response:
        headers = Headers(scope=scope)
        if scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
            query = scope["query_string"].decode("latin-1")
            wanted = scope["path"] + (f"?{query}" if query else "")
            return RedirectResponse(f"/login?next={quote(wanted)}", 303)
        why = "This address asks for a token: send it as 'authorization: Bearer TOKEN'. It is in the data folder, in "
        return problem("TutelageError", why + "admin.token.", 401)


def session_of(token: str) -> str:
    """The cookie's value for a token."""
    return hmac.new(token.encode(), b"tutelage dashboard session v1", hashlib.sha256).hexdigest()


def same(given: str, expected: str) -> bool:
    """Equality that takes as long however much agrees."""
    return hmac.compare_digest(given.encode(), expected.encode())


def _cookie(text: str) -> str:
    try:
        found = SimpleCookie(text).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


def logged_in(body: bytes, token: str) -> Response | None:
    """The answer to the login form: on to the page that was wanted, with the cookie. None for a wrong token."""
    fields = parse_qs(body.decode("utf-8", "replace"))
    given, wanted = (fields.get(name, [""])[0] for name in ("token", "next"))
    if not same(given.strip(), token):
        return None
    # Only a path of our own: a browser reads two slashes, or a backslash, as another host.
    own = wanted.startswith("/") and not wanted.startswith(("//", "/\\"))
    found = RedirectResponse(wanted if own else "/", 303)
    found.set_cookie(COOKIE, session_of(token), max_age=SESSION_S, httponly=True, samesite="strict")
    return found
