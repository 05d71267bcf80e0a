"""Anthropic's protocol in the words of chat messages: requests, answers and event streams of `/v1/messages`.

    system                                   a system message before all others
    text                                     content
    tool_use                                 tool calls of the assistant's message
    tool_result                              a tool's message
    thinking, redacted_thinking              `reasoning_details` of the assistant's message
    any other block                          a part of the content, in its own form

Counts are given as OpenAI counts: prompt tokens include those written to and read from the cache.
"""

from typing import Any

from .answers import Answer, as_object, clean, failed, number, settle
from .canonical import loads
from .dialect import Conversation, events
from .errors import BadInput
from .records import CallRecord
from .turns import Message, Turn, content_of

_ENDS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}
_CACHE = ("cache_creation_input_tokens", "cache_read_input_tokens")
_GROWING = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "signature_delta": ("signature", "signature"),
    "input_json_delta": ("partial_json", "partial_json"),
}
"""By kind of delta: the member that holds the piece, and the member of the block that grows by it."""


def conversation(body: Message) -> Conversation:
    """The conversation that a request holds. Raises TypeError for messages that are no objects."""
    opening = [{"role": "system", "content": _content(body["system"])}] if body.get("system") else []
    messages: list[Message] = []
    given = body.get("messages")
    for message in given if isinstance(given, list) else []:
        if not isinstance(message, dict):
            raise TypeError("a message that is no object")
        messages += _messages(message)
    return Conversation(messages, ("messages",), opening, ("system",))


def _messages(message: Message) -> list[Message]:
    content = message.get("content")
    if not isinstance(content, list):
        return [message]
    rest = {key: value for key, value in message.items() if key not in ("role", "content")}
    if message.get("role") == "assistant":
        return [assistant(content) | rest]
    found: list[Message] = []
    parts: list[Any] = []
    for block in content:
        if isinstance(block, dict) and block.get("type") == "tool_result":
            if parts:
                found.append({"role": message.get("role"), "content": content_of(parts)})
                parts = []
            found.append(_result(block))
        else:
            parts.append(block)
    if parts or not found:
        found.append({"role": message.get("role"), "content": content_of(parts), **rest})
    return found


def _result(block: Message) -> Message:
    rest = {key: value for key, value in block.items() if key not in ("type", "tool_use_id", "content", "is_error")}
    result = {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": _content(block.get("content"))}
    return {**result, **rest, **({"is_error": block["is_error"]} if block.get("is_error") else {})}


def _content(content: Any) -> Any:
    return content_of(content) if isinstance(content, list) else content


def assistant(blocks: list[Any]) -> Message:
    """The assistant's message that these blocks make."""
    turn = Turn()
    for block in blocks:
        kind = block.get("type") if isinstance(block, dict) else None
        if kind == "tool_use":
            turn.add_call(block.get("name"), block.get("id"), block.get("input"))
        elif kind in ("thinking", "redacted_thinking"):
            turn.add_reasoning(block)
        else:
            turn.add_part(block)
    return turn.message()


def answer(body: Message, record: CallRecord) -> Answer:
    """Read a `message` object."""
    found = Answer(model=clean(body.get("model")), upstream_id=clean(body.get("id")))
    usage = as_object(body.get("usage"))
    found.completion_tokens, found.cached_tokens = number(usage.get("output_tokens")), number(usage.get(_CACHE[1]))
    prompt = number(usage.get("input_tokens"))
    if prompt is not None:
        found.prompt_tokens = number(prompt + sum(number(usage.get(name)) or 0 for name in _CACHE))
    if body.get("error"):
        return failed(found, body["error"], record)
    content = body.get("content")
    if record.status >= 400 or not isinstance(content, list):
        return Answer(error="no_content" if record.status < 400 else "", keep_raw=True)
    reason = clean(body.get("stop_reason"))
    return settle(found, assistant(content), _ENDS.get(reason, reason), record)


def assemble(stream: bytes) -> Message:
    """The `message` object that an event stream spells out; an error event is found under `error`.

    A stream that was cut off has no `stop_reason`. Raises BadInput when no event belongs to a message.
    """
    message: Message = {}
    blocks: dict[Any, Message] = {}
    error: Any = None
    for event in map(as_object, events(stream)):
        kind, index = event.get("type"), event.get("index")
        if kind == "message_start":
            message = {**message, **as_object(event.get("message"))}
        elif kind == "content_block_start" and isinstance(event.get("content_block"), dict):
            blocks[_key(index)] = dict(event["content_block"])
        elif kind == "content_block_delta":
            _grow(blocks.setdefault(_key(index), {}), as_object(event.get("delta")))
        elif kind == "message_delta":
            usage = {**as_object(message.get("usage")), **_given(event.get("usage"))}
            message = {**message, **_given(event.get("delta")), "usage": usage}
        elif kind == "error" or event.get("error"):
            error = event.get("error") or {"type": "error"}
    if not message and not blocks and error is None:
        raise BadInput("Expected a stream of message events, but it holds none. It is kept as raw bytes.")
    ranked = sorted(blocks.items(), key=lambda item: (not isinstance(item[0], int), str(item[0]).rjust(9)))
    whole = {**message, "content": [*_listed(message.get("content")), *(_closed(block) for _, block in ranked)]}
    return whole if error is None else {**whole, "error": error}


def _key(index: Any) -> Any:
    return index if isinstance(index, int | str) else None


def _given(value: Any) -> Message:
    return {key: item for key, item in as_object(value).items() if item is not None}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _grow(block: Message, delta: Message) -> None:
    kind = delta.get("type")
    if kind == "citations_delta":
        block["citations"] = [*_listed(block.get("citations")), delta.get("citation")]
        return
    piece, member = _GROWING.get(kind, ("", "")) if isinstance(kind, str) else ("", "")
    if isinstance(delta.get(piece), str):
        old = block.get(member)
        block[member] = (old if isinstance(old, str) else "") + delta[piece]


def _closed(block: Message) -> Message:
    """The block with its input read. What is no JSON, as in a stream that was cut off, stays text."""
    if "partial_json" not in block:
        return block
    block = dict(block)
    text = block.pop("partial_json")
    try:
        block["input"] = loads(text) if text else block.get("input", {})
    except BadInput:
        block["input"] = text
    return block
