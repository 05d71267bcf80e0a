"""The loop from the journal to the route table, over a real store and a real journal."""

import threading
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from tutelage.proxy.machine import replay
from tutelage.proxy.operators import Wish
from tutelage.proxy.options import RoutingOptions
from tutelage.proxy.routes import RouteTable
from tutelage.proxy.sessions import waiting
from tutelage.proxy.shadow import Label
from tutelage.proxy.states import decode_event
from tutelage.traffic.errors import BadInput
from tutelage.traffic.patterns import Registry
from tutelage.traffic.records import encode


def table_of(world: Any) -> RouteTable:
    return msgspec.json.decode(world.data.routes.read_bytes(), type=RouteTable)


def test_journal_becomes_calls_and_a_published_pattern(control_world: Any) -> None:
    ids = control_world.play(40)
    store = control_world.plane.store
    assert store.value("SELECT count(*) FROM calls") == 40
    assert len(Registry.load(control_world.data.patterns)) == 1
    assert store.value("SELECT count(*) FROM calls WHERE pattern_id = ?", (control_world.pattern,)) == 40
    assert control_world.plane.keeper.health.calls == len(ids)
    assert control_world.plane.keeper.health.backlog_bytes == 0


def test_it_says_once_that_all_that_waited_is_taken_in(control_world: Any) -> None:
    keeper, stop, stored = control_world.plane.keeper, threading.Event(), list[int]()
    assert all(control_world.writer.append(encode(control_world.record())) for _ in range(30))
    assert control_world.writer.flush()

    def rest() -> None:
        stored.append(control_world.plane.store.value("SELECT count(*) FROM calls"))
        threading.Timer(0.2, stop.set).start()

    keeper.on_rest = rest
    keeper.run(stop, 0.01)
    assert stored == [30]
    assert keeper.health.rounds > 2


def test_a_restart_neither_loses_nor_repeats(control_world: Any) -> None:
    control_world.play(20)
    control_world.reopen()
    control_world.play(20)
    assert control_world.plane.store.value("SELECT count(*) FROM calls") == 40
    assert control_world.plane.keeper.health.duplicates == 0


def test_a_finished_segment_is_deleted_only_after_its_rows_are_stored(control_world: Any) -> None:
    control_world.play(5)
    segments = list(control_world.data.journal.glob("*/*"))
    control_world.writer.close()
    control_world.plane.catch_up()
    assert control_world.plane.store.value("SELECT count(*) FROM calls") == 5
    assert segments
    assert not [path for path in control_world.data.journal.glob("*/*") if path.suffix == segments[0].suffix]
    assert control_world.plane.store.value("SELECT count(*) FROM journal_positions") == 0


def test_from_student_to_live_on_proof_and_back_on_failure(control_world: Any) -> None:
    world = control_world
    world.play(40)
    world.add_student()
    board = world.plane.keeper.board
    assert board.state(world.pattern).state == "shadow"
    assert table_of(world).routes[world.pattern].share == 0
    world.play(60)
    assert world.label() == 60
    assert board.state(world.pattern).shadow.n == 0  # nothing counts before its session is over
    world.idle()
    assert board.state(world.pattern).state == "canary"
    assert table_of(world).routes[world.pattern].share == pytest.approx(0.10)
    while board.state(world.pattern).state == "canary":
        world.play(25, route="student", student=world.version)
        assert world.label("audit") == 25
        world.idle()
        assert world.now < world.__class__.now + 3_000
    assert board.state(world.pattern).state == "live"
    assert table_of(world).routes[world.pattern].share == 1.0
    for _ in range(30):
        world.play(20, route="student", student=world.version)
        world.label("audit", loss=1.0)
        world.idle()
        world.now += 86_400.0
        if board.state(world.pattern).state == "quarantined":
            break
    assert board.state(world.pattern).state == "quarantined"
    assert table_of(world).routes[world.pattern].share == 0


