"""The teacher's second answers move a version that the gate gave up: from the store, through the keeper, to a route."""

from dataclasses import replace
from typing import Any

import pytest
from test_noise_labels import Bench, says

from tutelage.proxy.shadow import Label
from tutelage.proxy.states import Noisy, Repeated


class Trial(Bench):
    """A version that differs from every second of the teacher's first answers."""

    def round(self, sessions: int, noisy: bool = True) -> None:
        """Shadowed sessions, and the teacher's second answers: where it is noisy, they differ where the version does
        not."""
        world = self.world
        world.play(sessions, answer=says("It is 5."))
        tasks = world.plane.keeper.tasks("shadow", 1_000)
        for n, task in enumerate(tasks):
            world.now += 0.01
            loss, reason = (1.0, "numbers") if n % 2 == 0 else (0.0, "same")
            world.plane.keeper.deliver(Label(task, loss, reason, 2, says(f"It is {6 - n % 2}."), world.now, 5.0))
        world.plane.catch_up()
        world.idle()
        answers = [f"It is {5 + (noisy and n % 2)}." for n in range(sessions)]
        self.repeat(*answers, share=1.0, rounds=sessions // 16 + 2, per_day=10_000)
        world.plane.catch_up()
        world.idle()

    @property
    def state(self) -> Any:
        return self.world.plane.keeper.board.states(self.world.pattern)[0]

    def heard(self, kind: type) -> list[Any]:
        return [one.event for one in self.world.plane.keeper.board.log.events() if isinstance(one.event, kind)]


@pytest.fixture
def trial(control_world: Any) -> Trial:
    options = control_world.options
    routing = replace(options.routing, cooldown_sessions=5)
    control_world.options = replace(options, routing=routing, noise_margin=0.6)
    control_world.reopen()
    return Trial(control_world)


def test_an_equal_student_of_a_noisy_teacher_gets_to_the_canary_and_no_further(trial: Trial) -> None:
    trial.round(40)
    assert (trial.state.state, trial.state.k, trial.state.relative.n) == ("shadow", 2, 0)
    (first,) = trial.heard(Noisy)
    assert (first.seen.repeats, first.seen.disagreements, first.seen.k) == (40, 20.0, 2)
    assert trial.world.plane.keeper.board.hearing.doubted() == [trial.world.pattern]
    trial.round(40)
    state = trial.state
    assert (state.state, state.relative.n, state.relative.mean) == ("canary", 40, 0.0)
    assert trial.heard(Repeated)[-1].test == state.relative
    told = trial.world.plane.keeper.board.log.transitions(10, trial.world.pattern)
    assert [one["reason"] for one in told][:2] == ["noise_test_crossed", "noisy_teacher"]
    assert trial.world.plane.keeper.retell().equal
    trial.world.reopen()
    assert trial.state == state
    assert trial.world.plane.keeper.retell().equal


def test_a_teacher_that_agrees_with_itself_changes_nothing(trial: Trial) -> None:
    trial.round(40, noisy=False)
    assert (trial.state.state, trial.state.relative) == ("blocked", None)
    assert trial.state.noise.disagreements == 0
    assert trial.world.plane.keeper.retell().equal


def test_sessions_that_the_choice_rested_on_and_those_still_to_be_repeated_do_not_count(trial: Trial) -> None:
    trial.round(40)
    rest = 40 - trial.heard(Noisy)[0].seen.repeats
    trial.world.play(8, answer=says("It is 5."))
    for task in trial.world.plane.keeper.tasks("shadow", 1_000):
        trial.world.plane.keeper.deliver(Label(task, 0.0, "same", 2, says("It is 5."), trial.world.now, 5.0))
    trial.world.plane.catch_up()
    trial.world.idle()
    assert (rest, trial.state.relative.n) == (0, 0)
    trial.repeat("It is 5.", "It is 6.", *[400] * 18, rounds=20)
    trial.world.idle()
    assert (trial.state.relative.n, trial.state.relative.odds) == (2, 1.0)
