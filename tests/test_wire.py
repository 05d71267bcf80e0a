"""The wire: requests that pass, time limits, and the two forms of an answer."""

import json
from typing import Any

import pytest

from tutelage.serving.student import Answer
from tutelage.serving.wire import Refused, checked, refusal, response, time_limit
from tutelage.traffic.sse import assemble_chat

BODY: dict[str, Any] = {"model": "s@1", "messages": [{"role": "user", "content": "hi"}]}
CALLS = [
    {"id": f"call_{n}", "type": "function", "function": {"name": "ping", "arguments": json.dumps({"to": "x" * 90})}}
    for n in range(2)
]
USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
ANSWER = Answer({"role": "assistant", "content": "Well.", "tool_calls": CALLS}, USAGE, -0.125, -0.5, "tool_calls")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"n": 1, "stop": None, "tools": None},
        {"stop": ["a"], "max_tokens": 3, "logprobs": False, "stream": True},
        {"tools": [{"function": {"name": "a"}}, {"type": "function", "function": {"name": "b"}}]},
    ],
)
def test_what_may_be_asked(fields: dict[str, Any]) -> None:
    assert checked(json.dumps({**BODY, **fields}).encode()) == {**BODY, **fields}


def test_a_refusal_says_what_came() -> None:
    with pytest.raises(Refused, match="must be 1, not 3"):
        checked(json.dumps({**BODY, "n": 3}).encode())
    with pytest.raises(Refused, match="does not know `logprobs`"):
        checked(json.dumps({**BODY, "logprobs": True}).encode())
    with pytest.raises(Refused, match="`max_tokens` of at least 1, not -4"):
        checked(json.dumps({**BODY, "max_tokens": -4}).encode())


def test_a_refusal_is_its_own_and_surprises_tell_nothing_of_the_inside() -> None:
    known = Refused(418, "teapot", "no")
    assert refusal(known) is known
    assert "secret" not in str(refusal(ZeroDivisionError("secret")))


@pytest.mark.parametrize(
    ("header", "seconds"), [(None, 60), ("250", 0.25), ("0", 0), ("-5", 0), ("1e9", 60), ("soon", 60), ("nan", 60)]
)
def test_the_time_limit(header: str | None, seconds: float) -> None:
    assert time_limit(header, 60.0) == seconds


def events(body: bytes) -> list[dict[str, Any]]:
    parts = body.split(b"\n\n")
    assert parts[-2:] == [b"data: [DONE]", b""]
    return [json.loads(part.removeprefix(b"data: ")) for part in parts[:-2]]


def test_a_stream_sends_calls_as_openai_does() -> None:
    """First id, type and name with empty arguments, then pieces of them under the same index; usage last, once."""
    body = {**BODY, "stream": True, "stream_options": {"include_usage": True}}
    sent = events(bytes(response(body, ANSWER).body))
    deltas = [event["choices"][0]["delta"] for event in sent if event["choices"]]
    assert deltas[0] == {"role": "assistant", "content": ""}
    calls = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    opening = [call for call in calls if "id" in call]
    assert [(call["index"], call["id"], call["type"]) for call in opening] == [
        (0, "call_0", "function"),
        (1, "call_1", "function"),
    ]
    assert all(call["function"] == {"name": "ping", "arguments": ""} for call in opening)
    for index in (0, 1):
        text = "".join(call["function"]["arguments"] for call in calls if call["index"] == index)
        assert text == CALLS[index]["function"]["arguments"]
    assert [call["index"] for call in calls] == sorted(call["index"] for call in calls)
    assert len({event["id"] for event in sent}) == 1
    assert {event["object"] for event in sent} == {"chat.completion.chunk"}
    assert [event["choices"][0]["finish_reason"] for event in sent if event["choices"]][-2:] == [None, "tool_calls"]
    assert sent[-1]["choices"] == []
    assert sent[-1]["usage"] == USAGE
    assert all(event["usage"] is None for event in sent[:-1])


def test_usage_is_streamed_only_where_it_is_asked_for() -> None:
    sent = events(bytes(response({**BODY, "stream": True}, ANSWER).body))
    assert not any("usage" in event for event in sent)


def test_both_forms_say_the_same() -> None:
    whole = json.loads(bytes(response(BODY, ANSWER).body))
    streamed = assemble_chat(bytes(response({**BODY, "stream": True}, ANSWER).body))
    assert whole["choices"] == streamed["choices"]
    assert whole["usage"] == USAGE
