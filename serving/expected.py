"""What an answer to one request may be: which tools it may call and how often, and what its text must be.

Both sides of the writing read this: the grammar is made from it, and the finished answer is held to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..traffic.errors import BadInput
from .render import Message

CALLS_LIMIT = 8
"""Tool calls in one answer."""


@dataclass(frozen=True)
class Expected:
    """The answers that a request allows."""

    tools: tuple[Message, ...] = ()
    """Function tools that may be called."""
    must_call: bool = False
    most_calls: int = CALLS_LIMIT
    content: Any = None
    """JSON schema of the text; None where it is free."""

    def breach(self, message: Message) -> str:
        """How an assistant message, whose calls are valid by themselves, is none of these; empty when it is."""
        calls = message.get("tool_calls") or []
        names = {tool["function"]["name"] for tool in self.tools}
        if self.must_call and not calls:
            return "no_call"
        if len(calls) > self.most_calls:
            return "too_many_calls"
        return "" if all(call["function"]["name"] in names for call in calls) else "tool_not_allowed"


def expected(
    tools: Sequence[Any], tool_choice: Any = None, parallel: bool = True, response_format: Any = None
) -> Expected:
    """Reads these fields of a request. Raises BadInput for what OpenAI's API does not have either."""
    functions = [tool for tool in tools if isinstance(tool, dict) and isinstance(tool.get("function"), dict)]
    known = [tool["function"].get("name") for tool in functions]
    if not all(isinstance(name, str) and name for name in known):
        raise BadInput("Expected a `name` in each function of `tools`.")
    kind, names = _choice(tool_choice)
    if missing := [name for name in names or () if name not in known]:
        offered = ", ".join(known)[:500] or "none"
        raise BadInput(f"`tool_choice` names {str(missing[0])[:200]!r}; the tools offered are: {offered}.")
    if kind == "required" and not functions:
        raise BadInput("`tool_choice` asks for a call, but `tools` offers none.")
    if kind == "none":
        functions = []
    allowed = [tool for tool in functions if names is None or tool["function"].get("name") in names]
    return Expected(tuple(allowed), kind == "required", CALLS_LIMIT if parallel else 1, _content(response_format))


def _choice(choice: Any) -> tuple[str, list[Any] | None]:
    """`auto`, `required` or `none`, and the names of the tools that it is about; None: all."""
    if choice is None or choice in ("auto", "none", "required"):
        return choice or "auto", None
    if isinstance(choice, dict):
        kind, inner = choice.get("type"), choice.get(str(choice.get("type")))
        if kind == "function" and isinstance(inner, dict) and isinstance(inner.get("name"), str):
            return "required", [inner["name"]]
        if kind == "allowed_tools" and isinstance(inner, dict) and inner.get("mode") in ("auto", "required"):
            functions = [tool.get("function") for tool in inner.get("tools") or () if isinstance(tool, dict)]
            return inner["mode"], [function.get("name") for function in functions if isinstance(function, dict)]
    came = str(choice)[:200]
    raise BadInput(f"Expected `tool_choice` auto, none, required, a function or allowed_tools; it is {came}.")


def _content(response_format: Any) -> Any:
    """The schema of the text that is asked for."""
    kind = response_format.get("type") if isinstance(response_format, dict) else response_format
    if kind in (None, "text"):
        return None
    if kind == "json_object":
        return {"type": "object"}
    wanted = response_format.get("json_schema") if isinstance(response_format, dict) else None
    if kind != "json_schema" or not isinstance(wanted, dict):
        raise BadInput(f"Expected `response_format` text, json_object or json_schema with a schema, not {kind!r}.")
    return wanted.get("schema", {"type": "object"})
