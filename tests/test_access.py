"""The token of an admin API that listens beyond its machine."""

import stat
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from tutelage.proxy.access import COOKIE, TokenGuard, is_local, logged_in, read_token, session_of, token_for
from tutelage.traffic.errors import BadInput
from tutelage.traffic.layout import DataDir

TOKEN = "a-token-of-some-length"


def guarded(token: str) -> TestClient:
    names = ("/", "/api/status", "/healthz", "/static/x.css", "/login")
    app = Starlette(routes=[Route(name, lambda request: PlainTextResponse("in")) for name in names])
    app.add_middleware(TokenGuard, token=token)
    return TestClient(app, follow_redirects=False)


@pytest.mark.parametrize(
    ("host", "local"),
    [
        *((name, True) for name in ("127.0.0.1", "127.8.8.8", "::1", "localhost")),
        *((name, False) for name in ("0.0.0.0", "::", "10.0.0.2", "my-host", "")),
    ],
)
def test_what_counts_as_this_machine_alone(host: str, local: bool) -> None:
    assert is_local(host) is local


def test_without_a_token_everybody_is_let_in() -> None:
    assert guarded("").get("/api/status").text == "in"


@pytest.mark.parametrize("path", ["/healthz", "/static/x.css", "/login"])
def test_what_needs_no_token(path: str) -> None:
    assert guarded(TOKEN).get(path).text == "in"


def test_programs_are_told_and_browsers_are_sent_to_the_login() -> None:
    client = guarded(TOKEN)
    refused = client.get("/api/status")
    assert refused.status_code == 401
    assert "Bearer" in refused.json()["error"]["message"]
    sent = client.get("/?span=7d", headers={"accept": "text/html"})
    assert (sent.status_code, sent.headers["location"]) == (303, "/login?next=/%3Fspan%3D7d")


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer ä"])
def test_a_wrong_token_opens_nothing(given: str) -> None:
    headers = {b"authorization": given.encode()}
    assert guarded(TOKEN).get("/api/status", headers=headers).status_code == 401


def test_the_token_and_the_session_open() -> None:
    client = guarded(TOKEN)
    assert client.get("/api/status", headers={"authorization": f"Bearer {TOKEN}"}).text == "in"
    assert client.get("/api/status", headers={"cookie": f"{COOKIE}={session_of(TOKEN)}"}).text == "in"
    assert client.get("/api/status", headers={"cookie": f"{COOKIE}={TOKEN}"}).status_code == 401
    assert client.get("/api/status", headers={"cookie": "a=b; ;;=\x01"}).status_code == 401


def test_the_login_gives_a_cookie_that_does_not_hold_the_token() -> None:
    assert logged_in(b"token=wrong&next=%2F", TOKEN) is None
    answer = logged_in(f"token={TOKEN}&next=%2Fpatterns%3Forder%3Drisk".encode(), TOKEN)
    assert answer is not None
    assert answer.headers["location"] == "/patterns?order=risk"
    cookie = answer.headers["set-cookie"].lower()
    assert TOKEN not in cookie
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


@pytest.mark.parametrize("wanted", ["https://evil.test/", "//evil.test/", "/\\evil.test/", "", "javascript:alert(1)"])
def test_the_login_leads_nowhere_else(wanted: str) -> None:
    answer = logged_in(f"token={TOKEN}&next={wanted}".encode(), TOKEN)
    assert answer is not None
    assert answer.headers["location"] == "/"


def test_a_token_is_made_once_and_only_the_owner_reads_it(tmp_path: Path) -> None:
    data = DataDir(tmp_path).prepare()
    assert token_for("127.0.0.1", data, "") == ""
    assert read_token(data) == ""
    made = token_for("0.0.0.0", data, "", {})
    assert len(made) >= 32
    assert token_for("0.0.0.0", data, "", {}) == made == read_token(data)
    assert stat.S_IMODE(data.admin_token.stat().st_mode) == 0o600


def test_a_token_from_the_environment_wins_and_commands_find_it(tmp_path: Path) -> None:
    data = DataDir(tmp_path).prepare()
    assert token_for("10.0.0.2", data, "T", {"T": TOKEN}) == TOKEN == read_token(data)
    with pytest.raises(BadInput, match="at least 16"):
        token_for("10.0.0.2", data, "T", {"T": "short"})