def test_a_warning_is_answered_with_the_sessions_that_come(control_world: Any) -> None:
    world = control_world
    world.through_shadow()
    keeper = world.plane.keeper
    while keeper.board.state(world.pattern).state == "canary":
        world.play(25, route="student", student=world.version)
        world.label("audit")
        world.idle()
    world.now += 86_400.0
    world.play(60, route="student", student=world.version)
    *good, bad = keeper.tasks("audit", 1_000)
    assert 19 <= len(good) < 30
    for task in (*good, bad):
        keeper.deliver(Label(task, float(task is bad), "other", 1, task.answer, world.now, 5.0))
    world.idle()
    assert keeper.board.state(world.pattern).warned
    assert keeper.tasks("audit", 1_000) == []
    ids = world.play(10, route="student", student=world.version)
    assert [task.call_id for task in keeper.tasks("audit", 1_000)] == ids


def test_the_log_alone_gives_the_same_state(control_world: Any) -> None:
    world = control_world
    world.play(40)
    world.add_student()
    world.play(30)
    world.label(loss=0.10)
    world.idle()
    before = world.plane.keeper.board.state(world.pattern)
    rows = world.plane.store.rows("SELECT detail FROM route_events WHERE kind <> 'transition' ORDER BY seq")
    assert replay(decode_event(detail) for (detail,) in rows) == before
    assert before.shadow.n == 30
    world.reopen()
    world.idle()
    assert world.plane.keeper.board.state(world.pattern) == before  # and no session was fed a second time


def test_slow_labels_hold_later_sessions_back(control_world: Any) -> None:
    world = control_world
    world.play(40)
    world.add_student()
    ids = world.play(10)
    for task in world.plane.keeper.tasks("shadow", 100):
        if task.call_id != ids[3]:
            world.plane.keeper.deliver(Label(task, 0.0, "same", 1, task.answer, world.now, 5.0))
    world.idle()
    assert world.plane.keeper.board.state(world.pattern).shadow.n == 3
    assert world.plane.keeper.pending_sessions == 7
    assert [task.call_id for task in world.plane.keeper.tasks("shadow", 100)] == [ids[3]]


def test_a_call_that_is_taken_in_while_one_looks_is_pending(control_world: Any, monkeypatch: Any) -> None:
    world = control_world
    world.play(40)
    world.add_student()
    world.now += 1.0
    assert world.writer.append(encode(world.record()))
    assert world.writer.flush()
    looked: list[int] = []

    def and_then(*asked: Any) -> int:
        looked.append(waiting(*asked))
        world.plane.catch_up()
        return looked[-1]

    monkeypatch.setattr("tutelage.proxy.sessions.waiting", and_then)
    assert world.plane.keeper.pending_sessions == 1
    assert looked == [0]
    monkeypatch.undo()
    assert world.plane.keeper.pending_sessions == 1


def test_fallbacks_are_losses_without_asking_and_alarm_the_detector(control_world: Any) -> None:
    world = control_world
    world.through_shadow()
    world.play(1, route="teacher", student=world.version, fallback="invalid_output")
    tasks = world.plane.keeper.tasks("audit", 100)
    assert [task.failure for task in tasks] == ["fallback:invalid_output"]
    world.play(4, route="teacher", student=world.version, fallback="invalid_output")
    state = world.plane.keeper.board.state(world.pattern)
    assert state.state == "quarantined"
    assert (state.invalid.n, state.invalid.total) == (5, 5.0)


def test_a_student_server_that_is_away_gives_no_labels(control_world: Any) -> None:
    world = control_world
    world.through_shadow()
    world.play(3, route="teacher", student=world.version, fallback="student_unreachable")
    assert world.plane.keeper.tasks("audit", 100) == []


def test_the_shadow_budget_of_a_day_is_kept(control_world: Any) -> None:
    world = control_world
    world.play(40)
    world.options = replace(world.options, routing=RoutingOptions(session_idle_s=60.0, shadow_per_day=7))
    world.reopen()
    world.add_student()
    world.play(20)
    assert world.label() == 7
    assert world.plane.keeper.tasks("shadow", 100) == []
    world.now += 86_400.0
    assert len(world.plane.keeper.tasks("shadow", 100)) == 7


