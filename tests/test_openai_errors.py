import json

import pytest

from tutelage.proxy import openai_errors
from tutelage.proxy.openai_errors import Problem

ALL = [
    (openai_errors.bad_json("x"), 400),
    (openai_errors.too_large(5), 413),
    (openai_errors.unknown_path("GET", "/x"), 404),
    (openai_errors.unreachable("x"), 502),
    (openai_errors.timed_out("x"), 504),
    (openai_errors.broken_off(), 502),
    (openai_errors.internal(), 500),
]


@pytest.mark.parametrize(("problem", "status"), ALL)
def test_every_problem_has_openais_shape(problem: Problem, status: int) -> None:
    error = json.loads(problem.body())["error"]
    assert problem.status == status
    assert list(error) == ["message", "type", "param", "code"]
    assert error["code"] == problem.code
    assert error["param"] is None


def test_a_problem_as_an_event() -> None:
    frame = openai_errors.broken_off().frame()
    assert frame.startswith(b"data: {")
    assert frame.endswith(b"}\n\n")


def test_codes_are_distinct() -> None:
    assert len({problem.code for problem, _ in ALL}) == len(ALL)
