"""The machines in memory are what a replay of the log gives."""

from typing import Any

import pytest

from tutelage.proxy.event_log import EventLog
from tutelage.proxy.machines import Machines
from tutelage.proxy.noise import SelfOdds
from tutelage.proxy.states import Invalid, Noisy, Operator, Passed, PatternState, Session, StudentRegistered

KEY = "parcels", "a@1"
BORN = StudentRegistered(at=1.0, version="a@1", epsilon=0.1, single_turn=True)


@pytest.fixture
def log(control_world: Any) -> EventLog:
    return EventLog(control_world.plane.store)


def machines_of(log: EventLog) -> Machines:
    return Machines(log, lambda *_: None)


def told(log: EventLog) -> Machines:
    machines = machines_of(log)
    machines.hear(KEY, BORN)
    for i in range(5):
        machines.hear(KEY, Session(at=2.0, kind="shadow", session=f"s{i}", loss=0.5 * (i == 3)))
    machines.hear(KEY, Operator(at=3.0, action="promote", actor="ada"))
    machines.hear(KEY, Operator(at=4.0, action="promote", actor="ada"))
    for at in (4.1, 4.2, 4.3):
        machines.hear(KEY, Session(at=at, kind="live", session=f"l{at}", loss=float(at > 4.1)))
    machines.hear(KEY, Invalid(at=4.5, n=9, bad=1, late=2))
    machines.hear(KEY, Operator(at=5.0, action="share", actor="ada", share=0.4))
    machines.hear(KEY, Operator(at=6.0, action="demote", actor="ada"))
    machines.hear(KEY, Passed(at=7.0, n=30))
    return machines


def remembered(machines: Machines) -> tuple[object, ...]:
    heard = dict(machines.fed(KEY, "shadow"))
    since = machines.passed_at, machines.live_at, machines.left_at, machines.warned_at
    return (*machines.items(), heard, machines.counted, *since)


def test_a_start_remembers_all_that_the_events_said(log: EventLog) -> None:
    machines = told(log)
    assert remembered(machines_of(log)) == remembered(machines)
    assert machines.fed(KEY, "shadow") == {f"s{i}": 0.5 * (i == 3) for i in range(5)}
    assert tuple(machines.counted[KEY]) == (9, 1, 2)
    assert (machines.live_at[KEY], machines.left_at[KEY], machines.passed_at[KEY]) == (4.0, 5.0, 7.0)
    assert machines.warned_at == {KEY: 4.3}
    assert machines.state(KEY).cooldown == 470


def test_an_event_that_makes_no_sense_leaves_neither_log_nor_memory_changed(log: EventLog) -> None:
    machines = told(log)
    before, rows = remembered(machines), len(list(log.events()))
    with pytest.raises(ValueError, match="canary, live or whole"):
        machines.hear(KEY, Session(kind="dream", session="x", loss=0.0))
    assert (remembered(machines), len(list(log.events()))) == (before, rows)


def test_what_follows_is_logged_with_its_event(log: EventLog) -> None:
    told(log)
    reasons = [row["reason"] for row in log.transitions(10, "parcels")]
    assert reasons == ["operator", "operator", "guard_warns", "operator", "operator", "student_registered"]


def test_unknown_machines_are_new_ones(log: EventLog) -> None:
    machines = told(log)
    assert machines.state(("parcels", "b@2")) == PatternState()
    assert (KEY in machines, ("parcels", "b@2") in machines) == (True, False)
    assert (machines.patterns(), machines.of("parcels"), machines.of("x")) == (["parcels"], [machines.state(KEY)], [])
    assert machines.ruling("parcels") is machines.state(KEY)


def test_a_relative_trial_is_told_when_it_begins_and_again_at_a_start(log: EventLog) -> None:
    began: list[tuple[object, ...]] = []
    machines = Machines(log, lambda *args: began.append(args))
    machines.hear(KEY, BORN)
    n = 0
    while machines.state(KEY).state == "shadow":
        machines.hear(KEY, Session(at=2.0, kind="shadow", session=f"s{n}", loss=float(n % 2)))
        n += 1
    assert began == []
    machines.hear(KEY, Noisy(at=5.0, seen=SelfOdds(repeats=100, disagreements=20.0, margin=0.5, k=3)))
    assert began == [(KEY, 5.0, n)]
    Machines(log, lambda *args: began.append(args))
    assert began[0] == began[1]
