"""Who may ask: the rules for browsers, as a table."""

import asyncio
from typing import Any

import pytest

from tutelage.proxy.admin_http import BrowserGuard, answer


def status(method: str, headers: dict[str, str], hosts: Any = ()) -> int:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer({})(scope, receive, send)

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": "/", "headers": raw}
    asyncio.run(BrowserGuard(app, hosts)(scope, receive, send))
    return sent[0]["status"]


@pytest.mark.parametrize(
    ("method", "headers", "hosts", "expected"),
    [
        ("GET", {"host": "localhost:8401"}, (), 200),
        ("GET", {"host": "LOCALHOST"}, (), 200),
        ("GET", {"host": "127.0.0.1.evil.test"}, (), 403),
        ("GET", {"host": "evil.test"}, (), 403),
        ("GET", {}, (), 403),
        ("GET", {"host": "[::1"}, (), 403),
        ("GET", {"host": "box.lan:8401"}, ("box.lan",), 200),
        ("GET", {"host": "anything"}, None, 200),
        ("POST", {"host": "localhost:8401"}, (), 200),
        ("POST", {"host": "localhost:8401", "origin": "http://localhost:8401"}, (), 200),
        ("POST", {"host": "localhost:8401", "origin": "http://localhost:8400"}, (), 403),
        ("POST", {"host": "localhost:8401", "origin": "null"}, (), 403),
        ("POST", {"host": "anything", "origin": "http://evil.test"}, None, 403),
        ("POST", {"host": "localhost", "sec-fetch-site": "same-origin"}, (), 200),
        ("POST", {"host": "localhost", "sec-fetch-site": "same-site"}, (), 403),
        ("DELETE", {"host": "localhost", "sec-fetch-site": "cross-site"}, (), 403),
    ],
)
def test_who_may_ask(method: str, headers: dict[str, str], hosts: Any, expected: int) -> None:
    assert status(method, headers, hosts) == expected


def test_lone_surrogates_and_paths_can_be_answered(tmp_path: Any) -> None:
    assert b"\\ud83d" in answer({"text": "\ud83d"}).body
    assert str(tmp_path).encode() in answer({"path": tmp_path}).body
