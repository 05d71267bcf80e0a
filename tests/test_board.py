"""The board: events move states, the log rebuilds them, and the table follows."""

import time
from typing import Any

import msgspec
import pytest

from tutelage.proxy.board import Board
from tutelage.proxy.options import RoutingOptions
from tutelage.proxy.routes import RouteTable, assigned, bucket
from tutelage.proxy.sessions import Scope, SessionLoss
from tutelage.traffic.errors import UnknownName


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
