"""Messages and tool sets get their names, each spelling once.

The parent's name and the raw bytes find the name of a message that was seen before in this spelling. Only others are
decoded and hashed canonically; what is stored is the first spelling.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from .answers import as_object, clean, dump
from .cache import Generations
from .canonical import ROOT, canonical_message, loads, name_of, toolset_id
from .outcomes import begins_like_error, looks_like_error
from .usual import usual

Message = dict[str, Any]

_SHORT = 1_000
"""Bytes. Of longer messages fewer are remembered."""


class StoredMessage(NamedTuple):
    """A row of the table `messages`."""

    message_id: str
    parent_id: str
    depth: int
    role: str
    body: str


class Toolset(NamedTuple):
    """A row of the table `toolsets`, with the decoded tools."""

    toolset_id: str
    body: str
    names: list[str]
    tools: Any


class Named(NamedTuple):
    """A message's name, and what is asked about it again and again."""

    message_id: str
    role: str
    content_id: str = ""
    """Tells assistant messages apart by themselves, whatever came before them, within one process; empty for other
    roles."""
    acts: bool = False
    """It calls tools."""
    reports_error: bool = False
    """It is a tool's result that reports an error."""


class Messages:
    """Names messages and tool sets; remembers what it has named. Not thread-safe."""

    def __init__(self, capacity: int = 50_000) -> None:
        self._named: Generations[tuple[str, bytes], Named] = Generations(capacity)
        self._long: Generations[tuple[str, bytes], Named] = Generations(capacity // 100)
        self._tools: Generations[bytes, Toolset] = Generations(capacity // 100)
        self._messages: dict[str, StoredMessage] = {}
        self._toolsets: dict[str, Toolset] = {}

    def drain(self) -> tuple[list[StoredMessage], list[Toolset]]:
        """Messages and tool sets that may be missing in the store; each is handed out once."""
        found = list(self._messages.values()), list(self._toolsets.values())
        self._messages, self._toolsets = {}, {}
        return found

    def chain(self, raws: Iterable[bytes], parent: str = ROOT, depth: int = 0) -> list[Named]:
        """Names of messages, as JSON texts, that follow each other after `parent`; `depth` is that of the first.

        Raises BadInput, TypeError or ValueError for a text that is no message.
        """
        chain: list[Named] = []
        for raw in raws:
            named = self.name(raw, parent, depth)
            chain.append(named)
            parent, depth = named.message_id, depth + 1
        return chain

    def name(self, raw: bytes, parent: str, depth: int) -> Named:
        """Name of one message; see `chain`."""
        text = bytes(raw)
        known = self._named if len(text) <= _SHORT else self._long
        key = parent, text
        named = known.get(key)
        if named is None:
            named = known[key] = self._new(text, parent, depth)
        return named

    def chain_of(self, messages: Iterable[Message], parent: str = ROOT, depth: int = 0) -> list[Named]:
        """The same for messages that were put together here and have no text yet."""
        return self.chain((dump(message).encode() for message in messages), parent, depth)

    def _new(self, text: bytes, parent: str, depth: int) -> Named:
        message = usual(text)
        content = message.canonical() if message is not None else None
        if message is not None and content is not None:
            role, result = message.role or "", message.content
            found = Named(
                name_of(parent, content),
                role,
                _content_id(content) if role == "assistant" else "",
                message.tool_calls is not None,
                role == "tool" and result is not None and begins_like_error(result),
            )
        else:
            value = loads(text)
            if not isinstance(value, dict):
                raise TypeError("a message that is no object")
            content = canonical_message(value)
            found = named(name_of(parent, content), value, content)
        if found.message_id not in self._messages:
            self._messages[found.message_id] = StoredMessage(found.message_id, parent, depth, found.role, text.decode())
        return found

    def toolset(self, raw: bytes) -> Toolset | None:
        """The tools in a JSON text; None for what is no list of objects. Raises BadInput."""
        toolset = self._tools.get(raw)
        if toolset is None:
            tools = loads(raw)
            if not isinstance(tools, list) or not tools or not all(isinstance(tool, dict) for tool in tools):
                return None
            toolset = Toolset(toolset_id(tools), raw.decode(), [_tool_name(tool) for tool in tools], tools)
            self._tools[raw] = self._toolsets[toolset.toolset_id] = toolset
        return toolset


def named(message_id: str, message: Message, content: bytes | None = None) -> Named:
    """What is asked about a message whose name is known; `content` are its canonical bytes, if they are at hand."""
    role = clean(message.get("role"))
    acts = bool(message.get("tool_calls") or message.get("function_call"))
    content_id = ""
    if role == "assistant":
        content_id = _content_id(canonical_message(message) if content is None else content)
    return Named(message_id, role, content_id, acts, looks_like_error(message))


def _content_id(content: bytes) -> str:
    return f"{hash(content):x}"


def _tool_name(tool: Message) -> str:
    return clean((as_object(tool.get("function")) or tool).get("name"))
