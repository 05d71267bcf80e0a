"""What a request asks for, and whether a message is that."""

from typing import Any

import pytest

from tutelage.serving.asking import (
    asked_tokens,
    check_message,
    grammar_for_request,
    read_text,
    stops,
    usage_of,
    wanted_of,
)
from tutelage.serving.render import InvalidOutput
from tutelage.serving.schemas import LIMITS, Uncompilable
from tutelage.traffic.errors import BadInput

ROOM = {"type": "object", "properties": {"room": {"enum": ["hall"]}}, "required": ["room"]}
TOOLS: list[dict[str, Any]] = [{"type": "function", "function": {"name": "light", "parameters": ROOM}}]
NAMED = {"type": "json_schema", "json_schema": {"name": "room", "schema": ROOM}}


def said(content: str | None = None, *arguments: str, name: str = "light") -> dict[str, Any]:
    calls = [{"id": "c", "type": "function", "function": {"name": name, "arguments": one}} for one in arguments]
    return {"role": "assistant", "content": content, **({"tool_calls": calls} if calls else {})}


@pytest.mark.parametrize(
    ("request_", "message", "reason"),
    [
        ({"tools": TOOLS}, said(None, '{"room":"hall"}'), ""),
        ({"tools": TOOLS}, said("Good evening."), ""),
        ({"tools": TOOLS}, said(None, '{"room":"attic"}'), "schema:$.room"),
        ({"tools": TOOLS}, said(None, "{room}"), "bad_json"),
        ({"tools": TOOLS}, said(None, "{}", name="door"), "unknown_tool"),
        ({"tools": TOOLS, "tool_choice": "required"}, said("No."), "no_call"),
        ({"tools": TOOLS, "tool_choice": "none"}, said(None, '{"room":"hall"}'), "tool_not_allowed"),
        ({"tools": TOOLS, "parallel_tool_calls": False}, said(None, *['{"room":"hall"}'] * 2), "too_many_calls"),
        ({"response_format": NAMED}, said('{"room":"hall"}'), ""),
        ({"response_format": NAMED}, said('{"room":"attic"}'), "schema:$.room"),
        ({"response_format": NAMED}, said("the hall"), "bad_json"),
        ({"tools": TOOLS, "response_format": NAMED}, said(None, '{"room":"hall"}'), ""),
        ({}, said(None), "empty"),
    ],
)
def test_messages_are_held_to_what_is_wanted(request_: dict[str, Any], message: dict[str, Any], reason: str) -> None:
    found = ""
    try:
        check_message(message, request_.get("tools") or [], wanted_of(request_))
    except InvalidOutput as error:
        found = error.reason
    assert found == reason


def test_a_text_is_read_as_the_message_that_it_says() -> None:
    text = '<tool_call>{"name":"light","arguments":{"room":"hall"}}</tool_call>'
    request = {"tools": TOOLS}
    assert read_text(text, TOOLS, wanted_of(request))["tool_calls"][0]["function"]["name"] == "light"
    with pytest.raises(InvalidOutput, match="unclosed") as caught:
        read_text(text[:-5], TOOLS, wanted_of(request))
    assert caught.value.text == text[:-5]


def test_free_text_needs_no_grammar_and_a_schema_is_refused_before_anything_is_written() -> None:
    assert grammar_for_request({}, [], LIMITS) is None
    assert "hall" in (grammar_for_request({"tools": TOOLS}, TOOLS, LIMITS) or "")
    broken = [{"type": "function", "function": {"name": "light", "parameters": {"type": "lamp"}}}]
    with pytest.raises(Uncompilable, match="light: it is no JSON schema"):
        wanted_of({"tools": broken})
    with pytest.raises(BadInput, match="lone surrogates"):
        wanted_of({"tools": [{"type": "function", "function": {"name": "\ud800"}}]})


def test_limits_of_a_request() -> None:
    assert [asked_tokens({"max_tokens": n}, 100) for n in (5, 500, None)] == [5, 100, 100]
    assert asked_tokens({"max_completion_tokens": 7, "max_tokens": 9}, 100) == 7
    assert (stops("x"), stops(["a", ""]), stops(None)) == (["x"], ["a"], [])
    assert usage_of(3, 4, 2)["total_tokens"] == 7
