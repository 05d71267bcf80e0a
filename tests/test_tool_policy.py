"""Rules of tools, and the digest that a verdict keeps of them."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tutelage.traffic.tool_policy import CAUTIOUS, ToolPolicy, ToolRule

RULE = ToolRule(kind="read-only", free_text=("note", "rows[].text"), ignore=("meta",))


@pytest.mark.parametrize(
    ("path", "how"),
    [
        ("note", "text"),
        ("note.inner", "text"),
        ("notes", "value"),
        ("rows[3].text", "text"),
        ("rows[3].id", "value"),
        ("rows", "value"),
        ("meta.trace.id", "ignored"),
        ("metadata", "value"),
    ],
)
def test_a_rule_holds_for_a_parameter_and_what_is_inside(path: str, how: str) -> None:
    assert RULE.compared_as(path) == how


def test_unknown_tools_write() -> None:
    policy = ToolPolicy(rules={"look": RULE})
    assert policy.reads("look")
    assert not policy.reads("send")
    assert policy.of("send") == CAUTIOUS


def test_nothing_known_has_no_digest() -> None:
    assert ToolPolicy().digest == ToolPolicy(rules={"send": ToolRule()}).digest == ""


RULES = [
    ToolRule(),
    ToolRule(kind="read-only"),
    ToolRule(free_text=("a", "b")),
    ToolRule(free_text=("b", "a")),
    ToolRule(ignore=("a", "b")),
    ToolRule(kind="read-only", free_text=("a",), ignore=("b",)),
]
POLICIES = st.dictionaries(st.sampled_from(["t1", "t2", "t3"]), st.sampled_from(RULES), max_size=3)


# The first drawing of all may take seconds: hypothesis reads the package's constants then.
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(POLICIES, POLICIES)
def test_two_policies_share_a_digest_only_if_they_say_the_same(
    one: dict[str, ToolRule], other: dict[str, ToolRule]
) -> None:
    def said(rules: dict[str, ToolRule]) -> dict[str, tuple[str, frozenset[str], frozenset[str]]]:
        return {
            name: (rule.kind, frozenset(rule.free_text), frozenset(rule.ignore))
            for name, rule in rules.items()
            if rule != CAUTIOUS
        }

    same = ToolPolicy(rules=one).digest == ToolPolicy(rules=other).digest
    assert same == (said(one) == said(other))
