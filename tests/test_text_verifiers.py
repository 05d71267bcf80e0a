"""Users' functions on two texts: what they decide, and that nothing they do decides by mistake."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_compare import POLICY, TOOLS, heat, says

from tutelage.proxy.referee import PolicyReferee
from tutelage.proxy.replies import Reply
from tutelage.proxy.shadow import AUDIT, SHADOW, Task
from tutelage.proxy.text_verifiers import Ruling, TextVerifiers
from tutelage.traffic.verifiers import Verifiers

MODULE = """
def lit(run):
    assert run.calls == [] and run.trajectory_id == "t1" and run.messages[0]["content"] == "Is it on?"
    return any(word in run.messages[-1]["content"] for word in ("lit", "glows"))

lit.version = 3
def sure(run): return 0.9 if "!" in run.messages[-1]["content"] else 0.2
def silent(run): return None
def raises(run): raise KeyError("lamp")
def polite(run): return "please" in run.messages[-1]["tool_calls"][0]["function"]["arguments"].lower()
"""
REQUEST: dict[str, Any] = {"messages": [{"role": "user", "content": "Is it on?"}], "tools": TOOLS}
LIT = "verifier:my_checks:lit@3"


@pytest.fixture
def checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    (tmp_path / "my_checks.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    made: list[TextVerifiers] = []

    def make(*names: str) -> TextVerifiers:
        made.append(TextVerifiers(Verifiers([f"my_checks:{name}" for name in names], limit_s=60.0)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def task(answer: dict[str, Any], kind: str = SHADOW) -> Task:
    return Task(kind, "c1", "p", "t1", "s@1", REQUEST, answer)


def test_what_a_function_says_of_both_answers_decides(checks: Any) -> None:
    texts = checks("lit")
    told = {
        ("It glows.", "It is lit."): Ruling(True, LIT),
        ("It glows.", "Hello."): Ruling(False, LIT),
        ("Hello.", "It glows."): None,
        ("Hello.", "Hi."): None,
    }
    for (theirs, ours), ruling in told.items():
        assert texts.decide(REQUEST, "t1", says(theirs), says(ours)) == ruling
    assert texts.told() == []


def test_several_functions(checks: Any) -> None:
    """A refusal beats a consent; who says nothing, or fails, is as if it were not there."""
    texts = checks("silent", "sure", "lit", "raises", "missing")
    assert texts.decide(REQUEST, "t1", says("It glows!"), says("It is lit!")) == Ruling(True, "verifier:my_checks:sure")
    assert texts.decide(REQUEST, "t1", says("It glows!"), says("It is lit.")) == Ruling(
        False, "verifier:my_checks:sure"
    )
    assert texts.decide(REQUEST, "t1", says("It glows."), says("It is lit.")) == Ruling(True, LIT)
    failing = "\n".join(texts.told())
    assert "my_checks:raises gave no verdict: It raised KeyError: 'lamp'" in failing
    assert "my_checks:missing gave no verdict: It cannot be imported" in failing


def test_without_functions_there_is_no_process_and_no_word(checks: Any) -> None:
    texts = checks()
    assert texts.decide(REQUEST, "t1", says("It glows."), says("It is lit.")) is None
    assert texts.functions._process is None


def test_after_the_end_nothing_is_decided(checks: Any) -> None:
    texts = checks("lit")
    texts.close()
    assert texts.decide(REQUEST, "t1", says("It glows."), says("It is lit.")) is None
    assert texts.told() == ["The text verifier my_checks:lit gave no verdict: It was stopped."]


@pytest.mark.parametrize(
    ("kind", "answer", "reply", "expected"),
    [
        (SHADOW, says("It glows."), Reply(says("It is lit.")), (0.0, LIT, False)),
        (AUDIT, says("It glows."), Reply(says("It is lit.")), (0.0, LIT, False)),
        (SHADOW, says("It glows."), Reply(says("Well.")), (1.0, LIT, False)),
        (AUDIT, says("Well."), Reply(says("It glows.")), (1.0, LIT, False)),
        (SHADOW, says("Yes."), Reply(says("It is lit.")), (1.0, "unsure", True)),
        (SHADOW, says("It glows since 5."), Reply(says("It glows since 6.")), (1.0, "numbers", False)),
        (SHADOW, says("It glows."), Reply(failure="timeout"), (1.0, "timeout", False)),
    ],
)
def test_a_label_rests_on_them_only_where_the_rules_are_unsure(
    checks: Any, kind: str, answer: dict[str, Any], reply: Reply, expected: tuple[float, str, bool]
) -> None:
    label = PolicyReferee(lambda _: POLICY, True, checks("lit"))(task(answer, kind), reply, 5.0)
    assert (label.loss, label.reason, label.waits) == expected


def test_free_text_of_a_tool_is_text_too(checks: Any) -> None:
    referee = PolicyReferee(lambda _: POLICY, True, checks("polite"))
    name = "verifier:my_checks:polite"
    label = referee(task(heat(note="Warm it, please")), Reply(heat(note="Please make it warm")), 5.0)
    assert (label.loss, label.reason, label.policy) == (0.0, name, POLICY.digest)
    label = referee(task(heat(note="Warm it, please")), Reply(heat(note="Heat the room")), 5.0)
    assert (label.loss, label.reason) == (1.0, name)
