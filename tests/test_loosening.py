"""A threshold moves while a version is live: looser on proof and through a canary of its own, back at once."""

import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from tutelage.proxy.evidence import Trail
from tutelage.proxy.gate import Gate, alpha_for
from tutelage.proxy.loosening import REST, looser, seeking
from tutelage.proxy.machine import apply, replay, reproduced
from tutelage.proxy.options import RoutingOptions
from tutelage.proxy.ramp import shares
from tutelage.proxy.states import (
    Event,
    Invalid,
    Operator,
    PatternState,
    Relabelled,
    Session,
    StudentRegistered,
    Transition,
    decode_event,
    encode_event,
)

Item = tuple[float, float]
BORN = StudentRegistered(version="lamp@1", epsilon=0.10, single_turn=True)


class Student:
    """Scores lie between −1 and 0; below `honest` it errs with probability `risk`, above it never."""

    def __init__(self, seed: int = 1, honest: float = -0.5, risk: float = 0.4) -> None:
        self.rng, self.honest, self.risk, self.made = random.Random(seed), honest, risk, 0

    def answer(self) -> Item:
        score = -self.rng.random()
        return score, float(score < self.honest and self.rng.random() < self.risk)

    def session(self, state: PatternState, kind: str) -> Session:
        """One session of one call, as it would be heard in this state."""
        self.made += 1
        item = self.answer()
        while kind in ("canary", "live") and state.threshold is not None and item[0] < state.threshold:
            item = self.answer()
        under = state.threshold if kind == "whole" else None
        return Session(kind=kind, session=f"s{self.made}", loss=item[1], items=(item,), threshold=under)


Story = tuple[PatternState, list[Event], list[Transition]]


def play(student: Student, story: Story, kind: str, until: Callable[[PatternState], bool], most: int = 3000) -> Story:
    """Sessions of a kind until something is so."""
    state, log, seen = story[0], [*story[1]], [*story[2]]
    for _ in range(most):
        if until(state):
            return state, log, seen
        event = student.session(state, kind)
        state, changes = apply(state, event)
        log.append(event)
        seen += changes
    raise AssertionError(f"not within {most} sessions: {state.state}, {state.threshold}")


def say(story: Story, event: Event) -> Story:
    state, changes = apply(story[0], event)
    return state, [*story[1], event], [*story[2], *changes]


def live_in_part(student: Student, **born: Any) -> Story:
    """Live with the threshold that shadow has proven."""
    story = say((PatternState(), [], []), msgspec.structs.replace(BORN, **born))
    story = play(student, story, "shadow", lambda state: state.state == "canary")
    story = play(student, story, "canary", lambda state: state.state == "live")
    assert story[0].threshold is not None
    return story


def loosened(student: Student) -> Story:
    """In the canary of a looser threshold."""
    student.honest = -2.0
    return play(student, live_in_part(Student()), "whole", lambda state: state.state == "canary")


def reasons(story: Story) -> Iterator[str]:
    return (transition.reason for transition in story[2] if transition.reason != "ramp")


def test_a_part_that_has_grown_is_served_after_a_canary_of_its_own() -> None:
    student = Student()
    before, *_ = live_in_part(Student())
    story = loosened(student)
    state = story[0]
    assert state.threshold is None or state.threshold < before.threshold  # type: ignore[operator]
    assert (state.stood, state.canary and state.canary.n, state.guard and state.guard.n) == (before.threshold, 0, 0)
    assert state.share == state.options.ramp[0]
    story = play(student, story, "canary", lambda state: state.state == "live")
    assert list(reasons(story)) == [
        *("student_registered", "threshold_crossed", "carried_over", "threshold_loosened", "carried_over")
    ]
    assert story[2][-1].threshold == state.threshold
    assert replay([decode_event(encode_event(event)) for event in story[1]]) == story[0]
    decided = [one for one in story[2] if one.reason != "student_registered"]
    assert all(reproduced(one) == one for one in decided)


def test_each_canary_of_a_part_has_half_the_budget_of_the_one_before() -> None:
    first = live_in_part(Student())[0].canary
    second = loosened(Student())[0].canary
    assert first is not None
    assert second is not None
    assert first.alpha == alpha_for(1, 0.05) / 2
    assert second.alpha == alpha_for(1, 0.05) / 4


def test_nothing_is_loosened_where_the_rest_stays_bad() -> None:
    state, _, seen = play(Student(7), live_in_part(Student()), "whole", lambda state: not seeking(state))
    assert state.state == "live"
    assert seen[-1].reason == "carried_over"
    assert shares(state).audit == state.options.audit_share  # and nothing more is spent on it


def test_it_waits_whether_a_still_looser_one_is_near() -> None:
    student = Student(risk=0.25)
    story = live_in_part(student)
    student.honest = -2.0
    state, *_ = play(student, story, "whole", lambda state: looser(state) is not None)
    found, ladder = looser(state), state.ladder
    assert found is not None
    assert ladder is not None
    assert (found.rested, state.state) == (False, "live")
    assert found.threshold == ladder.threshold
    assert ladder.n < ladder.passed_at + REST


@pytest.mark.parametrize(
    "change",
    [
        {"held": True},
        {"forced": True},
        {"settled": True},
        {"threshold": None},
        {"state": "off"},
        {"whole": 2000},
        {"options": RoutingOptions(loosen_share=0.0)},
    ],
)
def test_when_nothing_is_sought(change: dict[str, Any]) -> None:
    state, *_ = live_in_part(Student())
    assert seeking(state)
    assert shares(state).audit == 0.1
    assert not seeking(msgspec.structs.replace(state, **change))


