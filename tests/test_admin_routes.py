"""Routes over the admin API: what is shown, and an operator's words."""

import asyncio
from typing import Any

import httpx
import msgspec
import pytest

from tutelage.proxy.routes import RouteTable


class Api:
    """Requests to the application of a world."""

    def __init__(self, world: Any) -> None:
        self._app, self.pattern = world.plane.app, world.pattern

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app=self._app)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8401") as client:
                return await client.request(method, path, **more)

        return asyncio.run(send())

    def say(self, action: str, **body: Any) -> httpx.Response:
        return self.ask("POST", f"/api/routes/{self.pattern}/{action}", json={"actor": "ada", **body})


@pytest.fixture
def world(control_world: Any) -> Any:
    control_world.play(40)
    control_world.add_student()
    control_world.play(20)
    control_world.label()
    control_world.idle()
    return control_world


@pytest.fixture
def api(world: Any) -> Api:
    return Api(world)


def test_one_route_tells_its_state_evidence_and_what_is_missing(api: Api) -> None:
    (row,) = api.ask("GET", "/api/routes").json()
    assert (row["state"], row["sessions"], row["risk"], row["forced"]) == ("shadow", 20, 0.0, False)
    assert 0 < row["high"] < 1
    assert 20 < row["expected"] < 100
    assert "more sessions in shadow" in row["missing"]
    shown = api.ask("GET", f"/api/routes/{api.pattern}").json()
    assert shown["shadow"]["n"] == 20
    assert shown["transitions"][0]["reason"] == "student_registered"
    assert "snapshot" not in shown["transitions"][0]
    assert (shown["other_versions"], shown["blocks"]) == ([], [])


def test_a_promotion_beyond_the_evidence_is_refused_and_with_force_marked(api: Api, world: Any) -> None:
    refused = api.say("promote")
    assert refused.status_code == 400
    assert "--force" in refused.json()["error"]["message"]
    done = api.say("promote", force=True, reason="a demo")
    assert done.json() == {"off": False, "states": {api.pattern: "canary"}, "forced": [api.pattern]}
    (row,) = api.ask("GET", "/api/routes").json()
    assert row["forced"]
    change = api.ask("GET", f"/api/transitions?pattern={api.pattern}").json()[0]
    assert (change["actor"], change["reason"], change["forced"]) == ("ada", "operator: a demo", True)
    table = msgspec.json.decode(world.data.routes.read_bytes(), type=RouteTable)
    assert table.routes[api.pattern].share == pytest.approx(0.1)


def test_a_share_set_by_hand(api: Api, world: Any) -> None:
    refused = api.say("share", share=0.4)
    assert refused.status_code == 400
    assert "allows a share of 0 %, not 40%" in refused.json()["error"]["message"]
    assert "between 1% and 80%" in api.say("share").json()["error"]["message"]
    assert "share goes with" in api.say("hold", share=0.4).json()["error"]["message"]
    done = api.say("share", share=0.4, force=True, reason="a demo").json()
    assert (done["states"], done["forced"]) == ({api.pattern: "canary"}, [api.pattern])
    (row,) = api.ask("GET", "/api/routes").json()
    assert (row["share"], row["held"], row["forced"]) == (0.4, True, True)
    table = msgspec.json.decode(world.data.routes.read_bytes(), type=RouteTable)
    assert table.routes[api.pattern].share == 0.4
    assert api.say("share", share=0.2).status_code == 200, "less needs no evidence"
    assert api.ask("GET", "/api/replay").json()["equal"] is True


def test_words_on_versions(api: Api, world: Any) -> None:
    assert api.say("pin", student=world.version).status_code == 200
    assert api.ask("GET", "/api/routes").json()[0]["pinned"]
    assert api.say("pin", student="nobody@1").status_code == 404
    assert api.say("unpin").status_code == 200
    assert api.say("hold").status_code == 200
    assert api.ask("GET", f"/api/routes/{api.pattern}").json()["blocks"] == ["held by an operator"]
    assert api.say("resume").status_code == 200
    assert api.say("explode").status_code == 400


def test_off_and_resume_for_one_and_for_all(api: Api) -> None:
    assert api.say("off").json()["states"] == {api.pattern: "off"}
    assert api.say("resume").json()["states"] == {api.pattern: "shadow"}
    assert api.ask("POST", "/api/off", json={}).json()["off"] is True
    assert api.ask("POST", "/api/on", json={}).json()["off"] is False


def test_the_replay_is_offered(api: Api, world: Any) -> None:
    assert api.ask("GET", "/api/replay").json()["equal"] is True
    world.plane.store.execute("DELETE FROM route_events WHERE kind = 'transition'")
    assert api.ask("GET", "/api/replay").json()["equal"] is False


@pytest.mark.parametrize("limit", [0, 10_001])
def test_limits_are_checked(api: Api, limit: int) -> None:
    assert api.ask("GET", f"/api/transitions?limit={limit}").status_code == 400
