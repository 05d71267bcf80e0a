"""What each agent has to learn from: told by the store, the register and the routes."""

from typing import Any

from dashboard_site import busy
from msgspec.structs import replace
from starlette.testclient import TestClient

from tutelage.distill.schedule import Need
from tutelage.traffic.students import StudentRegister


def needs(world: Any) -> list[dict[str, Any]]:
    return TestClient(world.plane.app, base_url="http://127.0.0.1").get("/api/needs").json()


def test_an_agents_sessions_versions_and_losses(control_world: Any) -> None:
    control_world.play(40)
    control_world.idle()
    (first,) = needs(control_world)
    assert (first["sessions"], first["new_sessions"], first["version"]) == (40, 40, "")
    # The schedule reads exactly these facts.
    assert set(first) == set(Need.__struct_fields__)
    control_world.add_student()
    control_world.play(5)
    control_world.idle()
    (second,) = needs(control_world)
    assert (second["sessions"], second["new_sessions"], second["version"]) == (45, 5, control_world.version)
    assert second["lost"] == second["unknown"] == []


def test_a_lost_pattern_is_a_reason_to_train(control_world: Any) -> None:
    busy(control_world)
    api = TestClient(control_world.plane.app, base_url="http://127.0.0.1")
    assert needs(control_world)[0]["lost"] == []
    api.post(f"/api/routes/{control_world.pattern}/demote", json={"reason": "drift"})
    assert needs(control_world)[0]["lost"] == [control_world.pattern]
    # A new version that was rejected gives nothing back, but the sessions that it has seen are not new any more.
    register = StudentRegister(control_world.data)
    rejected = replace(register.get(control_world.version), version="other@1", status="rejected", created_at=1e10)
    draft = control_world.data.root / "draft"
    draft.mkdir()
    register.publish(draft, replace(rejected, snapshot_at=1e10))
    (now,) = needs(control_world)
    assert (now["lost"], now["version"]) == ([control_world.pattern], control_world.version)
    assert now["new_sessions"] == 0
