"""Which sessions are looked at, which labels are missing, and when a session may count."""

from typing import Any

import pytest
from conftest import STATUS_TOOL, chat_call, status_call

from tutelage.proxy import sessions
from tutelage.proxy.sessions import Scope
from tutelage.proxy.shadow import AUDIT, SHADOW, Label
from tutelage.traffic.records import encode


@pytest.fixture
def world(control_world: Any) -> Any:
    control_world.play(40)
    control_world.add_student()
    return control_world


def scope(world: Any, kind: str = SHADOW, **fields: Any) -> Scope:
    return Scope(world.pattern, world.version, kind, **fields)


def test_only_sessions_after_the_snapshot(world: Any) -> None:
    snapshot = world.now
    ids = world.play(3)
    found = sessions.tasks(world.plane.store, scope(world, after=snapshot), 100)
    assert [task.call_id for task in found] == ids
    assert len(sessions.tasks(world.plane.store, scope(world), 100)) == 43


def test_calls_without_a_whole_teacher_answer_need_no_label(world: Any) -> None:
    snapshot = world.now
    world.play(2, cancelled=True)
    world.play(2, status=500, response=b"{}")
    world.play(2, route="student", student=world.version)
    assert sessions.tasks(world.plane.store, scope(world, after=snapshot), 100) == []


def test_a_share_of_sessions_is_a_stable_draw(world: Any) -> None:
    everything = {row["trajectory_id"] for row in sessions.sessions(world.plane.store, scope(world))}

    def drawn(share: float, salt: str = "a") -> set[str]:
        rows = sessions.sessions(world.plane.store, scope(world, share=share, salt=salt))
        return {row["trajectory_id"] for row in rows}

    assert drawn(0.3) < drawn(0.7) < everything
    assert drawn(0.3) == drawn(0.3)
    assert drawn(0.3) != drawn(0.3, "b")


def test_a_share_that_rises_is_for_the_sessions_that_begin_then(world: Any) -> None:
    world.play(30, route="student", student=world.version)
    raised_at = world.now + 0.5
    new = world.play(30, route="student", student=world.version)
    warned = scope(world, AUDIT, share=1.0, salt="x", min_per_day=20, raised_at=raised_at)
    rows = sessions.sessions(world.plane.store, warned)
    assert [row["first_at"] >= raised_at for row in rows] == [False] * 20 + [True] * 30
    calls = [task.call_id for task in sessions.tasks(world.plane.store, warned, 100)]
    assert calls[20:] == new


def test_the_first_sessions_of_each_day_are_looked_at_whatever_the_share(world: Any) -> None:
    world.play(30, route="student", student=world.version)
    world.now += 86_400.0
    world.play(30, route="student", student=world.version)
    live = scope(world, AUDIT, share=0.0, salt="x", min_per_day=20)
    assert len(sessions.sessions(world.plane.store, live)) == 40


def test_tasks_carry_the_logged_call(world: Any) -> None:
    (call_id,) = world.play(1, route="student", student=world.version, usage=(9, 4), latency_ms=12.0)
    (task,) = sessions.tasks(world.plane.store, scope(world, AUDIT), 10)
    assert (task.call_id, task.usage, task.latency_ms, task.failure) == (call_id, (9, 4), 12.0, "")
    assert task.request["model"] == "teacher-1"
    assert task.answer is not None
    assert task.answer["tool_calls"][0]["function"]["name"] == "set_status"
    assert sessions.tasks(world.plane.store, scope(world, AUDIT), 10, taken={task.key}) == []


def test_a_session_counts_when_it_is_over_and_labelled(world: Any) -> None:
    snapshot = world.now
    world.play(4)
    shadow = scope(world, after=snapshot)
    for loss, task in zip((0.0, 1.0, 0.5), sessions.tasks(world.plane.store, shadow, 3), strict=True):
        world.plane.keeper.deliver(Label(task, loss, "same", 1, task.answer, world.now, 1.0))
    world.plane.catch_up()
    store = world.plane.store
    assert sessions.closed(store, shadow, fed=(), idle_before=snapshot) == []
    assert sessions.waiting(store, shadow, ()) == 4
    ready = sessions.closed(store, shadow, fed=(), idle_before=world.now + 1)
    assert [one.mean for one in ready] == [0.0, 1.0, 0.5]
    fed = {ready[0].trajectory_id}
    assert [one.worst for one in sessions.closed(store, shadow, fed=fed, idle_before=world.now + 1)] == [1.0, 0.5]


def test_a_new_version_is_shadowed_on_what_the_live_one_served_and_the_teacher_audited(world: Any) -> None:
    """Behind a version that serves everything there is no other reference than the audits' answers."""
    snapshot, store = world.now, world.plane.store
    (first, second) = world.play(2, route="student", student=world.version)
    newer = Scope(world.pattern, "parcels@ffffffffffff", SHADOW, after=snapshot)
    assert sessions.sessions(store, newer) == []
    (task, _) = sessions.tasks(store, scope(world, AUDIT, after=snapshot), 10)
    said = {"role": "assistant", "content": "the teacher's word"}
    world.plane.keeper.deliver(Label(task, 1.0, "kind", 1, said, world.now, 5.0, (50, 10)))
    world.plane.catch_up()
    (behind,) = sessions.tasks(store, newer, 10)
    assert (behind.call_id, behind.answer, behind.usage, behind.kind) == (first, said, (50, 10), SHADOW)
    assert second not in {row.call_id for row in sessions.tasks(store, newer, 10)}
    assert sessions.tasks(store, scope(world, after=snapshot), 10) == []  # its own audits are no shadow evidence


def test_counts_of_faults_and_of_sessions(world: Any) -> None:
    world.play(3, route="student", student=world.version)
    world.play(2, route="teacher", student=world.version, fallback="student_timeout")
    assert sessions.served_badly(world.plane.store) == {(world.pattern, world.version): (5, 2)}
    assert sessions.passed(world.plane.store, world.pattern, world.now - 3, world.now) == 3


def test_single_turn_is_known_from_the_histories(world: Any) -> None:
    assert sessions.is_single_turn(world.plane.store, world.pattern)
    assert not sessions.is_single_turn(world.plane.store, "p_unknown")


def test_an_answer_in_one_of_the_histories_is_a_turn(world: Any) -> None:
    messages = [
        {"role": "system", "content": "You work at a parcel desk.\nMark parcels with the tool."},
        {"role": "user", "content": "A parcel has left."},
        {"role": "assistant", "content": "Which one?"},
        {"role": "user", "content": "Parcel P77777 has left."},
    ]
    world.now += 1.0
    call = chat_call(messages, status_call("P77777"), tools=[STATUS_TOOL], started_at=world.now)
    assert world.writer.append(encode(call))
    assert world.writer.flush()
    world.plane.catch_up()
    assert world.plane.store.value("SELECT pattern_id FROM calls ORDER BY started_at DESC LIMIT 1") == world.pattern
    assert not sessions.is_single_turn(world.plane.store, world.pattern)
