"""The policy as a table: which values label a run, and how."""

import random

import pytest

from tutelage.traffic.outcome_rules import Outcome, OutcomeRules, Value, judge, label_of

RULES = OutcomeRules()


def value(
    said: bool | float | str | None, source: str = "", at: float = 1.0, target: str = "", metric: str = "success"
):
    return Value(at, target, metric, source, said)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], None),
        ([value(True)], Outcome(True, "feedback", True)),
        ([value(False, "user")], Outcome(False, "feedback:user", True)),
        ([value("great")], None),
        ([value(True, metric="latency")], None),
        ([value(0.5)], Outcome(True, "feedback", True)),
        ([value(0.49)], Outcome(False, "feedback", True)),
        ([value(None, "verifier:v")], None),
        # The newest of one target, metric and source.
        ([value(True, at=1.0), value(False, at=2.0)], Outcome(False, "feedback", True)),
        ([value(False, at=1.0), value(True, at=2.0)], Outcome(True, "feedback", True)),
        ([value(True, "verifier:v", 1.0), value(None, "verifier:v", 2.0)], None),
        # Feedback before verifiers before plugins, whichever came last.
        ([value(True, "u"), value(False, "verifier:v", 2.0)], Outcome(True, "feedback:u", True)),
        ([value(True, "verifier:v"), value(False, "plugin:langchain", 2.0)], Outcome(True, "verifier:v", True)),
        ([value(True, "plugin:langchain")], Outcome(True, "plugin:langchain", True)),
        # A text has no opinion, so the next source is asked.
        ([value("fine", "u"), value(False, "verifier:v")], Outcome(False, "verifier:v", True)),
        # One failure is a failure.
        ([value(True, "verifier:a", 2.0), value(False, "verifier:b", 1.0)], Outcome(False, "verifier:b", True)),
        ([value(True, "u"), value(False, "u", metric="resolved")], Outcome(False, "feedback:u", True)),
        # Of calls and the run, the run; a call does not end it.
        ([value(False, "u", 2.0, target="c1"), value(True, "u")], Outcome(True, "feedback:u", True)),
        ([value(True, "u", target="c1"), value(False, "u", target="c2")], Outcome(False, "feedback:u", False)),
        ([value(True, "u", target="c1")], Outcome(True, "feedback:u", False)),
    ],
)
def test_the_label_of_a_run(values: list[Value], expected: Outcome | None) -> None:
    assert judge(values, RULES) == expected
    shuffled = random.Random(1).sample(values, len(values))
    assert judge(shuffled, RULES) == expected


def test_the_rules_can_be_changed() -> None:
    rules = OutcomeRules(success_metrics=("stars",), thresholds={"stars": 4.0}, sources=("verifier", "feedback"))
    assert judge([value(3.9, metric="stars")], rules) == Outcome(False, "feedback", True)
    assert judge([value(4, metric="stars")], rules) == Outcome(True, "feedback", True)
    assert judge([value(True)], rules) is None
    both = [value(5.0, metric="stars"), value(1.0, "verifier:v", metric="stars")]
    assert judge(both, rules) == Outcome(False, "verifier:v", True)
    assert judge([value(True, "plugin:x", metric="stars")], rules) is None


def test_no_source_can_pass_for_a_guess() -> None:
    assert label_of("heuristic") == "feedback:heuristic"
    assert label_of("open") == "feedback:open"
