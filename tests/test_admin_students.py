"""Student versions over the admin API."""

from typing import Any

import msgspec
import pytest
from dashboard_site import busy
from starlette.testclient import TestClient

from tutelage.traffic.students import LINEAGE, RETIRED


@pytest.fixture
def api(control_world: Any) -> TestClient:
    busy(control_world)
    return TestClient(control_world.plane.app, base_url="http://127.0.0.1")


def test_versions_are_listed_and_shown(control_world: Any, api: TestClient) -> None:
    assert [one["version"] for one in api.get("/api/students").json()] == [control_world.version]
    assert api.get(f"/api/students/{control_world.version}").json()["status"] == "candidate"
    assert api.get("/api/students/none@0").status_code == 404


def test_a_retired_version_loses_its_patterns_and_does_not_come_back(control_world: Any, api: TestClient) -> None:
    path = f"/api/students/{control_world.version}"
    told = api.post(f"{path}/retire", json={"reason": "a better one", "actor": "ada"}).json()
    assert (told["status"], told["reason"]) == ("retired", "retired by ada: a better one")
    state = control_world.plane.keeper.board.state(control_world.pattern)
    assert state.state == "quarantined"
    control_world.reopen()
    control_world.play(5)
    control_world.idle()
    assert control_world.plane.keeper.board.state(control_world.pattern).state == "quarantined"
    # The manifest is as it was: a version never changes.
    folder = control_world.data.students / control_world.version
    assert b'"candidate"' in (folder / "manifest.json").read_bytes()
    assert (folder / RETIRED).is_file()


def test_retiring_needs_a_reason_and_a_version(control_world: Any, api: TestClient) -> None:
    path = f"/api/students/{control_world.version}/retire"
    assert "Say why" in api.post(path, json={"reason": " "}).json()["error"]["message"]
    assert api.post(path, json={}).status_code == 400
    assert api.post("/api/students/none@0/retire", json={"reason": "x"}).status_code == 404
    assert control_world.plane.keeper.board.state(control_world.pattern).state == "canary"


def test_a_version_that_a_route_uses_is_not_deleted(control_world: Any, api: TestClient) -> None:
    path = f"/api/students/{control_world.version}"
    refused = api.post(f"{path}/delete", json={})
    assert refused.status_code == 400
    assert "is in canary on the pattern" in refused.json()["error"]["message"]
    assert api.get(path).status_code == 200
    api.post(f"{path}/retire", json={"reason": "a better one"})
    assert api.post(f"{path}/delete", json={}).json() == {"deleted": control_world.version}
    assert api.get(path).status_code == 404
    assert api.post(f"{path}/delete", json={}).status_code == 404
    # What it did stays in the log, and the control plane starts as before.
    control_world.reopen()
    control_world.play(3)
    control_world.idle()
    assert control_world.plane.keeper.board.state(control_world.pattern).state == "quarantined"
    assert control_world.plane.keeper.retell().equal


def test_drawings_are_given_out_by_name(control_world: Any, api: TestClient) -> None:
    path = f"/api/students/{control_world.version}/plots"
    assert api.get(f"{path}/loss.svg").status_code == 404
    assert api.get(f"{path}/manifest.json").status_code == 404
    folder = control_world.data.students / control_world.version
    told = msgspec.json.decode((folder / "manifest.json").read_bytes()) | {"plots": ["loss.svg"]}
    (folder / "manifest.json").write_bytes(msgspec.json.encode(told))
    (folder / "loss.svg").write_text("<svg/>")
    drawn = api.get(f"{path}/loss.svg")
    assert (drawn.content, drawn.headers["content-type"]) == (b"<svg/>", "image/svg+xml")
    assert "default-src 'none'" in drawn.headers["content-security-policy"]


def test_lineage_tells_who_learnt_from_a_call(control_world: Any, api: TestClient) -> None:
    folder = control_world.data.students / control_world.version
    row = {"row": "t1/0", "trajectory_id": "t1", "call_ids": ["c1", "c2"]}
    (folder / LINEAGE).write_bytes(msgspec.json.encode(row) + b"\n")
    found = {"version": control_world.version, "status": "candidate", "rows": 1, "calls": ["c1", "c2"]}
    assert api.get("/api/lineage/t1").json() == {"name": "t1", "versions": [found]}
    assert api.get("/api/lineage/c2").json()["versions"] == [found]
    assert api.get("/api/lineage/c9").json() == {"name": "c9", "versions": []}
