"""The admin API over a real store, through its ASGI application."""

import asyncio
from typing import Any

import httpx
import msgspec
import pytest

from tutelage.proxy.routes import RouteTable


class Api:
    """Requests to the application of a world, as a browser or a command would send them."""

    def __init__(self, world: Any) -> None:
        self._app = world.plane.app

    def ask(self, method: str, path: str, host: str = "127.0.0.1:8401", **more: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app=self._app)
            async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
                return await client.request(method, path, **more)

        return asyncio.run(send())

    def get(self, path: str) -> Any:
        response = self.ask("GET", path)
        assert response.status_code == 200, response.text
        return response.json()


@pytest.fixture
def api(control_world: Any) -> Api:
    control_world.play(40)
    return Api(control_world)


def test_every_list_answers(api: Api, control_world: Any) -> None:
    assert api.get("/healthz") == {"status": "ok"}
    stats = api.get("/api/store/stats")
    assert (stats["calls"], stats["trajectories"], stats["patterns"]) == (40, 40, 1)
    assert {"calls", "trajectories", "messages", "patterns", "bytes", "tables", "migrations"} <= set(stats)
    calls = api.get(f"/api/calls?limit=3&pattern={control_world.pattern}")
    assert len(calls) == 3
    detail = api.get(f"/api/calls/{calls[0]['call_id']}")
    assert detail["request"]["messages"][1]["content"] == "Parcel P00040 has left."
    assert detail["answer"]["tool_calls"][0]["function"]["name"] == "set_status"
    trajectory = api.get(f"/api/trajectories/{calls[0]['trajectory_id']}")
    assert [call["call_id"] for call in trajectory["calls"]] == [calls[0]["call_id"]]
    assert len(api.get("/api/trajectories?limit=7")) == 7
    assert api.get("/api/students") == []
    assert api.get("/api/runs") == []
    assert api.get("/api/transitions") == []
    assert sum(point["calls"] for point in api.get("/api/traffic")) == 40


def test_patterns_and_routes(api: Api, control_world: Any) -> None:
    control_world.add_student()
    control_world.play(20)
    control_world.label(loss=0.0)
    control_world.idle()
    (row,) = api.get("/api/routes")
    assert (row["state"], row["student"], row["share"]) == ("shadow", control_world.version, 0.0)
    assert (row["sessions"], row["risk"]) == (20, 0.0)
    assert row["low"] == 0.0
    assert 0.0 < row["high"] < 1.0
    assert 0.0 < row["progress"] < 1.0
    assert "more sessions" in row["missing"]
    (pattern,) = api.get("/api/patterns")
    assert pattern["calls"] == 60
    assert pattern["route"] == row
    assert pattern["dollars_spent"] == pytest.approx(60 * (100 * 2 + 10 * 8) / 1e6)
    one = api.get(f"/api/patterns/{pattern['name']}")
    assert one["entry"]["tool_names"] == ["set_status"]
    explained = api.get(f"/api/routes/{pattern['pattern_id']}")
    assert explained["shadow"]["n"] == 20
    assert [change["after"] for change in explained["transitions"]] == ["shadow"]
    assert len(api.get(f"/api/comparisons?pattern={pattern['pattern_id']}&limit=100")) == 20
    assert api.get(f"/api/comparisons?pattern={pattern['pattern_id']}&worse=true") == []
    assert api.get(f"/api/students/{control_world.version}")["status"] == "candidate"


def test_status_has_what_commands_wait_for(api: Api) -> None:
    status = api.get("/api/status")
    assert status["pending_sessions"] == 0
    assert status["off"] is False
    assert status["states"] == {"observe": 1}
    assert status["ledger"]["tokens_saved"] == 0
    assert status["ledger"]["teacher_calls"] == 40
    assert status["problems"] == []


