"""The proof of the event log, and that it finds what is not true."""

from typing import Any

import msgspec
import pytest

from tutelage.proxy.operators import Wish


@pytest.fixture
def world(control_world: Any) -> Any:
    """Through shadow, canary and an operator's words, with a changed option on the way."""
    world = control_world
    world.through_shadow()
    world.play(15, route="student", student=world.version)
    world.label("audit")
    world.idle()
    world.plane.keeper.operate(world.pattern, Wish("promote", "ada", "I know it", force=True))
    world.plane.keeper.operate(world.pattern, Wish("share", "ada", "not all at once", share=0.5))
    world.plane.keeper.operate(world.pattern, Wish("hold", "ada", ""))
    return world


def test_the_log_tells_everything(world: Any) -> None:
    found = world.plane.keeper.retell()
    assert found.differences == []
    assert found.equal
    assert (found.machines, found.transitions) == (1, 6)
    assert found.reproduced == 3  # gate_crossed and two of ramp; the others were the student's arrival and an operator
    assert found.events > 60
    world.reopen()
    world.idle()
    assert world.plane.keeper.retell().equal


def change(world: Any, kind: str, edit: Any) -> None:
    store = world.plane.store
    seq, detail = store.rows("SELECT seq, detail FROM route_events WHERE kind = ? ORDER BY seq DESC", (kind,))[0]
    body = msgspec.json.decode(detail)
    edit(body)
    store.execute("UPDATE route_events SET detail = ? WHERE seq = ?", (msgspec.json.encode(body).decode(), seq))


@pytest.mark.parametrize(
    ("kind", "edit", "says"),
    [
        ("session", lambda body: body.update(loss=0.5), "the state in force is not the one that the log leads to"),
        ("transition", lambda body: body["evidence"].update(k=7), "is not what was logged"),
        ("operator", lambda body: body.update(action="demote"), "quarantined"),
    ],
)
def test_a_changed_log_is_found_out(world: Any, kind: str, edit: Any, says: str) -> None:
    change(world, kind, edit)
    found = world.plane.keeper.retell()
    assert not found.equal
    assert any(says in text for text in found.differences)


def test_a_transition_that_no_event_makes_is_found_out(world: Any) -> None:
    world.plane.store.execute("DELETE FROM route_events WHERE kind = 'operator'")
    assert any("that no event makes" in text for text in world.plane.keeper.retell().differences)


def test_evidence_that_would_decide_otherwise_is_found_out(world: Any) -> None:
    """Also where the same lie stands in the events: a decision must follow from what was kept with it."""
    store = world.plane.store
    sql = "SELECT seq, detail FROM route_events WHERE kind = 'transition' AND detail LIKE '%gate_crossed%'"
    (seq, detail) = store.rows(sql)[0]
    body = msgspec.json.decode(detail)
    body["snapshot"]["in_shadow"]["now"]["gate"]["crossed_at"] = 0
    store.execute("UPDATE route_events SET detail = ? WHERE seq = ?", (msgspec.json.encode(body).decode(), seq))
    assert not world.plane.keeper.retell().equal


@pytest.mark.parametrize(
    ("content", "says"), [(None, "no route table"), (b"{", "cannot be read"), (b"{}", "not the one")]
)
def test_a_table_that_does_not_follow_is_found_out(world: Any, content: bytes | None, says: str) -> None:
    if content is None:
        world.data.routes.unlink()
    else:
        world.data.routes.write_bytes(content)
    found = world.plane.keeper.retell()
    assert not found.equal
    assert any(says in text for text in found.differences)
