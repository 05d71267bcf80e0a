"""The board: events move states, the log rebuilds them, and the table follows."""

import time
from typing import Any

import msgspec
import pytest

from tutelage.proxy.board import Board
from tutelage.proxy.operators import Wish
from tutelage.proxy.options import RoutingOptions
from tutelage.proxy.routes import RouteTable, assigned, bucket
from tutelage.proxy.sessions import Scope, SessionLoss
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


def test_changed_options_are_an_event(world: Any) -> None:
    board = board_of(world, audit_share=0.5)
    assert board.state(world.pattern).options.audit_share == 0.5
    assert world.plane.store.value("SELECT count(*) FROM route_events WHERE kind = 'configured'") == 1
    board_of(world, audit_share=0.5)
    assert world.plane.store.value("SELECT count(*) FROM route_events WHERE kind = 'configured'") == 1


def test_the_assignment_survives_a_restart(world: Any) -> None:
    def route() -> Any:
        return msgspec.json.decode(world.data.routes.read_bytes(), type=RouteTable).routes[world.pattern]

    world.plane.keeper.operate(world.pattern, Wish("promote", "tester", "trust me", force=True))
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
    world.plane.keeper.operate(None, Wish("off", "tester", ""))
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
        control_world.plane.keeper.operate(control_world.pattern, Wish("promote", "tester", ""))


def test_a_demoted_version_waits_for_sessions_and_may_try_again(world: Any) -> None:
    keeper = world.plane.keeper
    keeper.operate(world.pattern, Wish("promote", "tester", "", force=True))
    keeper.operate(world.pattern, Wish("demote", "tester", ""))
    assert keeper.board.state(world.pattern).cooldown == 500
    world.play(10)
    world.idle()
    assert keeper.board.state(world.pattern).cooldown == 490
    world.reopen()
    world.idle()
    assert world.plane.keeper.board.state(world.pattern).cooldown == 490
    world.plane.keeper.operate(world.pattern, Wish("on", "tester", "again"))
    state = world.plane.keeper.board.state(world.pattern)
    assert (state.state, state.k) == ("shadow", 2)


def test_a_scope_without_its_manifest_asks_for_nothing(world: Any) -> None:
    assert board_of(world).scopes("shadow") == []
    assert isinstance(world.plane.keeper.board.scopes("shadow")[0], Scope)


def test_a_promotion_beyond_the_evidence_needs_force(world: Any) -> None:
    keeper = world.plane.keeper
    with pytest.raises(BadInput, match="--force"):
        keeper.operate(world.pattern, Wish("promote", "tester", ""))
    assert keeper.board.state(world.pattern).state == "shadow"
    assert world.plane.store.value("SELECT count(*) FROM route_events WHERE kind = 'operator'") == 0
    keeper.operate(world.pattern, Wish("promote", "tester", "", force=True))
    assert keeper.board.state(world.pattern).forced
    assert keeper.board.log.transitions(1, world.pattern)[0]["forced"]


def test_less_than_all_audits_only_what_is_served_from_then_on(world: Any) -> None:
    keeper = world.plane.keeper
    for _ in range(2):
        keeper.operate(world.pattern, Wish("promote", "tester", "", force=True))
    world.play(5, route="student", student=world.version)
    world.plane.catch_up()
    world.now += 10
    keeper.operate(world.pattern, Wish("share", "tester", "carefully", share=0.4))
    (scope,) = keeper.board.scopes("audit")
    assert (scope.share, scope.after) == (1.0, world.now)
    keeper = world.reopen().keeper
    world.idle()
    assert keeper.board.scopes("audit") == [scope]


def test_a_pinned_version_keeps_the_pattern(world: Any) -> None:
    keeper, newer = world.plane.keeper, "parcels@ffffffffffff"
    keeper.operate(world.pattern, Wish("promote", "tester", "", force=True))
    world.add_student(newer)
    keeper.operate(world.pattern, Wish("pin", "tester", "the old one", student=world.version))
    keeper.operate(world.pattern, Wish("promote", "tester", "", student=newer, force=True))
    assert keeper.board.state(world.pattern).student == world.version
    keeper.operate(world.pattern, Wish("pin", "tester", "the new one", student=newer))
    assert keeper.board.state(world.pattern).student == newer
    assert [state.pinned for state in keeper.board.states(world.pattern)] == [False, True]
    keeper.operate(world.pattern, Wish("unpin", "tester", ""))
    assert not any(state.pinned for state in keeper.board.states(world.pattern))


def test_a_challenger_raises_the_audits_and_takes_only_its_share(world: Any) -> None:
    newer = "parcels@ffffffffffff"
    keeper = world.plane.keeper
    world.play(60)
    world.label()
    world.idle()
    world.play(55, route="student", student=world.version)
    world.label("audit")
    world.idle()
    assert [scope.share for scope in keeper.board.scopes("audit")] == [0.0125]
    world.add_student(newer)
    assert [scope.share for scope in keeper.board.scopes("audit")] == [0.2]
    keeper.operate(world.pattern, Wish("promote", "tester", "", student=newer, force=True))
    route = keeper.board.routes()[world.pattern]
    assert (route.student, route.share) == (newer, 0.1)
    assert route.behind is not None
    assert (route.behind.student, route.behind.share) == (world.version, 1.0)
