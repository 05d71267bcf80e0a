"""The grammar accepts every valid answer and nothing else. GBNF is read here by a small translator to `re`."""

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.serving.grammar import grammar_for
from tutelage.serving.render import InvalidOutput, parse_action, render_action

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\[\^?(?:[^\]\\]|\\.)+\]|[a-zA-Z][\w-]*|\{\d+,\d+\}|[()|?]|\s+')


def to_regex(gbnf: str) -> re.Pattern[str]:
    """The language of a grammar; its recursive text rules, which have a test of their own, are given."""
    bodies = dict(line.split(" ::= ", 1) for line in gbnf.splitlines())
    done = {
        "text0": "(?:(?!<tool_call>)(?:.|\n))*",
        "text1": "(?:(?!(?<=<)tool_call>)(?:.|\n)(?:(?!<tool_call>)(?:.|\n))*)?",
    }

    def translate(token: str) -> str:
        if token.isspace():
            return ""
        if token[0] == '"':
            return "(?:" + re.escape(re.sub(r"\\n", "\n", token[1:-1]).replace('\\"', '"').replace("\\\\", "\\")) + ")"
        if token[0].isalpha():
            if token not in done:
                done[token] = "(?:" + "".join(map(translate, _TOKEN.findall(bodies[token]))) + ")"
            return done[token]
        return "(?:" if token == "(" else token

    for body in bodies.values():
        assert "".join(_TOKEN.findall(body)) == body
    return re.compile(translate("root"))


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


def accepts(text: str, tools: list[Any] | None = None, choice: Any = None, parallel: bool = True) -> bool:
    gbnf = grammar_for([WEATHER, PING] if tools is None else tools, choice, parallel)
    assert gbnf is not None
    return to_regex(gbnf).fullmatch(text) is not None


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
    assert not accepts(two, parallel=False)


def test_tool_choice() -> None:
    assert not accepts("just text", choice="required")
    assert accepts(body("{}", "ping"), choice="required")
    named = {"type": "function", "function": {"name": "ping"}}
    assert accepts(body("{}", "ping"), choice=named)
    assert not accepts(body('{"city":"x","days":3}'), choice=named)
    assert grammar_for([PING], "none") is None
    assert grammar_for([], None) is None


def machine(gbnf: str, text: str) -> bool:
    """Runs the text rules alone, as the automaton that they are."""
    rules = dict(line.split(" ::= ", 1) for line in gbnf.splitlines() if line.startswith("text"))
    state = "text0"
    for char in text:
        for part in rules[state].strip("()?").split(" | "):
            match = re.fullmatch(r'(\[\^[^\]]+\]|"(.)") (\w+)', part)
            assert match
            if match[2] == char or (match[1][0] == "[" and re.fullmatch(match[1], char)):
                state = match[3]
                break
        else:
            return False
    return True


@given(
    st.text(alphabet="<>tol_ca/", max_size=30)
    | st.lists(st.sampled_from(["<", "<tool", "_call", ">", "x"])).map("".join)
)
def test_text_is_everything_without_an_opening_tag(text: str) -> None:
    gbnf = grammar_for([PING])
    assert gbnf is not None
    assert machine(gbnf, text) == ("<tool_call>" not in text)


def test_recursive_and_contradictory_schemas_have_no_grammar() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}
    assert grammar_for([tool("a", {"$defs": {"node": node}, "$ref": "#/$defs/node"})]) is None
    assert (
        grammar_for([tool("a", {"type": "object", "properties": {"x": {"type": "string", "minLength": 9999}}})]) is None
    )
    assert grammar_for([tool("a", {"type": "object", "required": ["x"]})]) is None
    assert grammar_for([tool("a", {"type": "object", "properties": {"x": {"type": "strange"}}})]) is None
    assert grammar_for([tool("a", {"type": "object", "properties": {"x": {"enum": []}}})]) is None


def test_references_unions_and_free_objects() -> None:
    schema = {
        "$defs": {"point": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}},
        "type": "object",
        "properties": {
            "at": {"anyOf": [{"$ref": "#/$defs/point"}, {"type": "null"}]},
            "extra": {"type": "object", "additionalProperties": {"type": "boolean"}},
            "any": {},
            "both": {"allOf": [{"type": "string"}, {"maxLength": 2}]},
        },
    }
    tools = [tool("a", schema)]
    for good in ["{}", '{"at":{"x":-3}}', '{"at":null,"both":"ab"}', '{"extra":{"k":true},"any":[1,{"a":"b"}]}']:
        assert accepts(body(good, "a"), tools), good
    for bad in ['{"at":{}}', '{"extra":{"k":1}}', '{"both":"abc"}', '{"any":}']:
        assert not accepts(body(bad, "a"), tools), bad


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


def test_what_the_grammar_refuses_is_refused_by_the_check_too() -> None:
    with pytest.raises(InvalidOutput):
        parse_action(body('{"city":"x","days":"3"}'), [WEATHER])
