"""The referee: policy by pattern, and what waits for a judge."""

from typing import Any

import pytest
from test_compare import POLICY, TOOLS, heat, says

from tutelage.proxy.referee import PolicyReferee
from tutelage.proxy.replies import Reply
from tutelage.proxy.shadow import AUDIT, SHADOW, Task
from tutelage.traffic.tool_policy import ToolPolicy


def task(kind: str, answer: dict[str, Any], pattern: str = "p") -> Task:
    return Task(kind, "c1", pattern, "t1", "s@1", {"messages": [], "tools": TOOLS}, answer)


@pytest.mark.parametrize(
    ("kind", "answer", "reply", "judged", "waits"),
    [
        (SHADOW, says("It glows."), Reply(says("It is lit.")), True, True),
        (AUDIT, says("It glows."), Reply(says("It is lit.")), True, True),
        ("noise", says("It glows."), Reply(says("It is lit.")), True, False),
        (SHADOW, says("It glows."), Reply(says("It is lit.")), False, False),
        (SHADOW, says("It is 5."), Reply(says("It is 6.")), True, False),
        (SHADOW, says("It is 5."), Reply(failure="timeout"), True, False),
    ],
)
def test_only_what_the_rules_cannot_tell_waits(
    kind: str, answer: dict[str, Any], reply: Reply, judged: bool, waits: bool
) -> None:
    label = PolicyReferee(lambda _: ToolPolicy(), judged)(task(kind, answer), reply, 5.0)
    assert (label.waits, label.loss, label.at) == (waits, 1.0, 5.0)


def test_the_policy_is_that_of_the_pattern() -> None:
    referee = PolicyReferee({"p": POLICY, "q": ToolPolicy()}.__getitem__)
    reply = Reply(heat(note="Hi"))
    mild, strict = (referee(task(SHADOW, heat(note="hi."), pattern), reply, 5.0) for pattern in ("p", "q"))
    assert (mild.loss, mild.policy) == (0.0, POLICY.digest)
    assert (strict.loss, strict.policy) == (1.0, "")
