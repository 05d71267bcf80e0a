"""Names and descent of patterns."""

import pytest

from tutelage.traffic.facts import Facts
from tutelage.traffic.naming import name_of, relative_of
from tutelage.traffic.patterns import PatternEntry

PROMPT = ("You are a voice assistant for Home Assistant.", "Answer in plain text.", "Call the intent tools always.")


def facts(*tools: str) -> Facts:
    return Facts(key="k", agent_key="a", role="user", system="", tools="t", tool_names=tools)


def known(name: str, skeleton: tuple[str, ...], *tools: str, hint: str = "") -> PatternEntry:
    return PatternEntry(
        pattern_id=f"p_{name}",
        agent_id=f"a_{name}",
        name=name,
        version=1,
        role="user",
        agent_key="old",
        hint=hint,
        skeleton=skeleton,
        tool_names=tools,
    )


@pytest.mark.parametrize(
    ("skeleton", "tools", "name"),
    [
        (PROMPT, (), "voice-assistant-home-assistant"),
        (("Time: ⟨time⟩", "# Airline Agent Policy"), ("book",), "airline-policy"),
        (("The user is Emma Johnson of Blue Sparrow.",), ("get_iban", "pay"), "get_iban+1"),
        ((), ("lookup",), "lookup"),
        ((), (), "chat"),
    ],
)
def test_names_come_from_the_role_line_or_the_tools(
    skeleton: tuple[str, ...], tools: tuple[str, ...], name: str
) -> None:
    assert name_of(facts(*tools), skeleton, "", set()) == name


def test_a_given_name_is_kept_and_a_taken_one_numbered() -> None:
    assert name_of(facts(), PROMPT, "triage", set()) == "triage"
    assert name_of(facts(), (), "", {"chat", "chat-2"}) == "chat-3"


def test_an_edited_prompt_or_one_more_tool_inherits_the_name() -> None:
    entries = [known("home", PROMPT, "on", "off", "set"), known("shop", ("You sell shoes to people.",), "on", "off")]
    edited = (*PROMPT[:2], "Call the intent tools if needed.")
    assert relative_of(entries, facts("on", "off", "set"), edited, "") == "home"
    assert relative_of(entries, facts("on", "off", "set", "dim"), PROMPT, "") == "home"


def test_other_work_inherits_nothing() -> None:
    entries = [known("home", PROMPT, "on", "off"), known("named", PROMPT, "on", "off", hint="named")]
    assert relative_of(entries, facts("buy", "sell"), PROMPT, "") == ""
    assert relative_of(entries, facts("on", "off"), ("You sell shoes to people.",), "") == ""
    assert relative_of(entries, facts("buy"), (), "named") == "named"
    assert relative_of(entries, facts("buy"), (), "other") == ""
