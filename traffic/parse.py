"""One call record taken apart: messages by name, tools, parameters, the answer, what went wrong.

Long requests repeat almost all of the previous request, so the work per message is done once: a request's messages
are split without decoding them, and a digest over (parent's name, raw bytes) finds the name in a cache. Only messages
never seen in this spelling are decoded and hashed canonically.

Nothing in a record can make this fail: what is no chat call, or cannot be read, is kept as raw bytes with an error.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from .answers import Answer, answer_of_record, clean, dump
from .cache import Generations
from .canonical import ROOT, canonical_message, loads, name_of, toolset_id
from .errors import BadInput
from .records import CallRecord

Message = dict[str, Any]

_PATTERN_ROLES = frozenset({"system", "developer"})
_PATTERN_FIELDS = ("tool_choice", "response_format", "functions")
_split_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_split_list = msgspec.json.Decoder(list[msgspec.Raw]).decode


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
    """A message's name and role."""

    message_id: str
    role: str
    content_id: str = ""
    """Digest of an assistant message by itself, whatever came before it; empty for other roles."""


@dataclass(slots=True)
class Request:
    """What a request body says."""

    chain: list[Named] = field(default_factory=list)
    params: str = "{}"
    """The body without messages and tools, as JSON."""
    toolset: Toolset | None = None
    outline: Message = field(default_factory=dict)
    """The body with its system messages, the message after them and the last one: all that pattern discovery needs."""
    model: str = ""
    """The model that was asked for."""
    error: str = ""
    """Why it is no chat request; empty when it is one."""


@dataclass(slots=True)
class Parsed:
    """One call, taken apart."""

    record: CallRecord
    request: Request
    answer: Answer
    answer_id: str | None = None
    """Name of the answer; None without one."""
    answer_content: str = ""
    """Digest of the answer by itself; see `Named.content_id`."""

    @property
    def tail(self) -> str | None:
        """Name of the last message of the request."""
        return self.request.chain[-1].message_id if self.request.chain else None

    @property
    def error(self) -> str:
        """First reason why something is wrong with this call, the data plane's own first."""
        return self.record.error or self.request.error or self.answer.error


