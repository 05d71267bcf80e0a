import json

import pytest

from tutelage.proxy import openai_errors
from tutelage.proxy.openai_errors import Problem

ALL = [
    (openai_errors.bad_json("x"), 400),
    (openai_errors.too_large(5), 413),
    (openai_errors.unknown_path("GET", "/x"), 404),
    (openai_errors.unreachable("x"), 502),
    (openai_errors.timed_out("head", 600), 504),
    (openai_errors.cannot_send(), 400),
    (openai_errors.breaker_open("default", 5), 503),
    (openai_errors.busy(2000), 503),
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


@pytest.mark.parametrize(
    ("phase", "limit_s", "words"),
    [
        ("connect", 5.0, "no connection within 5 s (connect_timeout_s)"),
        ("head", 600.0, "nothing came within 600 s (head_timeout_s)"),
        ("read", 0.5, "it fell silent for 0.5 s (read_timeout_s)"),
        ("total", 3600.0, "it was not done within 3600 s (total_timeout_s)"),
    ],
)
def test_a_timeout_names_its_phase_and_its_setting(phase: str, limit_s: float, words: str) -> None:
    assert words in openai_errors.timed_out(phase, limit_s).message


def test_refusals_that_pass_say_when_to_come_again() -> None:
    assert openai_errors.busy(10).headers == (("retry-after", "1"), ("x-should-retry", "true"))
    assert openai_errors.breaker_open("big", 5).headers == (("retry-after", "5"), ("x-should-retry", "true"))
    assert openai_errors.internal().headers == ()


def test_an_untrusted_certificate_comes_with_advice() -> None:
    problem = openai_errors.untrusted("invalid peer certificate: UnknownIssuer")
    assert (problem.status, problem.code) == (502, "upstream_unreachable")
    assert "UnknownIssuer" in problem.message
    assert "ca_file" in problem.message


def test_codes_are_distinct() -> None:
    assert len({problem.code for problem, _ in ALL}) == len(ALL)
