"""What the benchmark of votes counts."""

import math
from types import SimpleNamespace
from typing import Any, cast

import pytest

from benchmarks.ha_votes import Arm, measured
from tutelage.serving.engine import Sampling
from tutelage.serving.student import Answer


def acting(name: str) -> Answer:
    call = {"id": "c", "type": "function", "function": {"name": name, "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    return Answer(message, {"completion_tokens": 10}, -0.1, -0.2, "tool_calls")


class Wavering:
    """Greedily wrong; three of four drawn answers are right."""

    def answer(self, request: dict[str, Any]) -> Answer:
        return acting("off")

    def draw(self, request: dict[str, Any], count: int, sampling: Sampling, should_stop: Any = None) -> list[Answer]:
        return [acting("off" if place % 4 == 0 else "on") for place in range(count)]


def judge(item: Any, calls: Any) -> tuple[bool, str]:
    right = calls[0]["function"]["name"] == "on"
    return right, "" if right else "wrong tool"


RUNS = [
    {"trajectory_id": f"t{n}", "messages": [{}, {"content": "light"}, {}], "tools": [], "meta": {"home": "a"}}
    for n in range(6)
]


@pytest.mark.parametrize(("samples", "right"), [(1, 0.0), (4, 1.0)])
def test_a_vote_is_counted_beside_the_greedy_answer(samples: int, right: float) -> None:
    found = measured(Arm(cast(Any, Wavering()), samples), RUNS, judge)
    assert (found["right"], found["refused"], found["samples"]) == (right, 0, samples)
    assert found["tokens_per_call"] == 10


def test_the_share_of_votes_is_what_a_threshold_looks_at() -> None:
    given = Arm(cast(Any, Wavering()), 4).answer({})
    assert given.score == pytest.approx(math.log(0.75))
    assert SimpleNamespace(score=Arm(cast(Any, Wavering()), 1).answer({}).score).score == -0.1
