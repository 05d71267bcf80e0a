"""The first step of identification."""

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.traffic.facts import Facts, digest, facts_of

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}


def tool(name: str, schema: Any = SCHEMA, description: str = "Looks something up.") -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}


def body(**changes: Any) -> dict[str, Any]:
    messages = [{"role": "system", "content": "You plan trips."}, {"role": "user", "content": "Hello"}]
    return {"model": "m", "messages": messages, "tools": [tool("weather"), tool("trains")], **changes}


def facts(**changes: Any) -> Facts:
    found = facts_of(body(**changes))
    assert found is not None
    return found


def shuffled(value: Any, dice: random.Random) -> Any:
    """The same JSON with its keys in another order."""
    if isinstance(value, dict):
        items = [(key, shuffled(item, dice)) for key, item in value.items()]
        dice.shuffle(items)
        return dict(items)
    return [shuffled(item, dice) for item in value] if isinstance(value, list) else value


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@given(st.lists(st.tuples(st.text(max_size=8), JSON), max_size=5), st.integers(0, 999))
def test_order_of_tools_and_keys_does_not_matter(named: list[tuple[str, Any]], seed: int) -> None:
    tools = [tool(name, schema) for name, schema in named]
    request = body(tools=tools, response_format={"type": "json_schema", "json_schema": {"name": "a", "strict": True}})
    dice = random.Random(seed)
    other = shuffled(request, dice)
    dice.shuffle(other["tools"])
    assert facts_of(other) == facts_of(request)


def test_the_model_is_known_but_makes_no_other_pattern() -> None:
    one, other = facts(model="big"), facts(model="small")
    assert (one.model, other.model) == ("big", "small")
    assert one.key == other.key
    for odd in (None, 7, ["big"], {"name": "big"}):
        assert facts(model=odd).model == ""


def test_order_of_required_does_not_matter_but_its_content_does() -> None:
    one = facts(tools=[tool("a", SCHEMA | {"required": ["city", "days"]})])
    assert one == facts(tools=[tool("a", SCHEMA | {"required": ["days", "city"]})])
    assert one.key != facts(tools=[tool("a", SCHEMA | {"required": ["city"]})]).key


@pytest.mark.parametrize(
    "changes",
    [
        {"tools": [tool("weather")]},
        {"tools": [tool("weather"), tool("trains", {"type": "object"})]},
        {"tools": [tool("weather"), tool("trains", description="Books a seat.")]},
        {"tools": []},
        {"tool_choice": "required"},
        {"tool_choice": {"type": "function", "function": {"name": "trains"}}},
        {"response_format": {"type": "json_object"}},
    ],
)
def test_what_asks_for_other_work_has_another_key(changes: dict[str, Any]) -> None:
    assert facts(**changes).agent_key != facts().agent_key


@pytest.mark.parametrize(
    "changes", [{"tool_choice": "auto"}, {"response_format": {"type": "text"}}, {"temperature": 1}]
)
def test_what_says_nothing_changes_nothing(changes: dict[str, Any]) -> None:
    assert facts(**changes) == facts()


def test_scope_and_role_belong_to_the_key() -> None:
    tool_turn = facts(messages=[*body()["messages"], {"role": "tool", "content": "x", "tool_call_id": "c"}])
    assert tool_turn.role == "tool"
    assert tool_turn.agent_key == facts().agent_key
    assert tool_turn.key != facts().key
    scoped = facts_of(body(), scope="team")
    assert scoped is not None
    assert scoped.key != facts().key


def test_volatile_parts_of_descriptions_do_not_matter() -> None:
    dated = [facts(tools=[tool("a", description=f"Prices as of 2026-11-{day}.")]) for day in (10, 11)]
    assert dated[0] == dated[1]


def test_the_system_prompt_is_reduced() -> None:
    found = facts(messages=[{"role": "system", "content": "It is 10:00.\nYou plan trips."}, {"role": "user"}])
    assert found.lines == ("It is ⟨time⟩.", "You plan trips.")
    assert facts(messages=[{"role": "user", "content": "x"}]).lines == ()


def test_legacy_functions_and_odd_tools_are_taken_as_they_are() -> None:
    legacy = body(functions=[{"name": "f", "parameters": SCHEMA}])
    del legacy["tools"]
    found = facts_of(legacy)
    assert found is not None
    assert found.tool_names == ("f",)
    assert found.n_tools == 1
    assert facts(tools=[{"type": "web_search"}, "odd", {"function": 3}]).n_tools == 3
    assert facts(tools="none").tools == ""


@pytest.mark.parametrize("value", [None, [], "x", {}, {"messages": []}, {"messages": "x"}, {"input": "x"}])
def test_what_is_no_chat_request_has_no_facts(value: Any) -> None:
    assert facts_of(value) is None


@given(JSON, JSON, JSON)
def test_no_request_is_too_odd(messages: Any, tools: Any, choice: Any) -> None:
    found = facts_of({"messages": [messages], "tools": tools, "tool_choice": choice, "response_format": choice})
    assert found is not None
    assert len(found.key) == 32


def test_what_is_nested_too_deeply_has_no_facts() -> None:
    deep: Any = {}
    for _ in range(100_000):
        deep = {"a": deep}
    assert facts_of(body(tools=[tool("a", deep)])) is None
    assert facts_of(body(response_format=deep)) is None
    while deep:  # taken apart here: the garbage collector would recurse
        deep = deep.pop("a")


def test_openings_tell_conversations_apart() -> None:
    def opening(content: Any) -> int:
        return facts(messages=[{"role": "user", "content": content}]).opening

    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "x"}}]
    assert opening("a") == opening("a") != opening("b")
    assert opening(parts) == opening(list(parts)) != opening([{"type": "text", "text": "b"}])


def test_lone_surrogates_are_survived() -> None:
    text = json.loads('"\\ud800 broken"')
    found = facts(messages=[{"role": "system", "content": text}, {"role": "user"}], tools=[tool(text, {"a": text})])
    assert found.system == text
    assert len(found.key) == 32


def test_digest_keeps_the_borders_of_its_parts() -> None:
    assert digest("ab", "c") != digest("a", "bc")
    assert len(digest("a", size=5)) == 10
