"""Anthropic's messages: blocks become chat messages, streams the same message, and echoes the same names."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.traffic.answers import answer_of_record
from tutelage.traffic.anthropic import answer, assemble, assistant, conversation
from tutelage.traffic.canonical import chain
from tutelage.traffic.errors import BadInput
from tutelage.traffic.records import CallRecord, new_call_id

BLANK = CallRecord(call_id=new_call_id(), started_at=1.0, status=200, endpoint="/v1/messages")
THINKING = {"type": "thinking", "thinking": "Hall, then.", "signature": "EqQB"}
TEXT = {"type": "text", "text": "Switching."}
USE = {"type": "tool_use", "id": "toolu_1", "name": "turn_on", "input": {"room": "hall", "level": 0.5}}
SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}}
USAGE = {
    "input_tokens": 10,
    "cache_creation_input_tokens": 20,
    "cache_read_input_tokens": 30,
    "output_tokens": 7,
}


def message(*content: Any, **fields: Any) -> dict[str, Any]:
    base = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "stop_reason": "end_turn"}
    return base | {"stop_sequence": None, "content": list(content), "usage": USAGE} | fields


def sse(*events: dict[str, Any]) -> bytes:
    return b"".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events)


def pieces(index: int, block: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of one block, its texts cut into single characters."""

    def delta(kind: str, member: str, text: str) -> list[dict[str, Any]]:
        return [
            {"type": "content_block_delta", "index": index, "delta": {"type": kind, member: letter}} for letter in text
        ]

    start, deltas = dict(block), []
    if block["type"] == "text":
        start["text"], deltas = "", delta("text_delta", "text", block["text"])
    elif block["type"] == "thinking":
        start = {"type": "thinking", "thinking": "", "signature": ""}
        deltas = delta("thinking_delta", "thinking", block["thinking"])
        deltas += delta("signature_delta", "signature", block["signature"])
    elif "input" in block:
        start["input"], deltas = (
            {},
            delta("input_json_delta", "partial_json", "" if not block["input"] else json.dumps(block["input"])),
        )
        deltas.insert(
            0,
            {"type": "content_block_delta", "index": index, "delta": {"type": "input_json_delta", "partial_json": ""}},
        )
    opening = {"type": "content_block_start", "index": index, "content_block": start}
    return [opening, {"type": "ping"}, *deltas, {"type": "content_block_stop", "index": index}]


def events_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    first = {**body, "content": [], "stop_reason": None, "usage": {**body["usage"], "output_tokens": 1}}
    blocks = [event for index, block in enumerate(body["content"]) for event in pieces(index, block)]
    end = {"stop_reason": body["stop_reason"], "stop_sequence": None}
    usage = {"output_tokens": body["usage"]["output_tokens"]}
    return [
        {"type": "message_start", "message": first},
        *blocks,
        {"type": "message_delta", "delta": end, "usage": usage},
        {"type": "message_stop"},
    ]


