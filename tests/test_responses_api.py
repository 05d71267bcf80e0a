"""The Responses API: an answer's items and their echo are the same messages; streams end in the same answer."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.traffic.answers import answer_of_record
from tutelage.traffic.canonical import chain
from tutelage.traffic.errors import BadInput
from tutelage.traffic.records import CallRecord, new_call_id
from tutelage.traffic.responses_api import answer, assemble, conversation, messages_of

BLANK = CallRecord(call_id=new_call_id(), started_at=1.0, status=200, endpoint="/v1/responses")
REASONING = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
TEXT = {"type": "output_text", "text": "Switching.", "annotations": [], "logprobs": []}
SAID = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [TEXT]}
CALLS = [
    {
        "type": "function_call",
        "id": f"fc_{n}",
        "call_id": f"call_{n}",
        "name": "turn_on",
        "arguments": f'{{"room": {n}}}',
        "status": "completed",
    }
    for n in range(2)
]
SEARCH = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}}
USAGE = {
    "input_tokens": 40,
    "input_tokens_details": {"cached_tokens": 32},
    "output_tokens": 9,
    "output_tokens_details": {"reasoning_tokens": 5},
    "total_tokens": 49,
}


def response(*output: Any, **fields: Any) -> dict[str, Any]:
    base = {"id": "resp_1", "object": "response", "model": "gpt-x", "status": "completed", "error": None}
    return base | {"output": list(output), "usage": USAGE} | fields


def stream(*events: dict[str, Any]) -> bytes:
    return b"".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events)


def test_a_request_becomes_chat_messages() -> None:
    body = {
        "model": "gpt-x",
        "instructions": "Be kind.",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "Light!"}]},
            REASONING,
            SAID,
            *CALLS,
            {"type": "function_call_output", "id": "fo", "call_id": "call_0", "output": "done", "status": "completed"},
            {
                "type": "function_call_output",
                "call_id": "call_1",
                "output": [{"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": "u"}],
            },
            {"type": "message", "role": "developer", "content": "Hurry."},
        ],
    }
    said = conversation(body)
    assert said.opening == [{"role": "system", "content": "Be kind."}]
    assert (said.fields, said.opening_fields, said.earlier) == (("input",), ("instructions",), "")
    assistant = {
        "role": "assistant",
        "content": "Switching.",
        "tool_calls": [
            {"id": "call_0", "type": "function", "function": {"name": "turn_on", "arguments": '{"room": 0}'}},
            {"id": "call_1", "type": "function", "function": {"name": "turn_on", "arguments": '{"room": 1}'}},
        ],
        "reasoning_details": [{**REASONING, "index": 0}],
    }
    shown = [{"type": "text", "text": "a"}, {"type": "input_image", "image_url": "u"}]
    assert said.messages == [
        {"role": "user", "content": "Light!"},
        assistant,
        {"role": "tool", "tool_call_id": "call_0", "content": "done"},
        {"role": "tool", "tool_call_id": "call_1", "content": shown},
        {"role": "developer", "content": "Hurry."},
    ]


def test_plain_text_is_a_users_message() -> None:
    assert conversation({"input": "hi"}).messages == [{"role": "user", "content": "hi"}]
    assert conversation({"input": "hi", "previous_response_id": "resp_0"}).earlier == "resp_0"
    assert conversation({}).messages == []


def test_an_answer_and_its_echo_have_the_same_name() -> None:
    output = [REASONING, SAID, SEARCH, *CALLS]
    found = answer(response(*output), BLANK)
    assert found.message is not None
    (echo,) = messages_of(output)
    trimmed = [{k: v for k, v in item.items() if k not in ("status",)} for item in (SAID, SEARCH, *CALLS)]
    (bare,) = messages_of(
        [{k: v for k, v in item.items() if k != "id" or item["type"] == "web_search_call"} for item in trimmed]
    )
    (easy,) = messages_of([{"role": "assistant", "content": "Switching."}, SEARCH, *CALLS])
    assert chain([found.message]) == chain([echo]) == chain([bare]) == chain([easy])


def test_other_items_keep_their_own_form() -> None:
    approval = {"type": "mcp_approval_response", "approval_request_id": "m1", "approve": True}
    shell = {"type": "local_shell_call_output", "id": "ls_1", "output": "x"}
    custom = {"type": "custom_tool_call", "call_id": "c", "name": "sql", "input": "SELECT 1"}
    reference = {"type": "item_reference", "id": "msg_9"}
    one, two, three = messages_of([custom, reference, approval, shell])
    assert one["tool_calls"] == [{"id": "c", "type": "custom", "custom": {"name": "sql", "input": "SELECT 1"}}]
    assert one["content"] == [reference]
    assert (two["role"], two["content"]) == ("tool", [approval])
    assert three["content"] == [shell]


def test_annotations_and_refusals_are_kept_but_annotations_have_no_part_in_the_name() -> None:
    cited = {"type": "url_citation", "url": "u"}
    (with_notes,) = messages_of([{**SAID, "content": [{**TEXT, "annotations": [cited]}]}])
    assert with_notes["annotations"] == [cited]
    assert chain([with_notes]) == chain(messages_of([SAID]))
    (refused,) = messages_of([{**SAID, "content": [{"type": "refusal", "refusal": "No."}]}])
    assert refused == {"role": "assistant", "content": None, "refusal": "No."}


def test_what_an_answer_cost_and_how_it_ended() -> None:
    found = answer(response(SAID), BLANK)
    assert (found.prompt_tokens, found.completion_tokens, found.cached_tokens, found.reasoning_tokens) == (40, 9, 32, 5)
    assert (found.finish_reason, found.upstream_id, found.model, found.keep_raw) == ("stop", "resp_1", "gpt-x", False)
    assert answer(response(*CALLS), BLANK).finish_reason == "tool_calls"
    cut = answer(response(SAID, status="incomplete", incomplete_details={"reason": "max_output_tokens"}), BLANK)
    assert (cut.finish_reason, cut.whole) == ("length", True)
    error = {"code": "server_error", "message": "?"}
    failed = answer(response(status="failed", error=error), BLANK)
    assert (failed.error, failed.keep_raw, failed.message, failed.prompt_tokens) == ("server_error", True, None, 40)
    queued = answer(response(status="queued"), BLANK)
    assert (queued.error, queued.keep_raw, queued.message) == ("queued", True, None)


def events_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    start = {**body, "status": "in_progress", "output": [], "usage": None}
    done = [
        {"type": "response.output_item.done", "output_index": at, "item": item}
        for at, item in enumerate(body["output"])
    ]
    return [
        {"type": "response.created", "response": start},
        {"type": "response.output_text.delta", "delta": "Swi", "obfuscation": "xyz"},
        *done,
        {"type": "response.completed", "response": body},
    ]


def test_a_stream_ends_in_the_same_answer() -> None:
    body = response(REASONING, SAID, *CALLS)
    assert assemble(stream(*events_of(body))) == body
    record = msgspec.structs.replace(BLANK, stream=True, response=stream(*events_of(body)))
    assert answer_of_record(record, answer, assemble) == answer(body, BLANK)


def test_servers_that_send_the_items_only_once() -> None:
    body = response(SAID, *CALLS)
    *events, final = events_of(body)
    events.reverse()
    assert assemble(stream(*events, {**final, "response": {**body, "output": []}})) == body


def test_a_cut_stream_has_no_answer_and_an_error_event_is_found() -> None:
    events = events_of(response(SAID))
    for count in range(1, len(events)):
        record = msgspec.structs.replace(BLANK, stream=True, response=stream(*events[:count])[:-9])
        found = answer_of_record(record, answer, assemble)
        assert (found.whole, found.keep_raw, bool(found.error)) == (False, True, True)
    broken = stream(*events[:2], {"type": "error", "code": "rate_limit_exceeded", "message": "?", "param": None})
    found = answer_of_record(msgspec.structs.replace(BLANK, stream=True, response=broken), answer, assemble)
    assert (found.error, found.upstream_id) == ("rate_limit_exceeded", "resp_1")


def test_a_stream_without_a_response_is_refused() -> None:
    with pytest.raises(BadInput, match="Expected a stream of response events"):
        assemble(b": ping\n\n")


junk = st.recursive(
    st.none() | st.integers(-2, 2) | st.sampled_from(["message", "function_call", "reasoning", "x_output", "user"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "role", "content", "text", "output", "call_id", "name", "arguments", "annotations"]
            ),
            inner,
        )
    ),
    max_leaves=12,
)


@given(junk, junk)
def test_only_known_errors_come_out_of_odd_requests(given_input: Any, instructions: Any) -> None:
    try:
        said = conversation({"input": given_input, "instructions": instructions})
    except TypeError:
        return
    assert all(isinstance(message, dict) for message in said.messages)
    chain([*said.opening, *said.messages])


@given(st.lists(junk, max_size=4), st.booleans())
def test_no_answer_makes_it_fail(output: list[Any], streamed: bool) -> None:
    body = response(*output)
    raw = stream(*events_of(body)) if streamed else json.dumps(body).encode()
    found = answer_of_record(msgspec.structs.replace(BLANK, stream=streamed, response=raw), answer, assemble)
    assert found.whole or found.keep_raw
