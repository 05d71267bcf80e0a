"""What an assistant's message does: call tools, answer in text, refuse, or nothing that can be understood.

Two messages are compared, rendered and checked as actions, so that wire details (ids of tool calls, lists of text
parts, the old `function_call` field) matter in this file alone.
"""

from dataclasses import dataclass, replace
from typing import Any

from . import schema
from .canonical import loads
from .errors import BadInput

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a tool."""

    name: str
    arguments: dict[str, Any] | None
    """None when the text was no JSON object."""
    raw: str = ""
    """The arguments as they were written."""


@dataclass(frozen=True, slots=True)
class Action:
    """What one assistant message does."""

    kind: str
    """`tools`, `text`, `refusal`, or `invalid` (an empty message, or tool calls without a proper form)."""
    calls: tuple[ToolCall, ...] = ()
    text: str = ""


def action_of(message: Message) -> Action:
    """The action in an assistant's message of OpenAI's form. Never raises: what it cannot read is `invalid`."""
    text = text_of(message.get("content"))
    wire = message.get("tool_calls") or _legacy(message.get("function_call"))
    if wire:
        calls = tuple(map(_call, wire)) if isinstance(wire, list) else (None,)
        if any(call is None for call in calls):
            return Action("invalid", (), text)
        return Action("tools", tuple(call for call in calls if call is not None), text)
    if text.strip():
        return Action("text", (), text)
    refusal = message.get("refusal")
    if isinstance(refusal, str) and refusal.strip():
        return Action("refusal", (), refusal)
    return Action("invalid")


def validate_action(action: Action, tools: list[dict[str, Any]] | None) -> str:
    """Why this action cannot be carried out, or an empty string.

    Reasons: `empty`, `unknown_tool`, `bad_json`, `schema:<path>` with the path of the first argument that does not fit.
    """
    if action.kind == "invalid":
        return "empty"
    offered = parameters(tools)
    for call in action.calls:
        if call.name not in offered:
            return "unknown_tool"
        if call.arguments is None:
            return "bad_json"
        if path := schema.check(call.arguments, offered[call.name]):
            return f"schema:{path}"
    return ""


def fitted_action(action: Action, tools: list[dict[str, Any]] | None) -> Action:
    """The action with lone values where arrays are asked for put into arrays; see `schema.fitted`."""
    offered = parameters(tools)
    calls = tuple(
        call
        if call.arguments is None
        else replace(call, arguments=schema.fitted(call.arguments, offered.get(call.name)))
        for call in action.calls
    )
    return replace(action, calls=calls)


def parameters(tools: list[dict[str, Any]] | None) -> dict[str, Any]:
    """Parameter schema of each function tool by its name; {} where a tool takes any."""
    found = {}
    for tool in tools or ():
        function = tool.get("function") if isinstance(tool, dict) else None
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            found[function["name"]] = function.get("parameters") or {}
    return found


def text_of(content: Any) -> str:
    """The text of a message's content: a string, or the text parts of a list."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = (part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text")
    return "".join(text for text in texts if isinstance(text, str))


def _legacy(function_call: Any) -> list[dict[str, Any]] | None:
    return [{"function": function_call}] if isinstance(function_call, dict) else None


def _call(wire: Any) -> ToolCall | None:
    function = wire.get("function") if isinstance(wire, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(name, str):
        return None
    raw = function.get("arguments")
    if isinstance(raw, dict):
        return ToolCall(name, raw)
    # Teachers write nothing at all for a tool without parameters.
    text = raw if isinstance(raw, str) else ""
    return ToolCall(name, _object(text) if text.strip() else {}, text)


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = loads(text)
    except BadInput:
        return None
    return value if isinstance(value, dict) else None
