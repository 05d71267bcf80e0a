"""What the store says becomes events: once, in order, and again when a label changes."""

import random
from dataclasses import replace
from functools import cache
from typing import Any

import msgspec
import pytest

from tutelage.proxy.event_log import EventLog, event_entry, transition_entry
from tutelage.proxy.explain import explain
from tutelage.proxy.machine import apply
from tutelage.proxy.options import RoutingOptions
from tutelage.proxy.sessions import SessionLoss
from tutelage.proxy.shadow import Label
from tutelage.proxy.states import Event, PatternState, Session, StudentRegistered, Transition
from tutelage.proxy.verdicts import PairKey, Said, person_says, say


@pytest.fixture
def world(control_world: Any) -> Any:
    control_world.play(40)
    control_world.add_student()
    return control_world


def losses(*values: float) -> list[SessionLoss]:
    return [SessionLoss(f"t{n}-{id(values)}", 1, value, value, 0.0, 0.0) for n, value in enumerate(values)]


def test_feeding_stops_when_the_state_moves_on(world: Any) -> None:
    board = world.plane.keeper.board
    (scope,) = board.scopes("shadow")
    board.hearing.feed(scope, losses(*[0.0] * 200))
    state = board.state(world.pattern)
    assert state.state == "canary"
    assert state.late == 0
    assert len(board.fed(scope)) == state.shadow.n
    assert board.scopes("shadow") == []
    assert [found.kind for found in board.scopes("audit")] == ["audit"]


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


def test_registering_again_changes_nothing(world: Any) -> None:
    before = world.plane.store.value("SELECT count(*) FROM route_events")
    world.reopen()
    world.idle()
    assert world.plane.store.value("SELECT count(*) FROM route_events") == before


def test_tools_have_their_own_limit(world: Any) -> None:
    state = world.plane.keeper.board.state(world.pattern)
    assert (state.epsilon, state.single_turn) == (0.10, True)


KNOWS, SURE = -0.5, -0.05
"""The student errs below the first score, and only there; the second is high enough for any threshold."""


@cache
def story_of(version: str, options: RoutingOptions, at: float) -> tuple[tuple[Event, tuple[Transition, ...]], ...]:
    """From the first session in shadow to live with a threshold: each event and what followed from it."""
    rng, found, state = random.Random(1), [], PatternState()
    event: Event = StudentRegistered(at=at, version=version, epsilon=0.10, single_turn=True, options=options)
    while state.state != "live":
        state, changes = apply(state, event)
        found.append((event, tuple(changes)))
        score = -rng.random() if state.state == "shadow" else SURE
        wrong = float(score < KNOWS and rng.random() < 0.3)
        event = Session(at=at, kind=state.state, session=f"s{len(found)}", loss=wrong, items=((score, wrong),))
    assert state.threshold is not None
    return tuple(found)


@pytest.fixture
def in_part(control_world: Any) -> Any:
    """A world in which the student is live with a threshold, and every session is looked at whole."""
    world = control_world
    world.options = replace(world.options, routing=replace(world.options.routing, loosen_share=1.0))
    world.play(40)
    entries = []
    for event, changes in story_of(world.version, world.options.routing, world.now):
        key = world.pattern, world.version
        entries += [event_entry(key, event), *(transition_entry(key, change) for change in changes)]
    EventLog(world.plane.store).append(entries)
    world.reopen()
    world.add_student()
    world.idle()
    assert world.plane.keeper.board.state(world.pattern).state == "live"
    return world


def label_unsure(world: Any, loss: float, score: float) -> int:
    tasks = world.plane.keeper.tasks("shadow", 1000)
    for task in tasks:
        world.plane.keeper.deliver(Label(task, loss, "same", 1, task.answer, world.now, 5.0, score=score))
    world.plane.catch_up()
    return len(tasks)


def unsure(world: Any, sessions: int, score: float = -0.9, **fields: Any) -> None:
    told = {"route": "teacher", "student": world.version, "fallback": "low_confidence", "confidence": score}
    world.play(sessions, **told | fields)