def test_sessions_served_under_another_threshold_do_not_count() -> None:
    story = live_in_part(Student())
    other = msgspec.structs.replace(Student().session(story[0], "whole"), threshold=-0.01)
    state, *_ = say(story, other)
    assert (state.late, state.whole, state.in_shadow) == (story[0].late + 1, 0, story[0].in_shadow)


def test_a_changed_label_of_a_whole_session_moves_its_gates() -> None:
    student = Student()
    student.honest = -2.0
    story = live_in_part(Student())
    fresh = student.session(story[0], "whole")
    once = say(story, fresh)
    wrong = {"loss": 1.0, "items": tuple((score, 1.0) for score, _ in fresh.items)}
    fields = {name: getattr(fresh, name) for name in fresh.__struct_fields__} | wrong
    state, *_ = say(once, Relabelled(**fields))
    right, *_ = say(story, msgspec.structs.replace(fresh, **wrong))
    assert state.in_shadow is not None
    assert right.in_shadow is not None
    assert state.in_shadow.now == right.in_shadow.now


def test_where_the_looser_part_fails_the_one_before_is_served_at_once() -> None:
    student, before = Student(), live_in_part(Student())[0]
    story = loosened(student)
    student.honest, student.risk = before.threshold or 0.0, 1.0
    state, _, seen = play(student, story, "canary", lambda state: state.state != "canary")
    assert (state.state, state.threshold, state.share) == ("live", before.threshold, 1.0)
    assert seen[-1].reason in ("tightened:futile", "tightened:guard")
    assert (seen[-1].before, seen[-1].after) == ("canary", "live")
    assert state.guard is not None
    assert state.guard.n > 0  # watched without a gap
    assert not seeking(state)
    assert reproduced(seen[-1]) == seen[-1]


def test_a_live_version_tightens_at_the_alarm_of_its_guard() -> None:
    student, before = Student(), live_in_part(Student())[0]
    story = play(student, loosened(student), "canary", lambda state: state.state == "live")
    student.honest, student.risk = before.threshold or 0.0, 1.0
    state, _, seen = play(student, story, "live", lambda state: state.threshold == before.threshold)
    assert (state.state, seen[-1].kind, seen[-1].reason) == ("live", "threshold", "tightened:guard")
    assert state.settled
    # And from there nothing is left but the usual way down.
    student.honest, student.risk = 1.0, 1.0
    state, _, seen = play(student, (state, [], []), "live", lambda state: state.state != "live", 100)
    assert (state.state, seen[-1].reason) == ("quarantined", "guard")


def test_what_is_wrong_everywhere_is_not_tightened() -> None:
    student = Student()
    story = play(student, loosened(student), "canary", lambda state: state.state == "live")
    student.honest, student.risk = 1.0, 0.9
    state, _, seen = play(student, story, "live", lambda state: state.state != "live", 100)
    assert (state.state, seen[-1].reason) == ("quarantined", "guard")


def test_unusable_answers_are_not_helped_by_a_threshold() -> None:
    student = Student()
    story = play(student, loosened(student), "canary", lambda state: state.state == "live")
    state, _, seen = say(story, Invalid(n=40, bad=40))
    assert (state.state, seen[-1].reason) == ("quarantined", "invalid_output")


def test_an_operator_holds_and_a_new_trial_begins_anew() -> None:
    student = Student()
    student.honest = -2.0
    story = say(live_in_part(Student()), Operator(action="hold", actor="ada"))
    for _ in range(300):
        story = say(story, student.session(story[0], "whole"))
    assert (story[0].state, story[0].whole) == ("live", 0)
    state, *_ = say(say(story, Operator(action="demote", actor="ada")), Operator(action="resume", actor="ada"))
    assert (state.state, state.threshold, state.stood, state.parts, state.k) == ("shadow", None, None, 0, 2)


def test_a_part_that_is_too_risky_is_tried_with_probability_alpha_at_most() -> None:
    """The next part has exactly the risk of the limit; looked at after every session, up to Monte-Carlo error."""
    start = live_in_part(Student())[0]
    ladder, served = start.ladder, start.threshold
    assert ladder is not None
    assert start.in_shadow is not None
    assert served is not None
    alpha, runs, tried = 0.1, 150, 0
    fresh = (Gate(epsilon=0.10, alpha=alpha),) * (len(ladder.grid) - ladder.passed)
    row = msgspec.structs.replace(ladder, gates=ladder.gates[: ladder.passed] + fresh)
    bundle = msgspec.structs.replace(start.in_shadow.now, ladder=row)
    start = msgspec.structs.replace(start, in_shadow=Trail(base=bundle, now=bundle))
    rung = ladder.grid[ladder.passed]
    for seed in range(runs):
        rng, state = random.Random(seed), start
        for n in range(150):
            score = -rng.random()
            wrong = float(score < served and rng.random() < 0.10 * -rung / (served - rung))
            told = Session(kind="whole", session=str(n), loss=wrong, items=((score, wrong),), threshold=served)
            state = apply(state, told).state
            if state.state == "canary" or not seeking(state):
                break
        tried += state.state == "canary" or (state.ladder is not None and state.ladder.passed > ladder.passed)
    assert tried <= runs * alpha + 3 * math.sqrt(runs * alpha * (1 - alpha))
