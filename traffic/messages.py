"""Messages and tool sets get their names, each spelling once.

A message's name follows from the name before it and its canonical bytes. Messages that open a request are also found by
their raw bytes, for the same prompts come again and again; what is stored of a message is its first spelling.

The names of the latest messages are kept in the order in which they were first seen (`Sequel`). A message that follows
one of them, one that the store did not have either, and that is not among them itself, can therefore not be in the
store: `surely_new`. Of all others `novelty` asks the store.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from .answers import as_object, clean, dump
from .cache import Generations, Sequel
from .canonical import ROOT, canonical_message, loads, name_of, toolset_id
from .echoes import is_echo
from .outcomes import begins_like_error, looks_like_error
from .tool_lists import ToolList
from .usual import usual

Message = dict[str, Any]

_SHORT = 1_000
"""Bytes. Of longer messages fewer are remembered."""


class Named(msgspec.Struct, gc=False):
    """A message's name, and what is asked about it again and again."""

    message_id: str
    role: str
    content_id: int = 0
    """Tells assistant messages apart by themselves, whatever came before them, within one process; 0 for other
    roles."""
    acts: bool = False
    """It calls tools."""
    reports_error: bool = False
    """It is a tool's result that reports an error."""
    born: bool = False
    """It is known that the store did not have it when this process named it first."""


class StoredMessage(msgspec.Struct, frozen=True, gc=False):
    """A row of the table `messages`."""

    message_id: str
    parent_id: str
    depth: int
    role: str
    body: bytes
    """JSON text in UTF-8."""
    named: Named
    surely_new: bool = False
    """The store does not have it, without looking."""


class Toolset(NamedTuple):
    """A row of the table `toolsets`, with the decoded tools."""

    toolset_id: str
    body: str
    names: list[str]
    tools: ToolList


class Said(msgspec.Struct, frozen=True, gc=False):
    """An answer by name, with its text and its canonical bytes: what the next request is expected to begin with."""

    named: Named
    text: bytes
    content: bytes


class Messages:
    """Names messages and tool sets; remembers what it has named. Not thread-safe."""

    def __init__(self, capacity: int = 50_000) -> None:
        self._spelled: Generations[tuple[str, bytes], Named] = Generations(capacity)
        self._long: Generations[tuple[str, bytes], Named] = Generations(capacity // 100)
        self._latest: Sequel[str, Named] = Sequel(2 * capacity)
        self._tools: Generations[bytes, Toolset] = Generations(capacity // 100)
        self._new: list[StoredMessage] = []
        self._toolsets: dict[str, Toolset] = {}

    def drain(self) -> tuple[list[StoredMessage], list[Toolset]]:
        """Messages and tool sets that may be missing in the store, parents first; each is handed out once."""
        found = self._new, list(self._toolsets.values())
        self._new, self._toolsets = [], {}
        return found

    def chain(self, raws: Iterable[bytes], parent: str = ROOT, depth: int = 0) -> list[Named]:
        """Names of messages, as JSON texts, that follow each other after `parent`; `depth` is that of the first.

        Raises BadInput, TypeError or ValueError for a text that is no message.
        """
        chain: list[Named] = []
        for raw in raws:
            text = bytes(raw)
            known = self._spelled if len(text) <= _SHORT else self._long
            key = parent, text
            named = known.get(key)
            if named is None:
                named = known[key] = self._named(parent, depth, text, _read(text))
            chain.append(named)
            parent, depth = named.message_id, depth + 1
        return chain

    def sequel(self, raws: Iterable[bytes], before: Named, depth: int, said: Said | None) -> list[Named]:
        """`chain` for what follows a known request: nearly always new, but for the answer that it begins with."""
        chain: list[Named] = []
        parent = before.message_id
        for raw in raws:
            text = bytes(raw)
            if said is not None and is_echo(text, said.text):
                named = said.named
            else:
                read = _read(text)
                again = said is not None and read.content == said.content
                named = said.named if said is not None and again else self._named(parent, depth, text, read)
            said = None
            chain.append(named)
            parent, depth = named.message_id, depth + 1
        return chain

    def say(self, raw: bytes, parent: str, depth: int) -> Said:
        """Name an answer; see `chain`."""
        read = _read(raw)
        return Said(self._named(parent, depth, raw, read), raw, read.content)

    def chain_of(self, messages: Iterable[Message], parent: str = ROOT, depth: int = 0) -> list[Named]:
        """`chain` for messages that were put together here and have no text yet."""
        return self.chain((dump(message).encode() for message in messages), parent, depth)

    def _named(self, parent: str, depth: int, text: bytes, read: "_Read") -> Named:
        content, role = read.content, read.role
        message_id = name_of(parent, content)
        latest = self._latest
        named = latest.get(message_id)
        if named is None:
            before = latest.get(parent)
            born = before is not None and before.born
            content_id = hash(content) if role == "assistant" else 0
            named = Named(message_id, role, content_id, read.acts, read.reports_error, born)
            latest[message_id] = named
            self._new.append(StoredMessage(message_id, parent, depth, role, text, named, born))
        return named

    def toolset(self, raw: bytes) -> Toolset | None:
        """The tools in a JSON text; None for what is no list of objects. Raises BadInput."""
        toolset = self._tools.get(raw)
        if toolset is None:
            tools = loads(raw)
            if not isinstance(tools, list) or not tools or not all(isinstance(tool, dict) for tool in tools):
                return None
            names = [_tool_name(tool) for tool in tools]
            toolset = Toolset(toolset_id(tools), raw.decode(), names, ToolList(tools))
            self._tools[raw] = self._toolsets[toolset.toolset_id] = toolset
        return toolset


class _Read(msgspec.Struct, frozen=True, gc=False):
    """What a message's text says."""

    content: bytes
    """Canonical bytes."""
    role: str
    acts: bool
    reports_error: bool


def _read(text: bytes) -> _Read:
    message = usual(text)
    content = message.canonical() if message is not None else None
    if message is not None and content is not None:
        role, result = message.role or "", message.content
        reports_error = role == "tool" and result is not None and begins_like_error(result)
        return _Read(content, role, message.tool_calls is not None, reports_error)
    value = loads(text)
    if not isinstance(value, dict):
        raise TypeError("a message that is no object")
    text.decode()  # The store holds UTF-8, and some readers of JSON take more than that.
    return _Read(canonical_message(value), clean(value.get("role")), _acts(value), looks_like_error(value))


def named(message_id: str, message: Message) -> Named:
    """What is asked about a message whose name is known."""
    role = clean(message.get("role"))
    content_id = hash(canonical_message(message)) if role == "assistant" else 0
    return Named(message_id, role, content_id, _acts(message), looks_like_error(message))


def _acts(message: Message) -> bool:
    return bool(message.get("tool_calls") or message.get("function_call"))


def _tool_name(tool: Message) -> str:
    return clean((as_object(tool.get("function")) or tool).get("name"))
