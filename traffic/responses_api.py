"""OpenAI's Responses API in the words of chat messages: requests, answers and event streams of `/v1/responses`.

A request holds items, an answer holds items too, and agents send the answer's items back. Both go through the same
conversion, so that the next request begins with the names of the last request and its answer:

    instructions                             a system message before all others
    message item                             a message; text parts become text, other parts stay as they are
    function_call, custom_tool_call          tool calls of the assistant's message
    …_output, mcp_approval_response          a tool's message
    reasoning                                `reasoning_details` of the assistant's message
    any other item                           a part of the assistant's message, in its own form

Items that follow each other on the assistant's side are one message. `status`, and the `id` of items that have a
`call_id` or are text, are left out: some agents send them back and some do not.
"""

from collections.abc import Iterable
from typing import Any

from .answers import Answer, as_object, clean, count, failed, settle
from .dialect import Conversation, events
from .errors import BadInput
from .records import CallRecord
from .turns import Message, Turn, content_of

_TEXTS = ("input_text", "output_text", "text")
_FINAL = ("response.completed", "response.incomplete", "response.failed", "response.cancelled")
_ENDS = {"max_output_tokens": "length", "content_filter": "content_filter"}


def conversation(body: Message) -> Conversation:
    """The conversation that a request adds or holds. Raises TypeError for items that are no objects."""
    given = body.get("input")
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given or []
    if not isinstance(items, list):
        raise TypeError("input is neither text nor a list")
    earlier = clean(body.get("previous_response_id"))
    opening: list[Message] = []
    if body.get("instructions"):
        content = body["instructions"]
        opening = [{"role": "system", "content": content_of(content) if isinstance(content, list) else content}]
    return Conversation(messages_of(items), ("input",), opening, ("instructions",), earlier)


def messages_of(items: Iterable[Any]) -> list[Message]:
    """Items as messages. Raises TypeError for one that is no object."""
    messages: list[Message] = []
    turn = Turn()
    for item in items:
        if not isinstance(item, dict):
            raise TypeError("an item that is no object")
        message = _other_side(item)
        if message is None:
            _add(turn, item)
            continue
        if turn:
            messages.append(turn.message())
            turn = Turn()
        messages.append(message)
    return [*messages, turn.message()] if turn else messages


def _other_side(item: Message) -> Message | None:
    """The message of an item that does not come from the assistant; None for one that does."""
    kind = item.get("type") or "message"
    if kind == "message" and item.get("role") != "assistant":
        rest = {key: value for key, value in item.items() if key not in ("type", "id", "status", "content")}
        return {**rest, "content": _content(item.get("content"))}
    if kind in ("function_call_output", "custom_tool_call_output"):
        return {"role": "tool", "tool_call_id": item.get("call_id"), "content": _content(item.get("output"))}
    if isinstance(kind, str) and (kind.endswith("_output") or kind == "mcp_approval_response"):
        return {"role": "tool", "tool_call_id": item.get("call_id"), "content": [_own_form(item)]}
    return None


def _add(turn: Turn, item: Message) -> None:
    kind = item.get("type") or "message"
    if kind == "message":
        _add_text(turn, item)
    elif kind == "function_call":
        turn.add_call(item.get("name"), item.get("call_id"), item.get("arguments"))
    elif kind == "custom_tool_call":
        turn.add_custom_call(item.get("name"), item.get("call_id"), item.get("input"))
    elif kind == "reasoning":
        turn.add_reasoning(item)
    else:
        turn.add_part(_own_form(item))


def _add_text(turn: Turn, item: Message) -> None:
    content = item.get("content")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
    for part in parts if isinstance(parts, list) else [parts]:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "refusal":
            turn.set("refusal", part.get("refusal"))
        elif kind in _TEXTS and part.get("annotations"):
            turn.add_part(_part(part))
            turn.set("annotations", part["annotations"])
        else:
            turn.add_part(_part(part))


def _content(content: Any) -> Any:
    return content_of([_part(part) for part in content]) if isinstance(content, list) else content


def _part(part: Any) -> Any:
    """Text in chat's words; other parts as they are."""
    if not isinstance(part, dict) or part.get("type") not in _TEXTS:
        return part
    return {**{key: value for key, value in part.items() if key not in ("annotations", "logprobs")}, "type": "text"}


def _own_form(item: Message) -> Message:
    left_out = ("status", "id") if item.get("call_id") else ("status",)
    return {key: value for key, value in item.items() if key not in left_out}


def answer(body: Message, record: CallRecord) -> Answer:
    """Read a `response` object. A response that is still at work (`background`) has no answer yet."""
    found = Answer(model=clean(body.get("model")), upstream_id=clean(body.get("id")))
    count(found, body.get("usage"), "input_tokens", "output_tokens")
    if body.get("error"):
        return failed(found, body["error"], record)
    output, status = body.get("output"), body.get("status")
    if record.status >= 400 or not isinstance(output, list):
        return Answer(error="no_output" if record.status < 400 else "", keep_raw=True)
    turn = Turn()
    for item in output:
        _add(turn, item)
    reason = clean(as_object(body.get("incomplete_details")).get("reason"))
    message = turn.message() if turn else {"role": "assistant", "content": None}
    if status == "completed":
        finish = "tool_calls" if message.get("tool_calls") else "stop"
    elif status == "incomplete":
        finish = _ENDS.get(reason, reason or "incomplete")
    else:
        found.error, found.keep_raw = clean(status) or "incomplete", True
        return found
    return settle(found, message, finish, record)


def assemble(stream: bytes) -> Message:
    """The `response` object that an event stream ends with.

    A stream that was cut off gives the last state that the server sent, with the items that were done; it is not
    `completed`. Raises BadInput when no event belongs to a response.
    """
    response: Message = {}
    done: list[tuple[Any, Any]] = []
    error: Any = None
    final = False
    for event in map(as_object, events(stream)):
        kind = event.get("type")
        if kind == "error" or (kind is None and event.get("error")):
            error = event.get("error") or {"code": event.get("code") or "error", "message": event.get("message")}
        elif kind == "response.output_item.done":
            done.append((event.get("output_index"), event.get("item")))
        elif isinstance(event.get("response"), dict):
            response, final = event["response"], kind in _FINAL
    if not response and not done and error is None:
        raise BadInput("Expected a stream of response events, but it holds none. It is kept as raw bytes.")
    if not final:
        response = {**response, "status": "" if response.get("status") == "completed" else response.get("status")}
    if done and not response.get("output"):
        # Some servers send the items only once, and an empty list with the final state.
        ranked = sorted(done, key=lambda pair: pair[0] if isinstance(pair[0], int) else len(done))
        response = {**response, "output": [item for _, item in ranked]}
    return {**response, "error": error} if error is not None else response