def test_unsure_answers_of_a_live_version_are_asked_for_again_and_its_sessions_are_seen_whole(in_part: Any) -> None:
    world, before = in_part, in_part.plane.keeper.board.state(in_part.pattern)
    world.play(6, route="student", student=world.version, confidence=SURE)
    unsure(world, 4)
    assert world.plane.keeper.pending_sessions >= 10
    assert label_unsure(world, 0.0, -0.9) == 4
    world.idle()
    assert world.plane.keeper.board.state(world.pattern).whole == 0  # the first of them are not audited yet
    assert world.label("audit") == 6
    world.idle()
    state = world.plane.keeper.board.state(world.pattern)
    assert (state.whole, state.ladder.n, state.shadow.n) == (10, before.ladder.n + 10, before.shadow.n + 10)
    assert (state.guard.n, state.shadow.total) == (before.guard.n + 6, before.shadow.total)
    loosest, was = state.ladder.gates[-1], before.ladder.gates[-1]
    assert (loosest.n, loosest.total) == (was.n + 6 + 4 * (state.ladder.grid[-1] <= -0.9), was.total)
    assert "looked at whole" in explain(state)["next"]
    assert world.plane.keeper.retell().equal
    world.reopen()
    world.idle()
    assert world.plane.keeper.board.state(world.pattern) == state


def test_a_second_answer_that_is_surer_than_the_first_counts_as_a_loss(in_part: Any) -> None:
    world, before = in_part, in_part.plane.keeper.board.state(in_part.pattern).shadow
    unsure(world, 3, score=-0.6)
    label_unsure(world, 0.0, SURE)
    world.idle()
    state = world.plane.keeper.board.state(world.pattern)
    assert (state.shadow.n, state.shadow.total) == (before.n + 3, before.total + 3)
    assert {one.items for one in state.in_shadow.sessions[-3:]} == {((-0.6, 1.0),)}


def test_a_persons_word_on_an_unsure_answer_is_heard(in_part: Any) -> None:
    world, before = in_part, in_part.plane.keeper.board.state(in_part.pattern).shadow
    unsure(world, 2)
    label_unsure(world, 1.0, -0.9)
    world.idle()
    assert world.plane.keeper.board.state(world.pattern).shadow.total == before.total + 2
    [(call_id, student)] = world.plane.store.rows("SELECT call_id, student FROM comparisons ORDER BY call_id LIMIT 1")
    person_says(world.plane.store, PairKey(str(call_id), student, "shadow"), "accept", "ada", "right", world.now)
    world.idle()
    assert world.plane.keeper.board.state(world.pattern).shadow.total == before.total + 1
    assert world.plane.keeper.retell().equal


def test_what_has_grown_reaches_the_route_table_through_a_canary(in_part: Any) -> None:
    world, board = in_part, in_part.plane.keeper.board
    served = board.state(world.pattern).threshold
    for _ in range(10):
        unsure(world, 100, score=served - 0.05)
        label_unsure(world, 0.0, served - 0.05)
        world.idle()
        if board.state(world.pattern).state == "canary":
            break
    state, route = board.state(world.pattern), board.routes()[world.pattern]
    assert (state.state, state.stood, route.share) == ("canary", served, 0.1)
    assert route.threshold is None or route.threshold < served
    assert board.log.transitions(1, world.pattern)[0]["reason"] == "threshold_loosened"
    assert board.scopes("whole") == []
    [audits] = board.scopes("audit")
    assert audits.after == world.now  # what was served under the threshold before says nothing about this one


def test_sessions_are_drawn_whole_among_those_that_are_audited(in_part: Any) -> None:
    world = in_part
    world.options = replace(world.options, routing=replace(world.options.routing, loosen_share=0.3))
    world.reopen()
    world.idle()
    board = world.plane.keeper.board
    [whole], [audit] = board.scopes("whole"), board.scopes("audit")
    assert (whole.salt, whole.share, audit.share) == (audit.salt, 0.3, 0.3)
    assert (whole.min_per_day, audit.min_per_day) == (0, 20)