class Parser:
    """Takes records apart; remembers messages and tool sets that it has named. Not thread-safe."""

    def __init__(self, capacity: int = 200_000) -> None:
        self._named: Generations[bytes, Named] = Generations(capacity)
        self._tools: Generations[bytes, Toolset] = Generations(1_000)
        self.messages: dict[str, StoredMessage] = {}
        """Messages that may be new, since the last `drain`."""
        self.toolsets: dict[str, Toolset] = {}

    def drain(self) -> tuple[list[StoredMessage], list[Toolset]]:
        """Messages and tool sets that may be missing in the store; each is handed out once."""
        found = list(self.messages.values()), list(self.toolsets.values())
        self.messages, self.toolsets = {}, {}
        return found

    def parse(self, record: CallRecord) -> Parsed:
        """Take one record apart. Never raises on account of what is in it."""
        if not record.endpoint.rstrip("/").endswith("/chat/completions"):
            return Parsed(record, Request(error="not_chat"), Answer(keep_raw=True))
        parsed = Parsed(record, self._safe_request(record.request), answer_of_record(record))
        if parsed.tail and parsed.answer.message is not None:
            self._name_answer(parsed)
        return parsed

    def _safe_request(self, body: bytes) -> Request:
        try:
            return self._request(_fields(body))
        except BadInput:
            return Request(error="bad_json")
        except (ValueError, TypeError, RecursionError) as error:
            return Request(error=f"unreadable_request: {type(error).__name__}")

    def _request(self, fields: dict[str, msgspec.Raw]) -> Request:
        messages = _items(fields.pop("messages", None))
        if not messages:
            return Request(error="no_messages")
        toolset = self._toolset(fields)
        chain = self._chain(messages)
        outline: Message = {key: loads(bytes(fields[key])) for key in _PATTERN_FIELDS if key in fields}
        outline["messages"] = _outline(messages, chain)
        if toolset:
            outline["tools"] = toolset.tools
        model = clean(loads(bytes(fields["model"]))) if "model" in fields else ""
        return Request(chain=chain, params=_join(fields), toolset=toolset, outline=outline, model=model)

    def _chain(self, messages: Iterable[msgspec.Raw]) -> list[Named]:
        chain: list[Named] = []
        parent = ROOT
        for depth, raw in enumerate(messages):
            key = blake2b(raw, digest_size=16, key=parent.encode()).digest()
            named = self._named.get(key)
            if named is None:
                named = self._named[key] = self._name(parent, depth, bytes(raw))
            chain.append(named)
            parent = named.message_id
        return chain

    def _name(self, parent: str, depth: int, raw: bytes) -> Named:
        message = loads(raw)
        if not isinstance(message, dict):
            raise TypeError("a message that is no object")
        role = clean(message.get("role"))
        content = canonical_message(message)
        named = Named(name_of(parent, content), role, _content_id(content) if role == "assistant" else "")
        self.messages[named.message_id] = StoredMessage(named.message_id, parent, depth, named.role, raw.decode())
        return named

    def _name_answer(self, parsed: Parsed) -> None:
        chain, message = parsed.request.chain, parsed.answer.message or {}
        parent = chain[-1].message_id
        try:
            content = canonical_message(message)
        except (BadInput, TypeError, ValueError):
            parsed.answer.error, parsed.answer.keep_raw = "unreadable_answer", True
            return
        name = name_of(parent, content)
        parsed.answer_id, parsed.answer_content = name, _content_id(content)
        if name not in self.messages:
            self.messages[name] = StoredMessage(name, parent, len(chain), "assistant", dump(message))

    def _toolset(self, fields: dict[str, msgspec.Raw]) -> Toolset | None:
        """The tools, taken out of `fields`; what is no list of objects stays among the parameters."""
        raw = bytes(fields.get("tools", b""))
        if not raw or raw == b"null":
            return None
        key = blake2b(raw, digest_size=16).digest()
        toolset = self._tools.get(key) or self._name_tools(raw)
        if toolset is not None:
            self._tools[key] = toolset
            del fields["tools"]
        return toolset

    def _name_tools(self, raw: bytes) -> Toolset | None:
        tools = loads(raw)
        if not isinstance(tools, list) or not tools or not all(isinstance(tool, dict) for tool in tools):
            return None
        toolset = Toolset(toolset_id(tools), raw.decode(), [_tool_name(tool) for tool in tools], tools)
        self.toolsets[toolset.toolset_id] = toolset
        return toolset


def _content_id(content: bytes) -> str:
    """Digest of a message by itself (32 hex digits), from its canonical bytes."""
    return blake2b(content, digest_size=16).hexdigest()


def _fields(body: bytes) -> dict[str, msgspec.Raw]:
    """The members of a JSON object, undecoded. Texts that only `loads` can read are spelled anew first."""
    try:
        return _split_object(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        value = loads(body)
    if not isinstance(value, dict):
        raise BadInput("A request body must be a JSON object.")
    return {key: msgspec.Raw(json.dumps(item).encode()) for key, item in value.items()}


def _outline(messages: list[msgspec.Raw], chain: list[Named]) -> list[Message]:
    """The system messages, the first other message and the last one, decoded."""
    opening = next((at for at, named in enumerate(chain) if named.role not in _PATTERN_ROLES), -1)
    wanted = [at for at, named in enumerate(chain) if named.role in _PATTERN_ROLES or at in (opening, len(chain) - 1)]
    return [loads(bytes(messages[at])) for at in wanted]


def _items(raw: msgspec.Raw | None) -> list[msgspec.Raw]:
    """The elements of a JSON list, undecoded; none when it is no list."""
    if raw is None or not bytes(raw).startswith(b"["):
        return []
    try:
        return _split_list(raw)
    except (msgspec.MsgspecError, ValueError):
        return [msgspec.Raw(json.dumps(item).encode()) for item in loads(bytes(raw))]


def _join(fields: dict[str, msgspec.Raw]) -> str:
    members = (_spelled(key) + ":" + bytes(raw).decode() for key, raw in fields.items())
    return "{" + ",".join(members) + "}"


# The same few names come with every request.
_spelled = lru_cache(maxsize=1_000)(json.dumps)


def _tool_name(tool: Message) -> str:
    inner = tool.get("function")
    return clean(inner.get("name") if isinstance(inner, dict) else tool.get("name"))
