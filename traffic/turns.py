"""One assistant turn in OpenAI's chat form, put together from the pieces that other protocols cut it into.

Text and tool calls become what they are in a chat message. Everything that a chat message has no word for stays in
its own form as a part of the content. Reasoning, which agents may send back or not, stays in its own form under
`reasoning_details`, each piece with its place (`index`) among the pieces of the turn: kept, but no part of the
message's name (see docs/canonical-form.md).
"""

from typing import Any

from .answers import dump

Message = dict[str, Any]


class Turn:
    """An assistant message in the making."""

    def __init__(self) -> None:
        self._parts: list[Any] = []
        self._calls: list[Message] = []
        self._reasoning: list[Message] = []
        self._more: Message = {}
        self._pieces = 0

    def __bool__(self) -> bool:
        return self._pieces > 0

    def add_part(self, part: Any) -> None:
        """Text as `{"type": "text", "text": …}`, or a part in its own form."""
        self._parts.append(part)
        self._pieces += 1

    def add_call(self, name: Any, call_id: Any, arguments: Any) -> None:
        """A call of a function; arguments that are no text are written as JSON."""
        text = arguments if isinstance(arguments, str) else dump(arguments)
        self._calls.append({"id": call_id, "type": "function", "function": {"name": name, "arguments": text}})
        self._pieces += 1

    def add_custom_call(self, name: Any, call_id: Any, given: Any) -> None:
        """A call of a tool that takes free text."""
        self._calls.append({"id": call_id, "type": "custom", "custom": {"name": name, "input": given}})
        self._pieces += 1

    def add_reasoning(self, piece: Message) -> None:
        self._reasoning.append({**piece, "index": self._pieces})
        self._pieces += 1

    def set(self, key: str, value: Any) -> None:
        """A member of the message itself; lists grow."""
        old = self._more.get(key)
        self._more[key] = [*old, *value] if isinstance(old, list) and isinstance(value, list) else value
        self._pieces += 1

    def message(self) -> Message:
        """The message. Content is null where the turn has none."""
        message: Message = {"role": "assistant", "content": content_of(self._parts) if self._parts else None}
        if self._calls:
            message["tool_calls"] = self._calls
        if self._reasoning:
            message["reasoning_details"] = self._reasoning
        return message | self._more


def content_of(parts: list[Any]) -> Any:
    """The parts, or the text itself where they are one plain text."""
    if len(parts) == 1 and isinstance(parts[0], dict) and parts[0].get("type") == "text":
        plain = {key for key, value in parts[0].items() if value is not None}
        if plain == {"type", "text"} and isinstance(parts[0]["text"], str):
            return parts[0]["text"]
    return parts
