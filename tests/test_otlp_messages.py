"""The same conversation as each convention writes it down; and what has no equivalent in OpenAI's form."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.proxy.otlp_messages import Conversation, conversation_of, listed
from tutelage.proxy.otlp_wire import Event, Span
from tutelage.traffic.errors import BadInput

Json = dict[str, Any]
CALL: Json = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"town": "Oslo"}'}}
MESSAGES: list[Json] = [
    {"role": "system", "content": "A desk."},
    {"role": "user", "content": "Weather?"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "content": "rain", "tool_call_id": "c1"},
]
WANTED = Conversation(MESSAGES, {"role": "assistant", "content": "It rains."}, "stop")


def span(attributes: Json, events: list[Event] | None = None, dropped: int = 0) -> Span:
    return Span(trace_id="t", span_id="s", attributes=attributes, events=events or [], dropped=dropped)


def part(kind: str, **fields: Any) -> Json:
    return {"type": kind, **fields}


PARTS = [
    {"role": "system", "parts": [part("text", content="A desk.")]},
    {"role": "user", "parts": [part("text", content="Weather?")]},
    {
        "role": "assistant",
        "parts": [
            part("thinking", content="hm"),
            part("tool_call", id="c1", name="weather", arguments={"town": "Oslo"}),
        ],
    },
    {"role": "tool", "parts": [part("tool_call_response", id="c1", response="rain")]},
]
ANSWER = [{"role": "assistant", "parts": [part("text", content="It rains.")], "finish_reason": "stop"}]
INPUT, OUTPUT = "gen_ai.input.messages", "gen_ai.output.messages"


def as_texts() -> Span:
    return span({INPUT: json.dumps(PARTS), OUTPUT: json.dumps(ANSWER)})


def as_values_of_an_event() -> Span:
    return span({}, [Event("gen_ai.client.inference.operation.details", 1.0, {INPUT: PARTS, OUTPUT: ANSWER})])


def with_instructions_apart() -> Span:
    apart = json.dumps(PARTS[0]["parts"])
    return span({INPUT: PARTS[1:], OUTPUT: ANSWER, "gen_ai.system_instructions": apart})


def as_span_events() -> Span:
    told: list[tuple[str, Json]] = [
        ("gen_ai.system.message", {"content": "A desk."}),
        ("gen_ai.user.message", {"content": "Weather?"}),
        ("gen_ai.assistant.message", {"tool_calls": json.dumps([CALL])}),
        ("gen_ai.tool.message", {"content": "rain", "id": "c1"}),
        ("exception", {"exception.message": "x"}),
        ("gen_ai.choice", {"index": 0, "finish_reason": "stop", "message": '{"content": "It rains."}'}),
    ]
    return span({}, [Event(name, 1.0, said) for name, said in told])


def as_an_attribute_of_events() -> Span:
    told = [
        {"event.name": "gen_ai.system.message", "content": "A desk.", "role": "system"},
        {"event.name": "gen_ai.user.message", "content": "Weather?", "role": "user"},
        {"event.name": "gen_ai.assistant.message", "role": "assistant", "tool_calls": [CALL]},
        {"event.name": "gen_ai.tool.message", "role": "tool", "content": "rain", "id": "c1", "name": "weather"},
        {"event.name": "gen_ai.choice", "index": 0, "message": {"role": "assistant", "content": "It rains."}},
    ]
    return span({"events": json.dumps(told)})


def as_openllmetry() -> Span:
    known = {f"gen_ai.prompt.{at}.role": said["role"] for at, said in enumerate(MESSAGES)}
    known |= {f"gen_ai.prompt.{at}.content": said["content"] for at, said in enumerate(MESSAGES) if said["content"]}
    known["gen_ai.prompt.2.tool_calls.0.id"] = "c1"
    known["gen_ai.prompt.2.tool_calls.0.name"] = "weather"
    known["gen_ai.prompt.2.tool_calls.0.arguments"] = '{"town": "Oslo"}'
    known["gen_ai.prompt.3.tool_call_id"] = "c1"
    answer = {"role": "assistant", "content": "It rains.", "finish_reason": "stop"}
    return span(known | {f"gen_ai.completion.0.{name}": value for name, value in answer.items()})


def as_openinference() -> Span:
    known = {f"llm.input_messages.{at}.message.role": said["role"] for at, said in enumerate(MESSAGES)}
    known |= {f"llm.input_messages.{at}.message.content": MESSAGES[at]["content"] for at in (0, 3)}
    known["llm.input_messages.1.message.content"] = "Weather?"
    call = "llm.input_messages.2.message.tool_calls.0.tool_call"
    known |= {f"{call}.id": "c1", f"{call}.function.name": "weather"}
    known |= {f"{call}.function.arguments": '{"town": "Oslo"}', "llm.input_messages.3.message.tool_call_id": "c1"}
    known |= {"llm.output_messages.0.message.role": "assistant", "llm.output_messages.0.message.content": "It rains."}
    return span(known)


FORMS = [
    as_texts,
    as_values_of_an_event,
    with_instructions_apart,
    as_span_events,
    as_an_attribute_of_events,
    as_openllmetry,
    as_openinference,
]


@pytest.mark.parametrize("form", FORMS)
def test_each_convention_says_the_same(form: Any) -> None:
    assert conversation_of(form()) == WANTED


def test_an_answer_that_calls_tools_ends_with_them() -> None:
    output = [{"role": "assistant", "parts": PARTS[2]["parts"], "finish_reason": "tool_call"}]
    for known in ({OUTPUT: output}, {OUTPUT: [{**output[0], "finish_reason": None}]}):
        found = conversation_of(span({INPUT: PARTS[:2]} | known))
        assert found is not None
        assert (found.answer, found.finish_reason) == (MESSAGES[2], "tool_calls")


def test_several_parts_and_images_stay_apart() -> None:
    parts = [
        part("text", content="What is"),
        part("text", content="this?"),
        part("uri", modality="image", uri="http://x/y.png"),
    ]
    found = conversation_of(span({INPUT: [{"role": "user", "parts": parts}]}))
    image = {"type": "image_url", "image_url": {"url": "http://x/y.png"}}
    assert found is not None
    assert found.messages[0]["content"] == [part("text", text="What is"), part("text", text="this?"), image]
    known = {"llm.input_messages.0.message.role": "user"}
    content = "llm.input_messages.0.message.contents"
    known |= {f"{content}.0.message_content.type": "text", f"{content}.0.message_content.text": "What is"}
    known |= {f"{content}.1.message_content.type": "image"}
    known |= {f"{content}.1.message_content.image.image.url": "http://x/y.png"}
    found = conversation_of(span(known))
    assert found is not None
    assert found.messages[0]["content"] == [part("text", text="What is"), image]


def test_results_of_tools_that_are_no_text_are_json() -> None:
    results = [part("tool_call_response", id="a", result={"x": 1}), part("text", content="go on")]
    found = conversation_of(span({INPUT: [{"role": "user", "parts": results}]}))
    assert found is not None
    assert found.messages == [
        {"role": "tool", "content": '{"x": 1}', "tool_call_id": "a"},
        {"role": "user", "content": "go on"},
    ]


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (span({INPUT: '[{"role": "user", "par'}), "VALUE_LENGTH_LIMIT"),
        (span({INPUT: [{"role": "user", "parts": [part("blob", data="x")]}]}), "blob"),
        (span({INPUT: [{"role": "user", "parts": [part("text")]}]}), "without content"),
        (span(as_openllmetry().attributes, dropped=3), "ATTRIBUTE_COUNT_LIMIT"),
        (span({}, [Event("gen_ai.user.message", 1.0, {})]), "capture"),
        (span({f"llm.input_messages.0.message.contents.0.message_content.{n}": "audio" for n in ("type",)}), "audio"),
    ],
)
def test_what_was_cut_or_cannot_be_said_is_refused(one: Span, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        conversation_of(one)


def test_a_span_without_messages_has_no_conversation() -> None:
    assert conversation_of(span({"gen_ai.operation.name": "chat"}, [Event("exception", 1.0, {})])) is None


def test_lists_are_in_the_order_of_their_numbers() -> None:
    known = {f"a.{at}.x": at for at in (10, 2, 0)} | {"a.n.x": 9, "ab.0": 7, "a.1": 5}
    assert listed(known, "a") == [{"x": 0}, 5, {"x": 2}, {"x": 10}]


value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "parts", "role"]), inner),
    max_leaves=8,
)
names = sorted({name for form in FORMS for name in form().attributes} | {INPUT, OUTPUT, "a.0", "gen_ai.prompt.0"})


@given(st.dictionaries(st.sampled_from(names), value, max_size=6), st.booleans())
def test_odd_attributes_are_read_or_refused(attributes: Json, as_event: bool) -> None:
    events = [Event("gen_ai.choice", 1.0, attributes), Event("gen_ai.user.message", 1.0, attributes)]
    try:
        found = conversation_of(span(attributes, events if as_event else []))
    except BadInput:
        return
    assert found is None or all(isinstance(one["role"], str) for one in found.messages)
