"""What a session says as evidence, read from its comparisons."""

from typing import Any

import pytest

from tutelage.proxy.evidence import KEEP
from tutelage.proxy.operators import Wish
from tutelage.proxy.session_details import Spoken, details, differing, said_since
from tutelage.proxy.shadow import Label
from tutelage.proxy.verdicts import PairKey, person_says
from tutelage.traffic.tool_policy import ToolPolicy

POLICY = ToolPolicy()


@pytest.fixture
def world(control_world: Any) -> Any:
    control_world.play(40)
    control_world.add_student()
    return control_world


def deliver(world: Any, *labels: tuple[float, float | None]) -> list[str]:
    """Shadowed sessions with these losses and scores; their trajectories."""
    world.play(len(labels))
    tasks = world.plane.keeper.tasks("shadow", 100)
    for task, (loss, score) in zip(tasks, labels, strict=True):
        world.plane.keeper.deliver(
            Label(task, loss, "same" if not loss else "tools", 1, task.answer, world.now, 5.0, score=score)
        )
    world.plane.catch_up()
    return [task.trajectory_id for task in tasks]


def test_losses_scores_and_slices_of_a_session(world: Any) -> None:
    first, second = deliver(world, (0.0, -0.25), (1.0, None))
    found = details(world.plane.store, world.pattern, world.version, "shadow", [first, second, "unknown"], POLICY)
    assert found.keys() == {first, second}
    assert (found[first].losses, found[first].items, found[first].waits) == ((0.0,), ((-0.25, 0.0),), False)
    assert (found[second].losses, found[second].items) == ((1.0,), ())
    assert found[first].nulls["more:no_tool"] == 0.0
    assert found[second].loss("max") == 1.0
    assert details(world.plane.store, world.pattern, world.version, "shadow", [], POLICY) == {}


def test_the_score_of_a_served_answer_is_the_calls(world: Any) -> None:
    world.play(1, route="student", student=world.version, confidence=-0.5)
    assert world.plane.keeper.tasks("audit", 10) == []  # nothing is audited before the canary
    world.plane.keeper.operate(world.pattern, Wish("promote", "tester", "", force=True))
    (task,) = world.plane.keeper.tasks("audit", 10)
    world.plane.keeper.deliver(Label(task, 0.0, "same", 1, task.answer, world.now, 5.0))
    world.plane.catch_up()
    found = details(world.plane.store, world.pattern, world.version, "audit", [task.trajectory_id], POLICY)
    assert found[task.trajectory_id].items == ((-0.5, 0.0),)


def test_sessions_that_say_something_else_now(world: Any) -> None:
    first, second = deliver(world, (0.0, None), (1.0, None))
    ask = (world.plane.store, world.pattern, world.version, "shadow")
    assert differing(*ask, {first: 0.0, second: 1.0}, "mean") == set()
    assert differing(*ask, {first: 0.5}, "mean") == {Spoken(world.pattern, world.version, "shadow", first)}
    assert differing(*ask, {}, "mean") == set()
    older = {f"older {n}": 0.5 for n in range(2 * KEEP - 1)}
    assert differing(*ask, {second: 0.5, first: 0.5, **older}, "mean") == {
        Spoken(world.pattern, world.version, "shadow", first)
    }


def test_verdicts_are_found_by_their_number(world: Any) -> None:
    """Whatever the clock said when they were given."""
    (session,) = deliver(world, (1.0, None))
    store = world.plane.store
    (call_id,) = store.rows("SELECT CAST(call_id AS VARCHAR) FROM comparisons WHERE kind = 'shadow'")[0]
    assert said_since(store, 0) == (set(), 0)
    person_says(store, PairKey(call_id, world.version, "shadow"), "accept", "ada", "", 1.0)
    said, newest = said_since(store, 0)
    assert said == {Spoken(world.pattern, world.version, "shadow", session)}
    assert said_since(store, newest) == (set(), newest)
