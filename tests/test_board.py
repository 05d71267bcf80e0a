"""The board: events move states, the log rebuilds them, and the table follows."""

import random
import time
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from tutelage.proxy.board import Board
from tutelage.proxy.explain import explain
from tutelage.proxy.options import RoutingOptions
from tutelage.proxy.routes import RouteTable, assigned, bucket
from tutelage.proxy.sessions import Scope, SessionLoss
from tutelage.proxy.shadow import Label
from tutelage.proxy.verdicts import PairKey, Said, person_says, say
from tutelage.traffic.errors import BadInput, UnknownName


@pytest.fixture
def world(control_world: Any) -> Any:
    control_world.play(40)
    control_world.add_student()
    return control_world


def board_of(world: Any, **options: Any) -> Board:
    return Board(world.plane.store, RoutingOptions(**options), b"secret", time.time)


def losses(*values: float) -> list[SessionLoss]:
    return [SessionLoss(f"t{n}-{id(values)}", 1, value, value, 0.0, 0.0) for n, value in enumerate(values)]


def test_a_second_version_spends_its_own_part_of_alpha(world: Any) -> None:
    world.add_student("parcels@ffffffffffff")
    first, second = sorted(world.plane.keeper.board.states(world.pattern), key=lambda state: state.k)
    assert (first.k, second.k) == (1, 2)
    assert second.shadow.alpha == pytest.approx(first.shadow.alpha / 4)
    assert {scope.student for scope in world.plane.keeper.board.scopes("shadow")} == {first.student, second.student}


def test_registering_again_changes_nothing(world: Any) -> None:
    before = world.plane.store.value("SELECT count(*) FROM route_events")
    world.reopen()
    world.idle()
    assert world.plane.store.value("SELECT count(*) FROM route_events") == before


def test_tools_have_their_own_limit(world: Any) -> None:
    state = world.plane.keeper.board.state(world.pattern)
    assert (state.epsilon, state.single_turn) == (0.10, True)


def test_feeding_stops_when_the_state_moves_on(world: Any) -> None:
    board = world.plane.keeper.board
    (scope,) = board.scopes("shadow")
    board.feed(scope, losses(*[0.0] * 200))
    state = board.state(world.pattern)
    assert state.state == "canary"
    assert state.late == 0
    assert len(board.fed(scope)) == state.shadow.n
    assert board.scopes("shadow") == []
    assert [found.kind for found in board.scopes("audit")] == ["audit"]


def test_changed_options_are_an_event(world: Any) -> None:
    board = board_of(world, audit_share=0.5)
    assert board.state(world.pattern).options.audit_share == 0.5
    assert world.plane.store.value("SELECT count(*) FROM route_events WHERE kind = 'configured'") == 1
    board_of(world, audit_share=0.5)
    assert world.plane.store.value("SELECT count(*) FROM route_events WHERE kind = 'configured'") == 1


def test_the_assignment_survives_a_restart(world: Any) -> None:
    def route() -> Any:
        return msgspec.json.decode(world.data.routes.read_bytes(), type=RouteTable).routes[world.pattern]

    world.plane.keeper.operate(world.pattern, "promote", "tester", "trust me", force=True)
    before = route()
    world.reopen()
    world.plane.catch_up()
    assert route() == before
    assert before.share == pytest.approx(0.10)
    chosen = [n for n in range(2000) if assigned(before, f"session {n}")]
    assert 120 < len(chosen) < 280
    audit = world.plane.keeper.board.scopes("audit")[0].salt
    assert audit != before.salt  # or every audited session would be a canary one
    assert bucket(audit, "x") != bucket(before.salt, "x")


def test_an_unchanged_table_is_not_written_again(world: Any) -> None:
    board = world.plane.keeper.board
    assert board.publish(world.data.routes) is False
    world.plane.keeper.operate(None, "off", "tester", "")
    serial = msgspec.json.decode(world.data.routes.read_bytes(), type=RouteTable).serial
    world.idle()
    assert msgspec.json.decode(world.data.routes.read_bytes(), type=RouteTable).serial == serial


def test_a_broken_table_on_disk_is_replaced(world: Any) -> None:
    world.data.routes.write_bytes(b"{")
    world.reopen()
    world.plane.catch_up()
    assert msgspec.json.decode(world.data.routes.read_bytes(), type=RouteTable).routes


