"""Messages of a conversation for people."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..traffic.actions import text_of
from ..traffic.answers import dump

LONGEST_TEXT = 6_000
"""Characters of a message that are shown; the admin API gives the whole."""


@dataclass(frozen=True)
class MessageView:
    """One message of a conversation."""

    role: str
    text: str
    calls: tuple[str, ...]
    """Tool calls, as they would be written in code."""
    cut: bool


def message_view(message: Mapping[str, Any]) -> MessageView:
    """A message of OpenAI's form for people."""
    text = text_of(message.get("content"))
    content = message.get("content")
    if not text and content:
        text = dump(content)
    calls = message.get("tool_calls")
    written = [_call(one) for one in calls if isinstance(one, dict)] if isinstance(calls, list) else []
    return MessageView(str(message.get("role", "")), text[:LONGEST_TEXT], tuple(written), len(text) > LONGEST_TEXT)


def _call(call: Mapping[str, Any]) -> str:
    function = call.get("function")
    if not isinstance(function, dict):
        return dump(dict(call))
    arguments = function.get("arguments")
    return f"{function.get('name')}({arguments if isinstance(arguments, str) else dump(arguments)})"
