"""The event log: what is appended comes back in order, and survives JSON bit for bit."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tutelage.proxy.event_log import EventLog, event_entry, switch_entry, transition_entry
from tutelage.proxy.states import Operator, Session, Transition, decode_event

KEY = ("p_1", "s@1")


@given(st.floats(0, 1), st.text(max_size=20).filter(lambda text: text.isprintable()))
def test_an_entry_holds_the_whole_event(loss: float, session: str) -> None:
    event = Session(at=1.5, kind="shadow", session=session, loss=loss, calls=2)
    entry = event_entry(KEY, event)
    assert (entry.kind, entry.pattern_id, entry.student) == ("session", *KEY)
    assert decode_event(entry.detail) == event


def test_append_and_read_back(control_world: Any) -> None:
    log = EventLog(control_world.plane.store)
    assert log.switch()["off"] is False
    first = Session(at=1.0, kind="shadow", session="a", loss=0.1)
    second = Operator(at=2.0, action="off", actor="tester", reason="why")
    change = Transition(
        at=2.0,
        kind="state",
        before="shadow",
        after="off",
        share=0.0,
        reason="x",
        actor="tester",
        student="s@1",
        evidence={},
    )
    log.append([])
    log.append([event_entry(KEY, first)])
    log.append([event_entry(KEY, second), transition_entry(KEY, change), switch_entry(3.0, True, "tester", "drill")])
    again = EventLog(control_world.plane.store)
    assert [logged.event for logged in again.events()] == [first, second]
    assert again.switch() == {"off": True, "reason": "drill", "actor": "tester", "at": 3.0}
    assert [row["after"] for row in again.transitions()] == ["off", "off"]
    assert [row["kind"] for row in again.transitions(pattern_id="p_1")] == ["state"]
    again.append([switch_entry(4.0, False, "tester", "")])
    assert again.switch()["off"] is False
    assert control_world.plane.store.rows("SELECT seq FROM route_events ORDER BY seq") == [(n,) for n in range(1, 6)]