def test_there_must_be_a_student_to_promote(control_world: Any) -> None:
    control_world.play(40)
    with pytest.raises(UnknownName, match="no student version"):
        control_world.plane.keeper.operate(control_world.pattern, "promote", "tester", "")


def test_a_demoted_version_waits_for_sessions_and_may_try_again(world: Any) -> None:
    keeper = world.plane.keeper
    keeper.operate(world.pattern, "promote", "tester", "", force=True)
    keeper.operate(world.pattern, "demote", "tester", "")
    assert keeper.board.state(world.pattern).cooldown == 500
    world.play(10)
    world.idle()
    assert keeper.board.state(world.pattern).cooldown == 490
    world.reopen()
    world.idle()
    assert world.plane.keeper.board.state(world.pattern).cooldown == 490
    world.plane.keeper.operate(world.pattern, "on", "tester", "again")
    state = world.plane.keeper.board.state(world.pattern)
    assert (state.state, state.k) == ("shadow", 2)


def test_a_scope_without_its_manifest_asks_for_nothing(world: Any) -> None:
    assert board_of(world).scopes("shadow") == []
    assert isinstance(world.plane.keeper.board.scopes("shadow")[0], Scope)


def test_a_late_verdict_is_heard_and_a_promotion_keeps_its_evidence(world: Any) -> None:
    board, store = world.plane.keeper.board, world.plane.store
    world.play(60)
    world.label()
    world.idle()
    assert board.state(world.pattern).state == "canary"
    frozen = board.log.transitions(10, world.pattern)[0]["evidence"]["shadow"]
    assert frozen["losses"] == 0.0
    for (call_id,) in store.rows("SELECT CAST(call_id AS VARCHAR) FROM comparisons WHERE kind = 'shadow' LIMIT 5"):
        person_says(store, PairKey(call_id, world.version, "shadow"), "reject", "ada", "", at=1.0)
    before = board.state(world.pattern).shadow
    world.idle()
    after = board.state(world.pattern)
    assert (before.total, after.shadow.total, after.shadow.n, after.state) == (0.0, 5.0, before.n, "canary")
    assert board.log.transitions(10, world.pattern)[0]["evidence"]["shadow"] == frozen
    told = store.value("SELECT count(*) FROM route_events WHERE kind = 'relabelled'")
    world.idle()
    world.reopen()
    world.idle()
    assert store is not world.plane.store
    assert world.plane.store.value("SELECT count(*) FROM route_events WHERE kind = 'relabelled'") == told == 5
    assert world.plane.keeper.board.state(world.pattern) == after
    assert world.plane.keeper.retell().equal


def test_a_verdict_given_while_the_control_plane_was_away_is_heard_at_the_start(world: Any) -> None:
    world.play(20)
    world.label()
    world.idle()
    store = world.plane.store
    store.execute("UPDATE comparisons SET loss = 1.0 WHERE kind = 'shadow'")
    world.idle()
    assert world.plane.keeper.board.state(world.pattern).shadow.total == 0.0
    world.reopen()
    world.idle()
    assert world.plane.keeper.board.state(world.pattern).shadow.total == 20.0


def test_calls_that_a_run_makes_after_a_pause_are_heard_too(world: Any) -> None:
    """The first of them was fed alone; a second call of the same run changes the session's loss."""
    world.play(1, trajectory="run-1")
    world.label(loss=0.0)
    world.idle()
    board = world.plane.keeper.board
    assert (board.state(world.pattern).shadow.n, board.state(world.pattern).shadow.total) == (1, 0.0)
    world.play(1, trajectory="run-1")
    assert world.label(loss=1.0) == 1
    world.idle()
    assert (board.state(world.pattern).shadow.n, board.state(world.pattern).shadow.total) == (1, 0.5)


def test_labels_in_any_order_and_twice_give_the_same_evidence(world: Any) -> None:
    world.play(30)
    tasks = list(world.plane.keeper.tasks("shadow", 1000))
    rng = random.Random(2)
    losses = {task.call_id: float(rng.random() < 0.1) for task in tasks}
    rng.shuffle(tasks)
    for task in [*tasks, *tasks[:10]]:
        label = Label(task, losses[task.call_id], "same", 1, task.answer, world.now, 5.0)
        world.plane.keeper.deliver(label)
        if rng.random() < 0.2:
            world.plane.catch_up()
    world.idle()
    gate = world.plane.keeper.board.state(world.pattern).shadow
    in_order = [losses[call] for call in sorted(losses)]
    fresh = msgspec.structs.replace(gate, n=0, total=0.0, logs=(0.0,) * 5, log_futility=0.0, crossed_at=0, futile_at=0)
    assert gate == fresh.fold(in_order)