def test_switching_off_is_in_the_table_when_the_answer_comes(api: Api, control_world: Any) -> None:
    def table() -> RouteTable:
        return msgspec.json.decode(control_world.data.routes.read_bytes(), type=RouteTable)

    body = {"reason": "odd answers", "actor": "tester"}
    response = api.ask("POST", f"/api/routes/{control_world.pattern}/off", json=body)
    assert response.json()["states"] == {control_world.pattern: "off"}
    assert table().routes[control_world.pattern].state == "off"
    change = api.get("/api/transitions")[0]
    assert (change["after"], change["actor"]) == ("off", "tester")
    assert "odd answers" in change["reason"]
    assert api.ask("POST", "/api/off", json={}).json()["off"] is True
    assert table().off
    assert api.ask("POST", "/api/on", json={}).json()["off"] is False
    assert api.ask("POST", f"/api/routes/{control_world.pattern}/on", json={}).status_code == 200
    assert table().routes[control_world.pattern].state == "observe"


def test_export_writes_a_snapshot(api: Api, control_world: Any) -> None:
    control_world.idle()
    entry = control_world.plane.keeper.registry.entries()[0]
    for name in (entry.agent_id, entry.pattern_id, entry.name):
        export = api.ask("POST", "/api/exports", json={"agent": name}).json()
        assert export["path"].startswith(str(control_world.data.exports))
    assert export["snapshot_at"] > 0


@pytest.mark.parametrize(
    ("method", "path", "status", "kind", "words"),
    [
        ("GET", "/api/calls/nonsense", 404, "UnknownName", "no call"),
        ("GET", "/api/trajectories/nonsense", 404, "UnknownName", "no trajectory"),
        ("GET", "/api/routes/nonsense", 404, "UnknownName", "no pattern"),
        ("GET", "/api/students/a@b", 404, "UnknownName", "no student version"),
        ("GET", "/api/nonsense", 404, "UnknownName", "docs/admin-api.md"),
        ("GET", "/api/calls?limit=0", 400, "BadInput", "between 1 and"),
        ("GET", "/api/calls?limit=many", 400, "BadInput", "limit"),
        ("POST", "/api/routes/nonsense/off", 404, "UnknownName", "no pattern"),
        ("POST", "/api/exports", 404, "UnknownName", "no agent or pattern"),
    ],
)
def test_errors_have_one_form(api: Api, method: str, path: str, status: int, kind: str, words: str) -> None:
    response = api.ask(method, path, json={"agent": "nonsense"} if method == "POST" else None)
    assert response.status_code == status
    assert response.json()["error"]["type"] == kind
    assert words in response.json()["error"]["message"]


def test_bad_bodies(api: Api) -> None:
    assert "content-type" in api.ask("POST", "/api/off", content=b"{}").json()["error"]["message"]
    head = {"content-type": "application/json"}
    assert api.ask("POST", "/api/off", content=b"{", headers=head).status_code == 400
    assert api.ask("POST", "/api/off", content=b'{"reason": 7}', headers=head).status_code == 400


def test_pages_of_other_sites_are_kept_out(api: Api) -> None:
    own, foreign = "http://127.0.0.1:8401", "https://evil.test"
    assert api.ask("POST", "/api/on", json={}, headers={"origin": own}).status_code == 200
    assert api.ask("POST", "/api/on", json={}, headers={"origin": foreign}).status_code == 403
    assert api.ask("POST", "/api/on", json={}, headers={"origin": "null"}).status_code == 403
    assert api.ask("POST", "/api/on", json={}, headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert api.ask("GET", "/api/status", host="evil.test:8401").status_code == 403
    assert api.ask("GET", "/api/status", host="localhost:8401").status_code == 200
    assert api.ask("GET", "/api/status", host="[::1]:8401").status_code == 200


def test_a_lone_surrogate_in_the_log_does_not_break_the_api(control_world: Any) -> None:
    answer = {"role": "assistant", "content": "broken \ud83d half"}
    (call_id,) = control_world.play(1, answer=answer)
    detail = Api(control_world).get(f"/api/calls/{call_id}")
    assert detail["answer"]["content"].startswith("broken")
