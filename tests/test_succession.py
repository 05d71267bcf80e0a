"""When a version may follow the one before it."""

from math import comb
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.distill.curate import CallRef, Trajectory
from tutelage.distill.measures import Answered, Question
from tutelage.distill.succession import MARGIN, Paired, PromptTokens, Reason, objection, paired

LEVEL = Paired(2, 2)
LOST = Reason("drift: s@0 has lost p1")


def answered(session: str, *losses: float) -> list[Answered]:
    calls = tuple(CallRef(f"{session}{at}", at, "p", "teacher", "m", 0.0) for at in range(len(losses)))
    item = Trajectory(session, session, "a", True, "rule", [], [], calls)
    return [Answered(Question(item, call), None, loss, "") for call, loss in zip(calls, losses, strict=True)]


@pytest.mark.parametrize(
    ("ours", "theirs", "sessions", "brings", "why"),
    [
        (0.91, 0.90, LEVEL, Reason(), ""),
        (0.91, 0.90, Paired(3, 30), Reason(), ""),
        (1.0, 1.0, Paired(0, 0), Reason(), "does not beat 1.000 of s@0, and nothing else asks for it"),
        (1.0, 1.0, Paired(0, 0), LOST, ""),
        (1.0, 1.0, Paired(0, 0), Reason(tokens=PromptTokens(90, 100)), ""),
        (1.0, 1.0, Paired(0, 0), Reason(tokens=PromptTokens(91, 100)), "nothing else asks for it"),
        (0.89, 0.90, LEVEL, Reason(tokens=PromptTokens(50, 100)), "agreement 0.890 does not beat 0.900 of s@0"),
        (0.89, 0.90, LEVEL, LOST, ""),
        (0.89, 0.90, Paired(1, 9), LOST, "worse in 9 sessions and better in 1"),
        (0.90 - MARGIN, 0.90, LEVEL, LOST, ""),
        (0.80, 0.90, LEVEL, LOST, "more than 0.05 below"),
    ],
)
def test_who_may_follow(ours: float, theirs: float, sessions: Paired, brings: Reason, why: str) -> None:
    said = objection("s@0", ours, theirs, sessions, brings)
    assert why in said
    assert bool(said) == bool(why)


@given(st.integers(0, 40), st.integers(0, 40))
def test_the_sign_test_is_the_tail_of_a_fair_coin(better: int, worse: int) -> None:
    n = better + worse
    assert Paired(better, worse).p_worse == pytest.approx(1 - sum(comb(n, k) for k in range(worse)) / 2**n)
    assert Paired(better, worse + 1).p_worse <= Paired(better, worse).p_worse


def test_sessions_are_compared_and_not_calls() -> None:
    ours = [*answered("a", 0, 0, 0), *answered("b", 0, 1), *answered("c", 0.1, 0.2)]
    theirs = [*answered("a", 1, 1, 1), *answered("b", 0, 0), *answered("c", 0.2, 0.1)]
    assert paired(ours, theirs) == Paired(1, 1)


def test_calls_that_only_one_was_asked_are_left_out() -> None:
    ours: list[Any] = [*answered("a", 0, 1)]
    assert paired(ours, answered("a", 0)) == Paired(0, 0)
    assert paired(ours, answered("b", 1)) == Paired(0, 0)
