"""What students have brought, through the admin API."""

from typing import Any

from tutelage.proxy.admin_client import LocalSender


def get(world: Any, **params: Any) -> Any:
    return LocalSender(world.plane.app, lambda: None).request("GET", "/api/savings", params, None).json()


def test_a_pattern_is_named_and_can_be_asked_for_alone(control_world: Any) -> None:
    control_world.play(40)
    control_world.add_student()
    control_world.play(5, route="student", student=control_world.version)
    found = get(control_world)
    (line,) = found["patterns"]
    assert (line["pattern_id"], line["calls"]) == (control_world.pattern, 5)
    assert line["amounts"]["avoided"] > 0
    # Nobody has said what the student costs.
    assert (line["amounts"]["serving"], line["net"], found["net"], found["unpriced"]) == (None, None, None, ["student"])
    assert get(control_world, pattern=line["name"])["patterns"] == [line]
    assert get(control_world, days=1)["days"][0]["name"] == line["name"]


def test_what_cannot_be_asked_for_is_said(control_world: Any) -> None:
    control_world.play(40)
    assert get(control_world, pattern="none")["error"]["type"] == "UnknownName"
    assert "36500" in get(control_world, days=-1)["error"]["message"]
    alone = get(control_world, pattern=control_world.pattern)
    assert (alone["patterns"], alone["net"]) == ([], 0.0)
