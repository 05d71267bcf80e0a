"""Taking records apart: names as the canonical form gives them, however the text is spelled; nothing lost, no crash."""

import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.traffic.canonical import chain, loads, toolset_id
from tutelage.traffic.facts import facts_of
from tutelage.traffic.messages import Named
from tutelage.traffic.parse import Given, Parser
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
    assert parser.drain() == ([], [])
    spelled = json.dumps({"messages": [dict(reversed(SYSTEM.items())), USER]}, indent=3).encode()
    other = parser.parse(raw(spelled))
    assert first.tail == again.tail == other.tail


def test_the_facts_are_those_of_the_whole_request(make_call: Make) -> None:
    record = make_call([SYSTEM, USER, ACT, RESULT], DONE, tools=TOOLS)
    assert Parser().parse(record).request.facts == facts_of(loads(record.request))


def test_calls_that_differ_in_their_model_alone_have_their_own_facts(make_call: Make) -> None:
    parser = Parser()
    for model in (b"teacher-1", b"teacher-2", b"teacher-1"):
        for said in ([SYSTEM, USER], [SYSTEM, USER, ACT, RESULT]):
            record = make_call(said, DONE, tools=TOOLS, session="one")
            record = msgspec.structs.replace(record, request=record.request.replace(b"teacher-1", model))
            facts = parser.parse(record).request.facts
            assert facts == facts_of(loads(record.request))
            assert facts
            assert facts.model == model.decode()


def test_agents_echo_an_answer_under_its_own_digest(make_call: Make) -> None:
    parser = Parser()
    answered = parser.parse(make_call([SYSTEM, USER], ACT))
    clock = {"role": "system", "content": "It is later."}
    echoed = parser.parse(make_call([clock, USER, ACT, RESULT], DONE))
    assert echoed.request.chain[2].message_id != answered.answer_id
    assert answered.given is not None
    assert echoed.request.chain[2].content_id == answered.given.content_id != 0


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
    record = msgspec.structs.replace(make_call([USER], DONE), endpoint="/v1/files")
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


def responses_call(items: Any, output: list[Any], name: str, **fields: Any) -> CallRecord:
    body = {"model": "gpt-x", "input": items, "tools": [{"type": "function", "name": "f"}]} | fields
    answer = {"id": name, "object": "response", "status": "completed", "model": "gpt-x-1", "output": output}
    record = raw(json.dumps(body).encode(), response=json.dumps(answer).encode())
    return msgspec.structs.replace(record, endpoint="/v1/responses", caller="k")


ASKED = {"role": "user", "content": "hi"}
SAID = {"type": "message", "id": "m1", "role": "assistant", "content": [{"type": "output_text", "text": "hello"}]}


def test_responses_have_conversations_tools_and_no_pattern() -> None:
    parser = Parser()
    first = parser.parse(responses_call("hi", [SAID], "resp_1", instructions="Be kind.", temperature=1))
    names = chain([{"role": "system", "content": "Be kind."}, ASKED, {"role": "assistant", "content": "hello"}])
    assert [named.message_id for named in first.request.chain] == names[:2]
    assert (first.answer_id, first.error, first.request.facts) == (names[2], "", None)
    assert json.loads(first.request.params) == {"model": "gpt-x", "temperature": 1}
    assert first.request.toolset is not None
    assert first.request.toolset.names == ["f"]
    again = parser.parse(responses_call([ASKED, SAID, ASKED], [SAID], "resp_2", instructions="Be kind."))
    assert [named.message_id for named in again.request.chain[:3]] == names


def test_an_earlier_answer_that_is_named_goes_before_the_new_messages() -> None:
    parser = Parser()
    first = parser.parse(responses_call("hi", [SAID], "resp_1", instructions="Be kind."))
    following = responses_call("more", [SAID], "resp_2", instructions="Be brief.", previous_response_id="resp_1")
    found = parser.parse(following)
    assert found.request.chain[0] == first.given
    assert found.error == ""
    bodies = {one.message_id: one for one in parser.drain()[0]}
    assert found.tail is not None
    assert (bodies[found.tail].parent_id, bodies[found.tail].depth) == (first.answer_id, 3)
    assert json.loads(found.request.params) == {
        "model": "gpt-x",
        "instructions": "Be brief.",
        "previous_response_id": "resp_1",
    }
    stranger = parser.parse(msgspec.structs.replace(following, caller="other"))
    assert [named.role for named in stranger.request.chain] == ["system", "user"]


