"""Chat requests read by what is known of earlier ones are the requests read in full, whatever came before."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.traffic.chat_requests import ChatRequests, Request
from tutelage.traffic.messages import Messages
from tutelage.traffic.parse import Parser
from tutelage.traffic.records import CallRecord, new_call_id

SYSTEM = {"role": "system", "content": "You switch lights."}
USER = {"role": "user", "content": "on, please"}
TOOL = {"type": "function", "function": {"name": "turn_on", "parameters": {"type": "object", "required": ["b", "a"]}}}


def record(body: bytes, session: str = "", answer: Any = None) -> CallRecord:
    choice = {"index": 0, "message": answer, "finish_reason": "stop"}
    response = b"" if answer is None else json.dumps({"id": "c", "choices": [choice]}).encode()
    return CallRecord(
        call_id=new_call_id(), started_at=1.0, status=200, caller="k", session=session, request=body, response=response
    )


def body(messages: Any, **more: Any) -> bytes:
    return json.dumps({"model": "m", "messages": messages, **more}).encode()


def test_the_second_conversation_under_a_frame_is_known_and_one_with_other_parameters_is_not() -> None:
    requests = ChatRequests(Messages())
    opening = body([SYSTEM, USER], tools=[TOOL], temperature=0)
    assert requests.known(record(opening)) is None
    first = requests.split(record(opening)).request
    found = requests.known(record(body([SYSTEM, {"role": "user", "content": "off"}], tools=[TOOL], temperature=0)))
    assert found is not None
    assert (found.request.params, found.request.toolset, found.request.model) == (first.params, first.toolset, "m")
    assert found.request.chain[0] is first.chain[0]
    assert requests.known(record(body([SYSTEM, USER], tools=[TOOL], temperature=1))) is None


@pytest.mark.parametrize("odd", [[7], ["text"], [{"role": "user"}, None]])
def test_what_the_short_way_cannot_read_is_left_to_the_long_one(odd: list[Any]) -> None:
    requests = ChatRequests(Messages())
    requests.split(record(body([USER])))
    assert requests.known(record(body(odd))) is None
    with pytest.raises(TypeError, match="no object"):
        requests.split(record(body(odd)))
    assert requests.split(record(body([]))).request == Request(error="no_messages")


texts = (
    st.sampled_from(["", "x", '"refusal"', "\u00e9\ud83d\ude00", "]}", '{"a": 1.0}', "Error: no", "\\u0000"])
    | st.text()
)
call = st.fixed_dictionaries(
    {
        "id": texts,
        "function": st.fixed_dictionaries({"name": texts, "arguments": st.sampled_from(["{}", '{"a":1e2}', "["])}),
    }
)
message = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "tool", "odd role"]), "content": st.none() | texts},
    optional={"tool_calls": st.lists(call, max_size=2), "refusal": st.none() | texts, "annotations": st.just([])},
)
answers = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": st.none() | texts},
    optional={"tool_calls": st.lists(call, min_size=1, max_size=2), "refusal": st.none(), "annotations": st.just([])},
)
step = st.tuples(
    st.sampled_from(["more", "answered", "again", "edited", "opened", "raw"]),
    st.lists(message, min_size=1, max_size=3),
    answers,
    st.sampled_from([{}, {"tools": [TOOL]}, {"tools": [TOOL], "messages": [USER]}, {"tool_choice": "auto"}]),
    st.sampled_from(["", "s", "t"]),
    st.sampled_from([None, 1]),
)


def spelled(messages: list[Any], more: dict[str, Any], indent: int | None) -> bytes:
    """The request; a second member `messages` stands behind the first."""
    text = json.dumps({"model": "m", "messages": messages}, indent=indent, ensure_ascii=bool(indent))
    rest = json.dumps(more, indent=indent)[1:] if more else "}"
    return (text.rstrip()[:-1] + ("," if more else "") + rest).encode("utf-8", "backslashreplace")


@given(st.lists(step, min_size=2, max_size=8))
def test_any_sequence_of_requests_is_read_as_each_alone(steps: list[Any]) -> None:
    parser, history, said = Parser(), [SYSTEM, USER], None
    for kind, new, answer, more, session, indent in steps:
        if kind == "answered" and said is not None:
            unsaid = [name for name in ("refusal", "annotations") if name in said]
            history = [*history, {name: value for name, value in said.items() if name not in unsaid}, *new]
        elif kind == "opened":
            history = list(new)
        elif kind == "edited":
            history = [*history[:-1], *new]
        elif kind != "again":
            history = [*history, *new]
        text = spelled(history, more, indent)
        if kind == "raw":
            text = text.replace(b"},", b"} ,").replace(b"user", b"us\\u0065r")
        call = record(text, session, answer)
        found, full = parser.parse(call), Parser().parse(call)
        assert (found.request, found.given, found.answer) == (full.request, full.given, full.answer)
        said = answer
