"""Messages and tool sets by name: as the canonical form says, each handed out once."""

import json

import pytest

from tutelage.traffic.canonical import chain, message_id, toolset_id
from tutelage.traffic.errors import BadInput
from tutelage.traffic.messages import Messages, named

USER = {"role": "user", "content": "on"}
ACT = {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]}
RESULT = {"role": "tool", "tool_call_id": "c", "content": "Error: no such room"}
RAWS = [json.dumps(message).encode() for message in (USER, ACT, RESULT)]


def test_a_chain_has_the_canonical_names_and_says_what_is_asked_for() -> None:
    messages = Messages()
    found = messages.chain(RAWS)
    assert [one.message_id for one in found] == chain([USER, ACT, RESULT])
    assert [(one.role, one.acts, one.reports_error, bool(one.content_id)) for one in found] == [
        ("user", False, False, False),
        ("assistant", True, False, True),
        ("tool", False, True, False),
    ]
    assert messages.chain(RAWS[1:], found[0].message_id, 1) == found[1:]
    assert messages.chain_of([USER, ACT, RESULT]) == found
    stored, toolsets = messages.drain()
    assert ([(one.depth, one.body) for one in stored], toolsets) == (list(enumerate(RAWS)), [])
    messages.chain(RAWS)
    assert messages.drain() == ([], [])


def test_a_name_that_is_known_already_says_the_same() -> None:
    found = Messages().chain(RAWS)[1]
    assert named(found.message_id, ACT) == found


def test_another_spelling_has_the_same_name_and_the_first_one_is_stored() -> None:
    messages = Messages()
    [one] = messages.chain([b'{"role": "user", "content": "on"}'])
    [other] = messages.chain([b'{"content":"on","role":"user"}'])
    assert one == other
    assert [stored.body for stored in messages.drain()[0]] == [b'{"role": "user", "content": "on"}']
    assert one.message_id == message_id("0" * 32, USER)


@pytest.mark.parametrize(("raw", "error"), [(b"5", TypeError), (b"{oops", BadInput), (b'{"a": "\xff"}', ValueError)])
def test_what_is_no_message_is_refused(raw: bytes, error: type[Exception]) -> None:
    with pytest.raises((error, BadInput)):
        Messages().chain([raw])


def test_tools() -> None:
    messages = Messages()
    tools = [{"type": "function", "function": {"name": "f"}}, {"type": "function", "name": "g"}, {"type": "web"}]
    found = messages.toolset(json.dumps(tools).encode())
    assert found is not None
    assert (found.toolset_id, found.names, found.tools) == (toolset_id(tools), ["f", "g", ""], tools)
    assert messages.toolset(json.dumps(tools).encode()) is found
    assert messages.drain()[1] == [found]
    assert messages.toolset(b"[1]") is messages.toolset(b"[]") is messages.toolset(b"{}") is None