def test_the_store_is_asked_once_for_an_answer_that_nobody_has_seen() -> None:
    asked: list[tuple[str, str]] = []

    def recall(caller: str, name: str) -> Given | None:
        asked.append((caller, name))
        return Given(Named("1" * 32, "assistant", 3), 6) if name == "resp_old" else None

    parser = Parser(recall)
    for name in ("resp_0", "resp_old") * 3:
        found = parser.parse(responses_call("hi", [SAID], f"after {name}", previous_response_id=name))
        assert [named.role for named in found.request.chain] == ["assistant", "user"][name == "resp_0" :]
        assert found.request.depth == (6 if name == "resp_old" else 0)
    assert asked == [("k", "resp_0"), ("k", "resp_old")]


def test_anthropics_messages_have_conversations_too() -> None:
    use = {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": "done"}
    answer = {"id": "msg_1", "role": "assistant", "content": [use], "stop_reason": "tool_use", "model": "claude"}
    asked = {"model": "claude", "max_tokens": 9, "system": "Be kind.", "messages": [ASKED]}
    body = json.dumps(asked).encode()
    parser = Parser()
    first = parser.parse(raw(body, response=json.dumps(answer).encode(), endpoint="/v1/messages"))
    assert (first.error, first.answer.finish_reason, first.given and first.given.acts) == ("", "tool_calls", True)
    assert json.loads(first.request.params) == {"model": "claude", "max_tokens": 9}
    asked["messages"] = [ASKED, {"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
    second = parser.parse(raw(json.dumps(asked).encode(), endpoint="/v1/messages"))
    assert [named.role for named in second.request.chain] == ["system", "user", "assistant", "tool"]
    assert second.request.chain[2] == first.given


def test_compressed_bodies_are_read_and_those_that_cannot_be_are_kept(make_call: Make) -> None:
    plain = make_call([USER], DONE)
    packed = msgspec.structs.replace(
        plain, request=gzip.compress(plain.request), response=zlib.compress(plain.response), response_encoding="deflate"
    )
    whole, found = Parser().parse(plain), Parser().parse(packed)
    assert (found.tail, found.answer_id, found.error) == (whole.tail, whole.answer_id, "")
    assert found.record == msgspec.structs.replace(plain, response_encoding="deflate")
    odd = Parser().parse(msgspec.structs.replace(packed, response_encoding="unheard-of"))
    assert (odd.error, odd.answer.keep_raw, odd.record.response) == ("encoded:unheard-of", True, packed.response)
    assert odd.tail == whole.tail
    broken = Parser().parse(msgspec.structs.replace(packed, request=packed.request[:2] + b"oops"))
    assert (broken.error, broken.request.chain, broken.record.request[2:]) == ("encoded:gzip", [], b"oops")


def test_a_run_read_by_its_beginnings_is_the_run_read_in_full(make_call: Make) -> None:
    history = [SYSTEM, USER]
    parser = Parser()
    for turn in range(6):
        answer = {"role": "assistant", "content": f"{turn} \u00e9", "tool_calls": ACT["tool_calls"]}
        record = make_call(list(history), answer, tools=TOOLS, session="s")
        found, full = parser.parse(record), Parser().parse(record)
        assert (found.request, found.given, found.answer) == (full.request, full.given, full.answer)
        history += [answer, {"role": "tool", "tool_call_id": "c1", "content": f"Error {turn}"}, SYSTEM]


@given(st.binary(max_size=300), st.binary(max_size=100))
def test_no_record_can_make_it_fail(request: bytes, response: bytes) -> None:
    parser = Parser()
    for end in ("chat/completions", "responses", "messages", "completions", "embeddings", "files"):
        fields: dict[str, Any] = {"session": "s", "endpoint": f"/v1/{end}"}
        for record in (
            raw(request, response=response, **fields),
            raw(b'{"messages": [' + request + b"]}", response=b"data: " + response, **fields),
            raw(b'{"input": [' + request + b"]}", response=b"{" + response, response_encoding="gzip", **fields),
        ):
            assert parser.parse(record).record.call_id == record.call_id