def test_a_request_becomes_chat_messages() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "u"}}
    results = [
        {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "done"}]},
        {"type": "tool_result", "tool_use_id": "toolu_2", "content": "broken", "is_error": True},
    ]
    body = {
        "system": [{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": "Light!"},
            {"role": "assistant", "content": [THINKING, TEXT, USE, SEARCH]},
            {"role": "user", "content": [*results, TEXT, image]},
        ],
    }
    said = conversation(body)
    assert chain(said.opening) == chain([{"role": "system", "content": "Be kind."}])
    assert (said.fields, said.opening_fields) == (("messages",), ("system",))
    arguments = '{"room":"hall","level":0.5}'
    assert said.messages == [
        {"role": "user", "content": "Light!"},
        {
            "role": "assistant",
            "content": [TEXT, SEARCH],
            "tool_calls": [
                {"id": "toolu_1", "type": "function", "function": {"name": "turn_on", "arguments": arguments}}
            ],
            "reasoning_details": [{**THINKING, "index": 0}],
        },
        {"role": "tool", "tool_call_id": "toolu_1", "content": "done"},
        {"role": "tool", "tool_call_id": "toolu_2", "content": "broken", "is_error": True},
        {"role": "user", "content": [TEXT, image]},
    ]


def test_thinking_has_no_part_in_the_name_for_agents_may_leave_it_out() -> None:
    whole, without = assistant([THINKING, TEXT, USE]), assistant([{**TEXT, "citations": None}, USE])
    assert whole["reasoning_details"]
    assert chain([whole]) == chain([without])


@pytest.mark.parametrize(
    ("reason", "finish"),
    [("end_turn", "stop"), ("tool_use", "tool_calls"), ("max_tokens", "length"), ("pause_turn", "pause_turn")],
)
def test_what_an_answer_cost_and_how_it_ended(reason: str, finish: str) -> None:
    found = answer(message(TEXT, stop_reason=reason), BLANK)
    assert (found.prompt_tokens, found.cached_tokens, found.completion_tokens) == (60, 30, 7)
    assert (found.finish_reason, found.upstream_id, found.model, found.whole) == (finish, "msg_1", "claude-x", True)


def test_errors_keep_their_bytes() -> None:
    body = {"type": "error", "error": {"type": "overloaded_error", "message": "?"}}
    record = msgspec.structs.replace(BLANK, status=529, response=json.dumps(body).encode())
    found = answer_of_record(record, answer, assemble)
    assert (found.error, found.keep_raw, found.message) == ("overloaded_error", True, None)


def test_a_stream_ends_in_the_same_message() -> None:
    body = message(THINKING, TEXT, USE, {**USE, "id": "toolu_2", "input": {}}, stop_reason="tool_use")
    assert assemble(sse(*events_of(body))) == body
    record = msgspec.structs.replace(BLANK, stream=True, response=sse(*events_of(body)))
    assert answer_of_record(record, answer, assemble) == answer(body, BLANK)


def test_interleaved_blocks_are_told_apart() -> None:
    one, two = pieces(0, USE), pieces(1, {**USE, "id": "toolu_2"})
    mixed = [event for pair in zip(one, two, strict=True) for event in reversed(pair)]
    start, *_, delta, stop = events_of(message(stop_reason="tool_use"))
    assert assemble(sse(start, *mixed, delta, stop))["content"] == [USE, {**USE, "id": "toolu_2"}]


def test_a_cut_stream_has_no_answer_and_an_error_event_is_found() -> None:
    events = events_of(message(THINKING, USE))
    for count in range(1, len(events) - 1):
        record = msgspec.structs.replace(BLANK, stream=True, response=sse(*events[:count])[:-5])
        found = answer_of_record(record, answer, assemble)
        assert (found.whole, found.keep_raw, bool(found.error)) == (False, True, True)
    broken = sse(*events[:5], {"type": "error", "error": {"type": "overloaded_error", "message": "?"}})
    found = answer_of_record(msgspec.structs.replace(BLANK, stream=True, response=broken), answer, assemble)
    assert (found.error, found.upstream_id, found.keep_raw) == ("overloaded_error", "msg_1", True)


def test_input_that_is_no_json_stays_text() -> None:
    start = {"type": "content_block_start", "index": 0, "content_block": {**USE, "input": {}}}
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": '{"a'}}
    body = assemble(sse(events_of(message())[0], start, delta))
    assert body["content"][0]["input"] == '{"a'
    assert assistant(body["content"])["tool_calls"][0]["function"]["arguments"] == '{"a'


def test_a_stream_without_a_message_is_refused() -> None:
    with pytest.raises(BadInput, match="Expected a stream of message events"):
        assemble(b'event: ping\ndata: {"type": "ping"}\n\n')


junk = st.recursive(
    st.none() | st.integers(-2, 2) | st.sampled_from(["text", "tool_use", "tool_result", "user", "assistant"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "role", "content", "text", "tool_use_id", "input", "is_error"]), inner
        )
    ),
    max_leaves=12,
)


@given(junk, junk)
def test_only_known_errors_come_out_of_odd_requests(messages: Any, system: Any) -> None:
    try:
        said = conversation({"messages": messages, "system": system})
    except TypeError:
        return
    every = [*said.opening, *said.messages]
    assert len(chain(every)) == len(every)


kinds = ["message_start", "content_block_start", "content_block_delta", "message_delta", "error", None]
events = st.fixed_dictionaries(
    {"type": st.sampled_from(kinds)},
    optional=dict.fromkeys(("index", "message", "content_block", "delta", "usage", "error"), junk),
)


@given(st.lists(events, max_size=5))
def test_no_stream_makes_it_fail(listed: list[dict[str, Any]]) -> None:
    raw = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in listed)
    found = answer_of_record(msgspec.structs.replace(BLANK, stream=True, response=raw), answer, assemble)
    assert found.whole or found.keep_raw or not raw
