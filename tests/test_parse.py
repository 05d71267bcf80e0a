"""Taking records apart: names as the canonical form gives them, however the text is spelled; nothing lost, no crash."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.traffic.canonical import chain, loads, toolset_id
from tutelage.traffic.facts import facts_of
from tutelage.traffic.parse import Parser
from tutelage.traffic.records import CallRecord, new_call_id

Make = Callable[..., CallRecord]
SYSTEM = {"role": "system", "content": "You switch lights."}
USER = {"role": "user", "content": "on, please"}
ACT = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "turn_on", "arguments": '{"room": "hall"}'}}],
}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "done"}
DONE = {"role": "assistant", "content": "It is on."}
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
    for name in ("turn_on", "turn_off")
]


def raw(body: bytes, **fields: Any) -> CallRecord:
    return CallRecord(call_id=new_call_id(), started_at=1.0, status=200, request=body, **fields)


def test_messages_tools_and_parameters_part_ways(make_call: Make) -> None:
    parser = Parser()
    parsed = parser.parse(make_call([SYSTEM, USER, ACT, RESULT], DONE, tools=TOOLS))
    names = chain([SYSTEM, USER, ACT, RESULT, DONE])
    assert [named.message_id for named in parsed.request.chain] == names[:-1]
    assert [named.role for named in parsed.request.chain] == ["system", "user", "assistant", "tool"]
    assert (parsed.tail, parsed.answer_id, parsed.error) == (names[-2], names[-1], "")
    assert json.loads(parsed.request.params) == {"model": "teacher-1", "temperature": 0}
    assert parsed.request.model == "teacher-1"
    messages, toolsets = parser.drain()
    assert {one.message_id: loads(one.body) for one in messages} == dict(
        zip(names, [SYSTEM, USER, ACT, RESULT, DONE], strict=True)
    )
    assert [one.depth for one in sorted(messages, key=lambda one: one.depth)] == [0, 1, 2, 3, 4]
    assert [(one.toolset_id, one.names) for one in toolsets] == [(toolset_id(TOOLS), ["turn_on", "turn_off"])]
    assert parser.drain() == ([], [])


def test_what_was_seen_is_not_handed_out_again_but_a_new_spelling_has_the_same_name(make_call: Make) -> None:
    parser = Parser()
    first = parser.parse(make_call([SYSTEM, USER], ACT, tools=TOOLS))
    parser.drain()
    again = parser.parse(make_call([SYSTEM, USER], ACT, tools=TOOLS))
    messages, toolsets = parser.drain()
    assert toolsets == []
    assert [one.role for one in messages] == ["assistant"]
    spelled = json.dumps({"messages": [dict(reversed(SYSTEM.items())), USER]}, indent=3).encode()
    other = parser.parse(raw(spelled))
    assert first.tail == again.tail == other.tail


def test_the_outline_is_all_that_patterns_need(make_call: Make) -> None:
    messages = [SYSTEM, USER, ACT, RESULT]
    record = make_call(messages, DONE, tools=TOOLS)
    outline = Parser().parse(record).request.outline
    assert outline["messages"] == [SYSTEM, USER, RESULT]
    assert facts_of(outline) == facts_of(loads(record.request))


def test_agents_echo_an_answer_under_its_own_digest(make_call: Make) -> None:
    parser = Parser()
    answered = parser.parse(make_call([SYSTEM, USER], ACT))
    clock = {"role": "system", "content": "It is later."}
    echoed = parser.parse(make_call([clock, USER, ACT, RESULT], DONE))
    assert echoed.request.chain[2].message_id != answered.answer_id
    assert echoed.request.chain[2].content_id == answered.answer_content != ""


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "bad_json"),
        (b"{", "bad_json"),
        (b"[1]", "bad_json"),
        (b"\xff\xfe", "bad_json"),
        (b"{}", "no_messages"),
        (b'{"messages": []}', "no_messages"),
        (b'{"messages": "hello"}', "no_messages"),
        (b'{"messages": null}', "no_messages"),
        (b'{"messages": [1]}', "unreadable_request: TypeError"),
        (b'{"messages": [{"role": "user", "content": ' + b"[" * 5000 + b"]" * 5000 + b"}]}", ""),
    ],
)
def test_what_is_no_chat_request_says_why(body: bytes, error: str) -> None:
    parsed = Parser().parse(raw(body))
    assert parsed.error == error or not error
    assert bool(parsed.request.chain) is not bool(parsed.request.error)
    assert not parsed.request.error or parsed.tail is None


def test_other_endpoints_are_not_read_at_all(make_call: Make) -> None:
    record = msgspec.structs.replace(make_call([USER], DONE), endpoint="/v1/embeddings")
    parsed = Parser().parse(record)
    assert (parsed.error, parsed.answer.keep_raw, parsed.request.chain) == ("not_chat", True, [])


@pytest.mark.parametrize(
    "content", ['"\\ud800 alone"', "NaN", "123456789012345678901234567890", "1e999", '"\\u0000"', '"\\ud83d\\ude00"']
)
def test_texts_in_the_wild_survive(content: str) -> None:
    body = f'{{"messages": [{{"role": "user", "content": {content}}}], "seed": {10**40}}}'.encode()
    parser = Parser()
    parsed = parser.parse(raw(body))
    assert parsed.error == "empty_response"
    stored = parser.drain()[0][0].body
    stored.encode()
    assert repr(loads(stored)["content"]) == repr(loads(content))
    assert loads(parsed.request.params) == {"seed": 10**40}


def test_tools_that_are_no_tools_stay_parameters() -> None:
    for tools in ("7", "[]", "[1]", '{"a": 1}'):
        body = f'{{"messages": [{{"role": "user", "content": "x"}}], "tools": {tools}}}'.encode()
        parsed = Parser().parse(raw(body))
        assert parsed.request.toolset is None
        assert json.loads(parsed.request.params) == {"tools": json.loads(tools)}
    assert Parser().parse(raw(b'{"messages": [{"role": "user"}], "tools": null}')).request.toolset is None


messages = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant", "tool", ""]), "content": st.none() | st.text()},
        optional={"name": st.text(), "tool_calls": st.lists(st.dictionaries(st.text(), st.text()), max_size=2)},
    ),
    min_size=1,
    max_size=6,
)


@given(messages, st.booleans(), st.sampled_from([None, 1]))
def test_names_are_those_of_the_canonical_form(listed: list[dict[str, Any]], escape: bool, indent: int | None) -> None:
    text = json.dumps({"messages": listed}, ensure_ascii=escape, indent=indent)
    parsed = Parser().parse(raw(text.encode("utf-8", "surrogatepass" if escape else "backslashreplace")))
    assert [named.message_id for named in parsed.request.chain] == chain(listed)


@given(st.binary(max_size=300), st.binary(max_size=100))
def test_no_record_can_make_it_fail(request: bytes, response: bytes) -> None:
    parser = Parser()
    for record in (
        raw(request, response=response),
        raw(b'{"messages": [' + request + b"]}", response=b"data: " + response),
    ):
        assert parser.parse(record).record is record
