"""The grammar accepts every valid answer and nothing else; what is drawn from it parses and validates."""

import json
import random
from collections import Counter
from typing import Any

import pytest
from data_sets import tool_sets
from gbnf_reader import Grammar
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.serving.grammar import grammar_for
from tutelage.serving.render import InvalidOutput, parse_action, render_action
from tutelage.serving.schemas import LIMITS, Uncompilable
from tutelage.serving.validation import check_calls, require_valid
from tutelage.traffic.errors import BadInput


def tool(name: str, parameters: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def call(name: str, arguments: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": function}]}


WEATHER = tool(
    "get_weather",
    {
        "type": "object",
        "properties": {
            "city": {"type": "string", "maxLength": 10},
            "unit": {"enum": ["c", "f"]},
            "days": {"type": "integer", "minimum": 1, "maximum": 7},
            "where": {"type": "object", "properties": {"lat": {"type": "number"}}, "required": ["lat"]},
            "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
            "deep": {"type": ["boolean", "null"]},
        },
        "required": ["city", "days"],
    },
)
PING = tool("ping", {"type": "object", "properties": {}})


def grammar(tools: list[Any], *rest: Any) -> Grammar:
    gbnf = grammar_for(tools, *rest)
    assert gbnf is not None
    return Grammar(gbnf)


def accepts(text: str, tools: list[Any] | None = None, *rest: Any) -> bool:
    return grammar([WEATHER, PING] if tools is None else tools, *rest).accepts(text)


def body(arguments: str, name: str = "get_weather") -> str:
    return f'<tool_call>{{"name":"{name}","arguments":{arguments}}}</tool_call>'


@pytest.mark.parametrize(
    "arguments",
    [
        '{"city":"Köln","days":3}',
        '{"city":"","unit":"c","days":7}',
        '{"city":"a\\"b","days":1,"where":{"lat":-1.5}}',
        '{"city":"x","days":1,"tags":[],"deep":null}',
        '{"city":"x","days":1,"tags":["a","b"]}',
    ],
)
def test_valid_calls_are_accepted(arguments: str) -> None:
    assert accepts(body(arguments))
    assert parse_action(body(arguments), [WEATHER, PING])["tool_calls"]


@pytest.mark.parametrize(
    "arguments",
    [
        "{}",
        '{"city":"x"}',
        '{"days":3,"city":"x"}',
        '{"city":"x","days":8}',
        '{"city":"x","days":"3"}',
        '{"city":"x","unit":"k","days":3}',
        '{"city":"elevenchars","days":3}',
        '{"city":"x","days":3,"tags":["a","b","c"]}',
        '{"city":"x","days":3,"other":1}',
        '{"city":"x","days":3,"where":{}}',
        '{"city":"x","days":3,}',
        '{"city":"a\nb","days":3}',
    ],
)
def test_invalid_calls_are_not(arguments: str) -> None:
    assert not accepts(body(arguments))


def test_unknown_tools_and_broken_blocks_are_not() -> None:
    assert not accepts(body("{}", "pong"))
    assert accepts(body("{}", "ping"))
    for text in ["<tool_call>", "well <tool_call>{", body("{}", "ping") + "!", body("{}", "ping")[:-1]]:
        assert not accepts(text), text


def test_thoughts_may_come_first_and_calls_may_be_several() -> None:
    two = body("{}", "ping") + "\n" + body("{}", "ping")
    assert accepts("I look, a < b and <b>.\n" + two)
    assert not accepts(two, None, None, False)


def test_tool_choice() -> None:
    assert not accepts("just text", None, "required")
    assert accepts(body("{}", "ping"), None, "required")
    named = {"type": "function", "function": {"name": "ping"}}
    assert accepts(body("{}", "ping"), None, named)
    assert not accepts(body('{"city":"x","days":3}'), None, named)
    assert accepts("just text", None, "none")
    assert not accepts(body("{}", "ping"), None, "none")
    assert grammar_for([], None) is None
    with pytest.raises(BadInput, match=r"'pong'.*ping"):
        grammar_for([PING], {"type": "function", "function": {"name": "pong"}})


def test_only_a_short_thought_may_stand_before_a_call_that_must_come() -> None:
    call = body("{}", "ping")
    assert accepts("I look.\n" + call, None, "required")
    assert accepts("x" * LIMITS.thought + call, None, "required")
    assert not accepts("x" * (LIMITS.thought + 1) + call, None, "required")
    assert not accepts("a < b" + call, None, "required")
    assert accepts("a < b" + call, None, "auto")


def test_a_response_format_holds_the_text() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert accepts('{"n":1}', [], None, True, wanted)
    assert not accepts('{"n":"1"}', [], None, True, wanted)
    assert not accepts("well", [], None, True, wanted)
    assert accepts(body("{}", "ping"), [PING], None, True, wanted)
    assert not accepts('{"n":1}', [PING], "required", True, wanted)
    assert accepts('{"a":[{"b":null}]}', [], None, True, {"type": "json_object"})
    assert not accepts("[1]", [], None, True, {"type": "json_object"})
    assert grammar_for([], None, True, None) is None


@given(
    st.text(alphabet="<>tol_ca/ ", max_size=30)
    | st.lists(st.sampled_from(["<", "<tool", "_call", ">", "x"])).map("".join)
)
def test_text_is_everything_without_an_opening_tag(text: str) -> None:
    readable = bool(text) and not text[0].isspace() and "<tool_call>" not in text
    assert accepts(text, [PING], "none") is readable


def test_what_has_no_grammar_is_refused_with_the_reason() -> None:
    many = [tool(f"tool_{n}", {"type": "object", "properties": {"x": {"enum": ["v" * 999]}}}) for n in range(300)]
    with pytest.raises(Uncompilable, match=r"more than 200000|too large"):
        grammar_for([*many, tool("x", {"properties": {"x": {"enum": [f"{n:0999}" for n in range(300)]}}})])
    with pytest.raises(Uncompilable, match=r"a\.x: `minLength` is 9999, and at most 1024 are written"):
        grammar_for([tool("a", {"properties": {"x": {"type": "string", "minLength": 9999}}, "required": ["x"]})])
    with pytest.raises(Uncompilable, match="a: `parameters` is no JSON schema"):
        grammar_for([tool("a", ["x"])])


_LEAF = st.sampled_from(
    [
        {"type": "string", "maxLength": 6},
        {"type": "integer"},
        {"type": "integer", "minimum": 0, "maximum": 5},
        {"type": "number"},
        {"type": "boolean"},
        {"enum": ["a", 1, None, 'q"x\\']},
    ]
)


def _object(leaf: Any) -> Any:
    names = st.text(alphabet='abé_-"', min_size=1, max_size=4)
    return st.builds(
        lambda properties, flags: {
            "type": "object",
            "properties": properties,
            "required": [name for name, flag in zip(properties, flags, strict=False) if flag],
        },
        st.dictionaries(names, leaf, max_size=4),
        st.lists(st.booleans(), min_size=4, max_size=4),
    )


_SCHEMA = _object(
    st.recursive(
        _LEAF, lambda s: _object(s) | st.builds(lambda i: {"type": "array", "items": i, "maxItems": 3}, s), max_leaves=5
    )
)


@st.composite
def _value(draw: st.DrawFn, schema: dict[str, Any]) -> Any:
    if "enum" in schema:
        return draw(st.sampled_from(schema["enum"]))
    kind = schema["type"]
    if kind == "object":
        chosen = {n: s for n, s in schema["properties"].items() if n in schema["required"] or draw(st.booleans())}
        return {name: draw(_value(part)) for name, part in draw(st.permutations(list(chosen.items())))}
    if kind == "array":
        return [draw(_value(schema["items"])) for _ in range(draw(st.integers(0, 3)))]
    simple = {
        "string": st.text(max_size=6).filter(lambda text: "\x7f" not in text),
        "boolean": st.booleans(),
        "number": st.integers(-(10**6), 10**6).map(lambda n: n / 8),
        "integer": st.integers(schema.get("minimum", -(10**9)), schema.get("maximum", 10**9)),
    }
    return draw(simple[kind])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_valid_call_as_rendered_is_accepted_and_read_back(data: st.DataObject) -> None:
    schema = data.draw(_SCHEMA)
    arguments = data.draw(_value(schema))
    tools = [tool("f", schema)]
    text = render_action(call("f", arguments), tools)
    if "<|" not in text:
        assert accepts(text, tools)
        assert json.loads(parse_action(text, tools)["tool_calls"][0]["function"]["arguments"]) == arguments


@pytest.mark.parametrize("source", ["bfcl", "agentdojo"])
@pytest.mark.parametrize("choice", ["auto", "required"])
def test_whatever_is_drawn_for_recorded_tools_parses_and_validates(source: str, choice: str) -> None:
    rng, outcomes = random.Random(source), Counter[str]()
    recorded = tool_sets(source)
    for tools in recorded[:: 1 + len(recorded) // 200] * 2:
        try:
            for one in tools:
                require_valid(one["function"]["name"], one["function"].get("parameters") or {})
            read = grammar(tools, choice)
        except Uncompilable as error:
            outcomes[f"refused: {error}"] += 1
            continue
        text = read.draw(rng, rng.choice([0.2, 0.5, 0.8]))
        message = parse_action(text, tools)
        check_calls(message.get("tool_calls") or [], tools)
        outcomes["a call" if message.get("tool_calls") else "text"] += 1
    assert outcomes["a call"] > 0
    assert (outcomes["text"] > 0) is (choice == "auto")
    assert sum(n for outcome, n in outcomes.items() if outcome.startswith("refused")) <= 2, outcomes


def test_what_the_grammar_refuses_is_refused_by_the_check_too() -> None:
    with pytest.raises(InvalidOutput):
        parse_action(body('{"city":"x","days":"3"}'), [WEATHER])