def test_switches_are_in_force_at_once_and_survive(control_world: Any) -> None:
    world = control_world
    world.play(40)
    keeper = world.plane.keeper
    keeper.operate(world.pattern, Wish("off", "tester", "odd answers"))
    assert table_of(world).routes[world.pattern].state == "off"
    keeper.operate(None, Wish("off", "tester", "fire drill"))
    assert table_of(world).off
    serial = table_of(world).serial
    world.reopen()
    world.plane.catch_up()
    assert table_of(world).off
    assert table_of(world).routes[world.pattern].state == "off"
    assert table_of(world).serial >= serial
    world.add_student()
    assert table_of(world).routes[world.pattern].state == "off"  # a new student does not undo a person's decision
    world.plane.keeper.operate(None, Wish("on", "tester", ""))
    world.plane.keeper.operate(world.pattern, Wish("on", "tester", ""))
    assert table_of(world).routes[world.pattern].state == "shadow"
    assert not table_of(world).off
    with pytest.raises(BadInput, match="can say"):
        keeper.operate(world.pattern, Wish("explode", "tester", ""))


def test_clock_jumps_change_no_evidence(control_world: Any) -> None:
    """A clock set ahead closes sessions early, one set back late; no session is lost or counted twice."""
    world = control_world
    world.play(40)
    world.add_student()
    world.play(20)
    world.label()
    world.now += 40 * 86_400.0
    world.plane.catch_up()
    assert world.plane.keeper.board.state(world.pattern).shadow.n == 20
    world.now -= 40 * 86_400.0 - 600.0
    world.play(10)
    world.label(loss=0.5)
    world.idle()
    gate = world.plane.keeper.board.state(world.pattern).shadow
    assert (gate.n, gate.total) == (30, 5.0)
    assert world.plane.keeper.retell().equal


def test_a_clock_that_is_set_back_does_not_stop_the_reviews(control_world: Any) -> None:
    world = control_world
    world.play(40)
    world.add_student()
    world.plane.keeper.tick()
    world.now -= 7 * 86_400.0
    called: list[bool] = []
    world.plane.keeper.housework = lambda: called.append(True)
    world.plane.keeper.tick()
    assert called


def test_an_overloaded_student_is_not_demoted(control_world: Any) -> None:
    world = control_world
    world.through_shadow()
    board = world.plane.keeper.board
    for _ in range(5):
        world.play(1, route="student", student=world.version)
        for reason in ("student_queue_full", "student_queue_timeout", "student_breaker_open", "student_timeout_busy"):
            world.play(4, route="teacher", student=world.version, fallback=reason)
    world.idle()
    assert board.state(world.pattern).state == "canary"
    assert board.state(world.pattern).invalid.total == 0
    world.play(50, route="teacher", student=world.version, fallback="student_queue_timeout")
    world.idle()
    assert board.state(world.pattern).state == "quarantined"
    assert board.log.transitions(1, world.pattern)[0]["reason"] == "no_answer"


def test_a_version_that_its_server_cannot_load_hands_its_pattern_back(control_world: Any) -> None:
    world = control_world
    world.through_shadow()
    board = world.plane.keeper.board
    world.play(49, route="teacher", student=world.version, fallback="student_model_not_found")
    world.idle()
    assert board.state(world.pattern).state == "canary"
    world.play(1, route="teacher", student=world.version, fallback="student_model_not_found")
    world.idle()
    assert board.state(world.pattern).state == "quarantined"
    assert board.log.transitions(1, world.pattern)[0]["reason"] == "no_answer"


def test_a_part_that_the_student_is_sure_of_reaches_the_route_table(control_world: Any) -> None:
    """Wrong on a third of all answers, and never where it is sure: the route carries the score that is needed."""
    world = control_world
    world.play(40)
    world.add_student()
    for _ in range(12):
        world.play(60)
        for number, task in enumerate(world.plane.keeper.tasks("shadow", 1000)):
            lost = number % 3 == 0
            score = -2.0 if lost else -0.001 * (number % 50)
            label = Label(task, float(lost), "tools" if lost else "same", 1, task.answer, world.now, 5.0, score=score)
            world.plane.keeper.deliver(label)
        world.idle()
        if table_of(world).routes[world.pattern].share:
            break
    state, route = world.plane.keeper.board.state(world.pattern), table_of(world).routes[world.pattern]
    assert (state.state, state.threshold) == ("canary", route.threshold)
    assert route.threshold is not None
    assert -2.0 < route.threshold < 0
    assert world.plane.keeper.board.log.transitions(1, world.pattern)[0]["reason"] == "threshold_crossed"
    world.play(1, route="student", student=world.version, confidence=-0.001)
    world.play(1, route="teacher", student=world.version, fallback="low_confidence", confidence=-3.0)
    assert [task.failure for task in world.plane.keeper.tasks("audit", 10)] == [""]
