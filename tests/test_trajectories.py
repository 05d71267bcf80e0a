"""Calls find their runs: extensions, retries, forks, equal openings, changed prompts, explicit ids."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tutelage.traffic.canonical import ROOT, canonical_message, message_id
from tutelage.traffic.messages import Named
from tutelage.traffic.store import Store
from tutelage.traffic.trajectories import Finder, Link, Step


@pytest.fixture
def finder(tmp_path: Path):
    with Store(tmp_path / "store.duckdb") as store:
        yield Finder(store)


def say(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def step(name: str, at: float, request: Sequence[dict[str, str]], answer: str | None = "", **fields: Any) -> Step:
    """A call that was asked `request` and answered `answer`; None for a call that failed."""
    chain, parent = [], ROOT
    for message in request:
        parent = message_id(parent, message)
        content = hash(canonical_message(message)) if message["role"] == "assistant" else 0
        chain.append(Named(parent, message["role"], content))
    given = None if answer is None else say("assistant", answer)
    values = {
        "caller": "",
        "session": "s",
        "answer_id": message_id(parent, given) if given else None,
        "answer_content": hash(canonical_message(given)) if given else 0,
        "toolset_id": None,
        "retry": 0,
        "failed": given is None,
        "explicit": "",
    }
    return Step(call_id=name, started_at=at, chain=chain, **(values | fields))


def go(finder: Finder, *steps: Step) -> list[Link]:
    finder.prepare(steps)
    return [finder.link(one) for one in steps]


ASK = [say("system", "be kind"), say("user", "hello")]
NEXT = [*ASK, say("assistant", "hi"), say("user", "more")]


def test_a_call_that_extends_request_and_answer_is_of_the_same_run(finder: Finder) -> None:
    links = go(finder, step("a", 1, ASK, "hi"), step("b", 2, NEXT, "ok"), step("c", 3, ASK, "hi"))
    assert links == [Link("a", 0, False), Link("a", 1, False, known=True), Link("c", 0, False)]


def test_equal_openings_are_told_apart_by_their_answers(finder: Finder) -> None:
    other = [*ASK, say("assistant", "hey"), say("user", "more")]
    links = go(finder, step("a", 1, ASK, "hi"), step("b", 2, ASK, "hey"), step("c", 3, other), step("d", 4, NEXT))
    assert [link.trajectory_id for link in links] == ["a", "b", "b", "a"]


def test_of_equal_runs_the_one_that_waited_longest_goes_on_and_none_goes_on_twice(finder: Finder) -> None:
    names = [link.trajectory_id for link in go(finder, *(step(f"a{n}", n, ASK, "hi") for n in range(3)))]
    assert names == ["a0", "a1", "a2"]
    links = go(finder, *(step(f"b{n}", 10 + n, NEXT, "ok") for n in range(3)))
    assert [link.trajectory_id for link in links] == ["a0", "a1", "a2"]


def test_a_run_that_was_left_long_ago_does_not_take_the_call_of_a_fresh_one(finder: Finder) -> None:
    links = go(finder, step("old", 1, ASK, "hi"), step("new", 5000, ASK, "hi"), step("next", 5001, NEXT))
    assert links[2].trajectory_id == "new"


def test_branches_are_one_run(finder: Finder) -> None:
    left, right = ([*ASK, say("assistant", "hi"), say("user", word)] for word in ("left", "right"))
    links = go(finder, step("a", 1, ASK, "hi"), step("b", 2, left, "l"), step("c", 2.5, right, "r"))
    assert links == [Link("a", 0, False), Link("a", 1, False, known=True), Link("a", 1, False, known=True)]


def test_a_failed_call_and_its_repetition_are_one_step(finder: Finder) -> None:
    links = go(
        finder,
        step("a", 1, ASK, None),
        step("b", 3, ASK, "hi"),
        step("c", 4, NEXT, None),
        step("d", 5, NEXT, "ok"),
        step("e", 6, ASK, "hi"),
    )
    assert [(link.trajectory_id, link.turn) for link in links] == [("a", 0), ("a", 0), ("a", 1), ("a", 1), ("e", 0)]


def test_without_a_retry_count_only_a_recent_failure_of_the_same_tools_counts(finder: Finder) -> None:
    links = go(
        finder,
        step("a", 1, ASK, None),
        step("late", 500, ASK, None),
        step("tools", 501, ASK, None, toolset_id="t"),
        step("mine", 502, ASK, "hi"),
    )
    assert [link.trajectory_id for link in links] == ["a", "late", "tools", "late"]


def test_a_retry_whose_first_answer_did_not_arrive(finder: Finder) -> None:
    links = go(finder, step("a", 1, ASK, "hi"), step("b", 400, ASK, "hey", retry=1))
    assert links[1] == Link("a", 0, False, retry_of="a", known=True)


def test_callers_are_never_mixed(finder: Finder) -> None:
    links = go(
        finder, step("a", 1, ASK, "hi", caller="x"), step("b", 2, NEXT, caller="y"), step("c", 3, NEXT, caller="x")
    )
    assert [link.trajectory_id for link in links] == ["a", "b", "a"]


def test_an_answer_that_comes_back_re_spelled_still_leads_home(finder: Finder) -> None:
    trimmed = [*ASK, say("assistant", "hi, trimmed"), say("user", "more")]
    assert go(finder, step("a", 1, ASK, "hi"), step("b", 2, trimmed))[1] == Link("a", 1, False, known=True)


def test_but_not_when_several_runs_wait_there(finder: Finder) -> None:
    trimmed = [*ASK, say("assistant", "trimmed"), say("user", "more")]
    links = go(finder, step("a", 1, ASK, "hi"), step("b", 2, ASK, "hey"), step("c", 3, trimmed))
    assert links[2].trajectory_id == "c"


def test_a_clock_in_the_system_prompt_does_not_cut_a_run_in_two(finder: Finder) -> None:
    later = [say("system", "it is 12:01"), *NEXT[1:]]
    links = go(finder, step("a", 1, ASK, "hi"), step("b", 2, later, session="other"), step("c", 3, later))
    assert [link.trajectory_id for link in links] == ["a", "b", "a"]


def test_an_explicit_id_wins_and_can_be_left_out_later(finder: Finder) -> None:
    links = go(
        finder,
        step("a", 1, ASK, "hi", explicit="run-1"),
        step("b", 2, ASK, "hi", explicit="run-2"),
        step("c", 3, NEXT, "ok", explicit="run-2"),
        step("d", 4, [*NEXT, say("assistant", "ok"), say("user", "!")], explicit=""),
    )
    assert links == [
        Link("x:run-1", 0, True),
        Link("x:run-2", 0, True),
        Link("x:run-2", 1, True, known=True),
        Link("x:run-2", 2, True, known=True),
    ]


def test_examples_inside_a_prompt_are_no_calls(finder: Finder) -> None:
    shots = [say("user", "2+2"), say("assistant", "4"), say("user", "3+3")]
    links = go(finder, step("a", 1, shots, "6"), step("b", 2, shots, "6"))
    assert [link.trajectory_id for link in links] == ["a", "b"]
