"""What is looked for: demotions, lost records, teachers that are left alone, budgets."""

import os
from typing import Any

import pytest

from tutelage.proxy.alerts import BREAKER, BUDGET, DEMOTED, DROPPED, Alert
from tutelage.proxy.alerts_watch import Budgets, Watch
from tutelage.proxy.key_limits import Limits
from tutelage.proxy.key_store import KeyBook
from tutelage.proxy.metrics_workers import Noticeboard, Report
from tutelage.proxy.operators import Wish


class World:
    """A watch over a control plane, with the alerts that it told."""

    def __init__(self, control: Any) -> None:
        self.control, self.alerts, self.used = control, [], {}
        self.metrics = control.plane.reporting.metrics
        self.watch = Watch(control.plane.keeper.board, self.metrics, lambda: self.used, self.alerts.append)
        self.board = Noticeboard(control.data.workers)

    def look(self) -> list[Alert]:
        self.alerts.clear()
        self.watch.look()
        return list(self.alerts)

    def show(self, **fields: Any) -> None:
        self.board.show(Report(at=self.control.now, pid=os.getpid(), **fields))


@pytest.fixture
def world(control_world: Any) -> Any:
    made = World(control_world)
    yield made
    made.board.close()


def test_a_demotion_is_told_once(world: World) -> None:
    control = world.control
    control.play(40)
    control.add_student()
    world.look()
    operate = control.plane.keeper.operate
    operate(control.pattern, Wish("promote", "ann", "let us see", force=True))
    assert world.look() == []
    operate(control.pattern, Wish("off", "ann", "too odd"))
    [alert] = world.look()
    assert alert.kind == DEMOTED
    assert control.pattern in alert.title
    assert "ann" in alert.text
    assert world.look() == []
    assert world.metrics.transitions.sums[control.pattern, "off", "operator"] == 1


def test_what_happened_before_the_start_is_no_news(world: World) -> None:
    world.control.play(40)
    world.control.add_student()
    world.control.plane.keeper.operate(world.control.pattern, Wish("promote", "ann", "x", force=True))
    world.control.plane.keeper.operate(world.control.pattern, Wish("off", "ann", "x"))
    assert world.look() == []


def test_records_that_are_let_go_are_told_with_their_number(world: World) -> None:
    world.show(appended=10)
    assert world.look() == []
    world.show(appended=10, dropped=2, lost=3)
    [alert] = world.look()
    assert (alert.kind, alert.text.split(maxsplit=1)[0]) == (DROPPED, "5")
    assert world.look() == []


def test_a_teacher_that_is_left_alone_is_told_and_the_student_is_not(world: World) -> None:
    shut, well = {"state": "open", "opened": 1}, {"state": "closed", "opened": 1}
    world.show(breakers={"default": shut, "student": shut})
    [alert] = world.look()
    assert (alert.kind, alert.subject) == (BREAKER, "default")
    assert world.look() == []
    world.show(breakers={"default": well, "student": shut})
    assert world.look() == []
    world.show(breakers={"default": shut})
    assert [one.kind for one in world.look()] == [BREAKER]


def test_a_budget_is_told_when_it_is_used_up_and_again_the_next_time(world: World) -> None:
    world.used = {"judge": "2000 questions."}
    [alert] = world.look()
    assert (alert.kind, alert.subject) == (BUDGET, "judge")
    assert world.metrics.budgets == {"judge": True, "shadow": False, "key": False}
    assert world.look() == []
    world.used = {}
    world.look()
    world.used = {"judge": "2000 questions."}
    assert len(world.look()) == 1


def test_budgets_of_keys_shadow_and_judge(control_world: Any) -> None:
    world, store = control_world, control_world.plane.store
    book = KeyBook(store, world.data, world.options.prices, lambda: world.now)
    key = book.create(Limits(name="small", budget_tokens=10))
    budgets = Budgets(store, world.data, world.options, lambda _: "", lambda: world.now)
    assert budgets() == {}
    row = book.get(key.key_id)
    world.play(1, caller=row.caller)
    book.review()
    assert list(budgets()) == [f"key {key.key_id}"]
    resting = Budgets(store, world.data, world.options, lambda _: "It is spent.", lambda: world.now)
    assert "It is spent." in resting()["judge"]
