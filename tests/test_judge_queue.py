"""What is to be judged, and in which order."""

from typing import Any

import pytest

from tutelage.proxy.judge_queue import Case, JudgeQueue, Spent, scores, spent_since
from tutelage.proxy.options import JudgeOptions
from tutelage.proxy.shadow import Label
from tutelage.proxy.verdicts import ANCHOR, JUDGE, PairKey, Said, person_says, say


class Queue:
    """A control plane's world with pairs that were made in known ways."""

    def __init__(self, world: Any, **options: Any) -> None:
        self.world = world
        self.queue = JudgeQueue(world.plane.store, JudgeOptions(**options), "j@1", priced=False)
        self.keys: list[PairKey] = []

    def add(self, *pairs: tuple[str, bool]) -> None:
        """One pair each: reason, and whether it waits."""
        self.world.play(len(pairs))
        for task, (reason, waits) in zip(self.world.plane.keeper.tasks("shadow", 99), pairs, strict=True):
            self.world.now += 1.0
            label = Label(task, 1.0, reason, 2, {"role": "assistant", "content": "x"}, self.world.now, 5.0, waits=waits)
            self.world.plane.keeper.deliver(label)
            self.keys.append(PairKey(task.call_id, task.student, task.kind))
        self.world.plane.catch_up()

    def due(self, limit: int = 99) -> list[tuple[str, int]]:
        """Source and number of each pair to judge now."""
        found: list[Case] = self.queue.cases(self.world.now, limit)
        return [(case.source, self.keys.index(case.key)) for case in found]


@pytest.fixture
def world(control_world: Any) -> Any:
    control_world.play(40)
    control_world.add_student()
    return control_world


def test_what_holds_a_session_back_comes_first_then_the_oldest(world: Any) -> None:
    made = Queue(world)
    made.add(("unsure", False), ("numbers", False), ("unsure:set_status.status", True), ("unsure", True))
    assert made.due() == [(JUDGE, 2), (JUDGE, 3), (JUDGE, 0)]
    assert made.due(limit=2) == [(JUDGE, 2), (JUDGE, 3)]
    assert made.queue.length(world.now) == 3
    for verdict, key in (("torn", made.keys[2]), ("accept", made.keys[3])):
        say(world.plane.store, Said(key, JUDGE, "j@1", verdict, world.now))
    assert made.due() == [(JUDGE, 0)]
    other = JudgeQueue(world.plane.store, JudgeOptions(), "j@2", priced=False)
    assert [case.key for case in other.cases(world.now, 99)] == [made.keys[0], made.keys[2]], "what j@1 decided stands"


def test_old_pairs_are_left_alone(world: Any) -> None:
    made = Queue(world, backlog_s=100.0)
    made.add(("unsure", False))
    world.now += 101.0
    assert made.due() == []
    assert made.queue.length(world.now) == 0


def test_people_make_anchors_and_each_version_sees_the_newest_once(world: Any) -> None:
    made = Queue(world, anchors=2)
    made.add(*[("unsure", False)] * 3, ("numbers", False))
    for key in made.keys:
        person_says(world.plane.store, key, "accept", "ann", "", world.now)
    assert made.due() == [(ANCHOR, 2), (ANCHOR, 1)]
    say(world.plane.store, Said(made.keys[2], ANCHOR, "j@1", "reject", world.now, asked=2, usd=0.5))
    assert made.due() == [(ANCHOR, 1)]
    say(world.plane.store, Said(made.keys[1], ANCHOR, "j@1", "torn", world.now, asked=2))
    assert made.due() == []
    [score] = scores(world.plane.store)
    assert (score.judge, score.undecided) == ("j@1", 1)
    assert (score.false_rejects.errors, score.false_rejects.n, score.false_accepts.n) == (1, 1, 0)
    assert (score.false_accepts.low, score.false_accepts.high) == (0.0, 1.0)
    assert spent_since(world.plane.store, 0.0) == Spent(4, 0, None), "one of the two had no known price"
    assert spent_since(world.plane.store, world.now + 1) == Spent(0, 0, 0.0)
