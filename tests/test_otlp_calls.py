"""Spans of model calls as records: names, tools, parameters, counts, failures; and which spans are none."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.proxy.intake_form import record_of
from tutelage.proxy.otlp_calls import around, failure_of, is_call, logged_of
from tutelage.proxy.otlp_wire import Event, Span
from tutelage.traffic.errors import BadInput
from tutelage.traffic.records import CallRecord

Json = dict[str, Any]
ASKED = json.dumps([{"role": "user", "parts": [{"type": "text", "content": "Weather?"}]}])
SAID = json.dumps([{"role": "assistant", "parts": [{"type": "text", "content": "It rains."}]}])
CALLED = json.dumps([{"role": "assistant", "parts": [{"type": "tool_call", "id": "c", "name": "f", "arguments": {}}]}])
SCHEMA = {"type": "object", "properties": {}}
TOOL = {"type": "function", "function": {"name": "f", "description": "Does.", "parameters": SCHEMA}}
CHAT = {"gen_ai.operation.name": "chat", "gen_ai.input.messages": ASKED, "gen_ai.output.messages": SAID}


def span(attributes: Json | None = None, span_id: str = "s", parent: str = "", **fields: Any) -> Span:
    known: Json = {"start": 1_800_000_000.5, "end": 1_800_000_001.5, "events": [], **fields}
    return Span(trace_id="t", span_id=span_id, parent_id=parent, attributes={**CHAT, **(attributes or {})}, **known)


def record(one: Span, outer: tuple[Span, ...] = ()) -> CallRecord:
    return record_of(logged_of(one, outer), "someone", "otlp")


def request(one: Span) -> Json:
    return json.loads(record(one).request)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, True),
        ({"gen_ai.operation.name": "execute_tool"}, False),
        ({"gen_ai.operation.name": "invoke_agent"}, False),
        ({"gen_ai.operation.name": "embeddings"}, False),
        ({"openinference.span.kind": "LLM", "gen_ai.operation.name": "x"}, True),
        ({"openinference.span.kind": "CHAIN"}, False),
        ({"gen_ai.operation.name": "", "llm.request.type": "chat"}, True),
    ],
)
def test_which_spans_are_calls(attributes: Json, expected: bool) -> None:
    assert is_call(span(attributes)) is expected


def test_times_counts_and_ids() -> None:
    counts = {"gen_ai.usage.input_tokens": 9, "gen_ai.usage.output_tokens": 4, "gen_ai.response.id": "chatcmpl-1"}
    counts |= {"gen_ai.usage.details.cache_read_tokens": 3, "gen_ai.usage.details.reasoning_tokens": 2}
    events = [Event("First Token Stream Event", 1_800_000_000.75, {})]
    found = record(span({**counts, "gen_ai.response.model": "m-1"}, events=events))
    answer = json.loads(found.response)
    assert (found.started_at, found.latency_ms, found.first_byte_ms, found.stream) == (
        1_800_000_000.5,
        1000.0,
        250.0,
        True,
    )
    assert (answer["id"], answer["model"], found.status) == ("chatcmpl-1", "m-1", 200)
    assert answer["usage"] == {
        "prompt_tokens": 9,
        "completion_tokens": 4,
        "total_tokens": 13,
        "prompt_tokens_details": {"cached_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }


def test_parameters() -> None:
    known = {"temperature": 0.5, "max_tokens": 10, "stop_sequences": ["x"], "choice.count": 2, "model": "m"}
    asked = request(span({f"gen_ai.request.{name}": value for name, value in known.items()}))
    assert {name: asked[name] for name in ("model", "temperature", "max_tokens", "stop", "n")} == {
        "model": "m",
        "temperature": 0.5,
        "max_tokens": 10,
        "stop": ["x"],
        "n": 2,
    }
    said = json.dumps({"temperature": 0, "api_key": "sk-secret", "tool_choice": "auto"})
    asked = request(span({"llm.invocation_parameters": said}))
    assert (asked["temperature"], "api_key" in asked, "tool_choice" in asked) == (0, False, False)


@pytest.mark.parametrize(
    "attributes",
    [
        {"gen_ai.tool.definitions": json.dumps([TOOL])},
        {"gen_ai.tool.definitions": [{"type": "function", **TOOL["function"]}]},  # type: ignore[dict-item]
        {"llm.tools.0.tool.json_schema": json.dumps(TOOL)},
        {"llm.tools.0.tool.json_schema": json.dumps({"name": "f", "description": "Does.", "input_schema": SCHEMA})},
        {
            "llm.request.functions.0.name": "f",
            "llm.request.functions.0.description": "Does.",
            "llm.request.functions.0.parameters": json.dumps(SCHEMA),
        },
        {
            "model_request_parameters": json.dumps(
                {"function_tools": [{"name": "f", "description": "Does.", "parameters_json_schema": SCHEMA}]}
            )
        },
    ],
)
def test_tools_of_each_convention(attributes: Json) -> None:
    assert request(span({**attributes, "gen_ai.output.messages": CALLED}))["tools"] == [TOOL]


def test_what_pydantic_ai_says_of_the_answer_s_form() -> None:
    tool = {"name": "final", "parameters_json_schema": SCHEMA}
    asked = {"output_tools": [tool], "allow_text_output": False, "output_mode": "tool"}
    assert request(span({"model_request_parameters": json.dumps(asked)}))["tool_choice"] == "required"
    native = {"output_mode": "native", "output_object": {"json_schema": SCHEMA, "name": "Place", "strict": True}}
    found = request(span({"model_request_parameters": json.dumps(native)}))["response_format"]
    assert found == {"type": "json_schema", "json_schema": {"name": "Place", "schema": SCHEMA, "strict": True}}


def test_the_request_itself_wins_where_it_was_kept() -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "exactly this"}]}]
    body = {"model": "m", "messages": messages, "tools": [TOOL], "tool_choice": "required", "api_key": "sk-secret"}
    message = {"role": "assistant", "content": "so it was"}
    output = {"id": "chatcmpl-7", "choices": [{"message": message, "finish_reason": "length"}]}
    known = {"input.value": json.dumps(body), "output.value": json.dumps(output), "openinference.span.kind": "LLM"}
    found = record(span(known, dropped=5))
    asked = json.loads(found.request)
    assert asked == {"model": "m", "tools": [TOOL], "tool_choice": "required", "messages": messages}
    answer = json.loads(found.response)
    assert (answer["id"], answer["choices"][0]["finish_reason"]) == ("chatcmpl-7", "length")
    assert answer["choices"][0]["message"] == message


def test_names() -> None:
    run = {"gen_ai.agent.call.id": "run 1", "gen_ai.agent.name": "desk", "gen_ai.conversation.id": "thread"}
    outer = span({**run, "gen_ai.agent.call.id": "run 0"})
    found = record(span(run), (span(run), outer))
    assert (found.trajectory, found.parent, found.hint) == ("run 1", "run 0", "desk")
    ours = {"tutelage_trajectory": "mine", "tutelage_parent": "p", "tutelage_pattern": "w", "session.id": "s"}
    for known in ({**run, **ours}, {**run, "metadata": json.dumps(ours)}):
        found = record(span(known), (outer,))
        assert (found.trajectory, found.parent, found.hint) == ("mine", "p", "w")
    assert record(span(), (outer,)).parent == ""
    assert record(span({"session.id": "a"})).session != record(span({"session.id": "b"})).session


def test_a_call_without_an_answer_keeps_its_reason() -> None:
    failed = {"gen_ai.output.messages": "[]", "error.type": "RateLimitError", "http.response.status_code": 429}
    found = record(span(failed, failed=True))
    assert (found.status, found.error, found.response) == (429, "RateLimitError", b"")
    found = record(span({"gen_ai.output.messages": "[]"}, failed=True, problem="gone"))
    assert (found.status, found.error) == (502, "gone")


@pytest.mark.parametrize(
    ("attributes", "fields", "words"),
    [
        ({"gen_ai.output.messages": CALLED}, {}, "does not define"),
        ({"gen_ai.tool.definitions": '[{"na'}, {}, "cut off"),
        ({"gen_ai.tool.definitions": [{"type": "web_search"}]}, {}, "no function"),
        ({"gen_ai.input.messages": "[", "gen_ai.output.messages": None}, {}, "cut off"),
        ({}, {"start": 0.0}, "Unix seconds"),
    ],
)
def test_what_is_no_record(attributes: Json, fields: Json, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        record(span(attributes, **fields))


def test_spans_without_messages_say_what_to_do() -> None:
    bare: Json = {"trace_id": "t", "span_id": "s", "attributes": {"gen_ai.operation.name": "chat"}, "events": []}
    with pytest.raises(BadInput, match="include_content=True"):
        logged_of(Span(**bare), ())
    with pytest.raises(BadInput, match=r"it failed.*gone"):
        logged_of(Span(**bare, failed=True, problem="gone"), ())


def test_a_failed_run_of_an_agent() -> None:
    run = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.call.id": "run 1"}
    assert failure_of(span(run, failed=True, problem="ValueError: no")) == "ValueError: no"
    assert failure_of(span(run, failed=True)) != ""
    assert failure_of(span(run)) == failure_of(span(failed=True)) == ""


def test_the_spans_around_one_end_where_they_are_unknown_or_turn_in_a_circle() -> None:
    inner, middle, outer = span(span_id="a", parent="b"), span(span_id="b", parent="c"), span(span_id="c", parent="a")
    assert [one.span_id for one in around(inner, {"b": middle})] == ["b"]
    assert [one.span_id for one in around(inner, {"a": inner, "b": middle, "c": outer})] == ["b", "c"]


KEYS = (
    "name",
    "type",
    "tools",
    "function_tools",
    "output_object",
    "messages",
    "role",
    "choices",
    "message",
    "function",
)
value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner),
    max_leaves=6,
)
names = (
    *("gen_ai.tool.definitions", "model_request_parameters", "llm.invocation_parameters", "input.value", "metadata"),
    *(
        "output.value",
        "llm.tools.0.tool.json_schema",
        "gen_ai.agent.call.id",
        "gen_ai.usage.input_tokens",
        "session.id",
    ),
    *(
        "gen_ai.request.temperature",
        "gen_ai.request.model",
        "error.type",
        "gen_ai.output.messages",
        "gen_ai.agent.name",
    ),
)


@given(st.dictionaries(st.sampled_from(names), value | value.map(lambda one: json.dumps(one)), max_size=6))
def test_odd_attributes_give_a_record_or_a_reason(attributes: Json) -> None:
    with contextlib.suppress(BadInput):
        assert isinstance(record(span(attributes)), CallRecord)