def test_a_promotion_beyond_the_evidence_needs_force(world: Any) -> None:
    keeper = world.plane.keeper
    with pytest.raises(BadInput, match="--force"):
        keeper.operate(world.pattern, "promote", "tester", "")
    assert keeper.board.state(world.pattern).state == "shadow"
    assert world.plane.store.value("SELECT count(*) FROM route_events WHERE kind = 'operator'") == 0
    keeper.operate(world.pattern, "promote", "tester", "", force=True)
    assert keeper.board.state(world.pattern).forced
    assert keeper.board.log.transitions(1, world.pattern)[0]["forced"]


def test_less_than_all_audits_only_what_is_served_from_then_on(world: Any) -> None:
    keeper = world.plane.keeper
    for _ in range(2):
        keeper.operate(world.pattern, "promote", "tester", "", force=True)
    world.play(5, route="student", student=world.version)
    world.plane.catch_up()
    world.now += 10
    keeper.operate(world.pattern, "share", "tester", "carefully", share=0.4)
    (scope,) = keeper.board.scopes("audit")
    assert (scope.share, scope.after) == (1.0, world.now)
    keeper = world.reopen().keeper
    world.idle()
    assert keeper.board.scopes("audit") == [scope]


def test_a_pinned_version_keeps_the_pattern(world: Any) -> None:
    keeper, newer = world.plane.keeper, "parcels@ffffffffffff"
    keeper.operate(world.pattern, "promote", "tester", "", force=True)
    world.add_student(newer)
    keeper.operate(world.pattern, "pin", "tester", "the old one", student=world.version)
    keeper.operate(world.pattern, "promote", "tester", "", student=newer, force=True)
    assert keeper.board.state(world.pattern).student == world.version
    keeper.operate(world.pattern, "pin", "tester", "the new one", student=newer)
    assert keeper.board.state(world.pattern).student == newer
    assert [state.pinned for state in keeper.board.states(world.pattern)] == [False, True]
    keeper.operate(world.pattern, "unpin", "tester", "")
    assert not any(state.pinned for state in keeper.board.states(world.pattern))


def test_a_challenger_raises_the_audits_and_takes_only_its_share(world: Any) -> None:
    newer = "parcels@ffffffffffff"
    world.options = replace(world.options, routing=replace(world.options.routing, audit_warn_factor=1.0))
    keeper = world.reopen().keeper
    for _ in range(2):
        keeper.operate(world.pattern, "promote", "tester", "", force=True)
    world.idle()
    assert [scope.share for scope in keeper.board.scopes("audit")] == [0.02]
    world.add_student(newer)
    assert [scope.share for scope in keeper.board.scopes("audit")] == [0.2]
    keeper.operate(world.pattern, "promote", "tester", "", student=newer, force=True)
    route = keeper.board.routes()[world.pattern]
    assert (route.student, route.share) == (newer, 0.1)
    assert route.behind is not None
    assert (route.behind.student, route.behind.share) == (world.version, 1.0)


def test_a_judges_labels_hold_the_promotion_until_people_have_looked(world: Any) -> None:
    """One unsure pair that a judge accepts is enough: from then on its word has to be proven."""
    board, store = world.plane.keeper.board, world.plane.store
    world.play(60)
    tasks = list(world.plane.keeper.tasks("shadow", 1000))
    for number, task in enumerate(tasks):
        unsure = number == 3
        label = Label(task, float(unsure), "unsure" if unsure else "same", 1, task.answer, world.now, 5.0, waits=unsure)
        world.plane.keeper.deliver(label)
    world.plane.catch_up()
    key = PairKey(tasks[3].call_id, world.version, "shadow")
    say(store, Said(key, "judge", "model@1", "accept", world.now, "the same in other words"))
    world.idle()
    state = board.state(world.pattern)
    assert (state.state, state.shadow.crossed, state.shadow.total) == ("shadow", True, 0.0)
    assert state.judged is not None
    assert any("rest on a judge" in text for text in explain(state)["blocks"])
    assert world.plane.keeper.retell().equal
