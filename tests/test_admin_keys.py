"""The admin API's part for keys, through its ASGI application."""

import asyncio
from typing import Any

import httpx
import pytest

from tutelage.proxy.key_text import form_fault


class Api:
    """Requests to the application of a world."""

    def __init__(self, world: Any) -> None:
        self._app = world.plane.app

    def ask(self, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app=self._app)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8401") as client:
                return await client.request(method, path, json=body, **more)

        return asyncio.run(send())


@pytest.fixture
def api(control_world: Any) -> Api:
    return Api(control_world)


def test_a_key_is_made_shown_changed_and_revoked(api: Api) -> None:
    limits = {"name": "team/ci", "rate": 60, "budget_usd": 5, "models": ["gpt-*"]}
    made = api.ask("POST", "/api/keys", limits).json()
    key = made.pop("key")
    assert form_fault(key) == ""
    assert (made["state"], made["burst"], made["models"]) == ("active", 10, ["gpt-*"])
    assert api.ask("GET", "/api/keys").json() == [made]
    for name in (made["key_id"], "team/ci", "team%2Fci"):
        assert api.ask("GET", f"/api/keys/{name}").json() == made
    changed = api.ask("POST", "/api/keys/team%2Fci/update", {"rate": 6, "period": "day", "burst": None}).json()
    assert {name for name in made if made[name] != changed[name]} == {"rate", "burst", "period", "resets_at"}
    revoked = api.ask("POST", f"/api/keys/{made['key_id']}/revoke", {}).json()
    assert revoked["state"] == "revoked"
    assert all(key not in api.ask("GET", path).text for path in ("/api/keys", f"/api/keys/{made['key_id']}"))


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/api/keys", {}, 400, "name"),
        ("/api/keys", {"name": "ci", "budget": 5}, 400, "budget"),
        ("/api/keys", {"name": "ci", "period": "week"}, 400, "week"),
        ("/api/keys", {"name": "ci", "rate": -1}, 400, "calls per minute"),
        ("/api/keys", {"name": "ci", "expires_at": 5}, 400, "a time to come"),
        ("/api/keys/nobody/update", {"rate": 1}, 404, "tutelage keys list"),
        ("/api/keys/nobody/update", {"speed": 1}, 400, "speed"),
        ("/api/keys/nobody/revoke", {}, 404, "no key 'nobody'"),
    ],
)
def test_mistakes_are_explained(api: Api, path: str, body: Any, status: int, words: str) -> None:
    response = api.ask("POST", path, body)
    assert response.status_code == status
    assert words in response.json()["error"]["message"]
    assert api.ask("GET", "/api/keys").json() == []


def test_pages_of_other_sites_make_no_keys(api: Api) -> None:
    foreign = api.ask("POST", "/api/keys", {"name": "ci"}, headers={"origin": "https://evil.test"})
    assert foreign.status_code == 403
    assert api.ask("GET", "/api/keys").json() == []
