"""The conversation on a span of a model call, in OpenAI's form, whichever convention wrote it down.

    gen_ai.input.messages, gen_ai.output.messages     OpenTelemetry's GenAI conventions since 1.37; Pydantic AI
    events gen_ai.user.message, …, gen_ai.choice      those before; as events of the span, or in its attribute `events`
    gen_ai.prompt.0.role, gen_ai.completion.0.…       OpenLLMetry
    llm.input_messages.0.message.role, …              OpenInference

Pure. Raises BadInput for what has no equivalent in OpenAI's form, and for what was cut: a request that lacks a message
or a tool would be another request.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from ..traffic.answers import as_object, clean
from ..traffic.errors import BadInput
from ..traffic.imported import unpacked
from .otlp_wire import Attributes, Event, Span

Message = dict[str, Any]
INPUT, OUTPUT, SYSTEM = "gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions"
_DETAILS = "gen_ai.client.inference.operation.details"
_ROLES = {f"gen_ai.{role}.message": role for role in ("system", "user", "assistant", "tool")}
_CHOICE = "gen_ai.choice"
_THOUGHTS = ("reasoning", "thinking")
_FINISH = {"tool_call": "tool_calls", "tool_use": "tool_calls", "end_turn": "stop", "max_tokens": "length"}
"""Finish reasons of other providers in OpenAI's words."""


class Conversation(NamedTuple):
    """What was asked and answered."""

    messages: list[Message]
    answer: Message | None
    """None when there was none."""
    finish_reason: str = ""


def conversation_of(span: Span) -> Conversation | None:
    """None when the span has no messages on it. Raises BadInput when they cannot be said in OpenAI's form."""
    known = {**span.attributes, **_details(span.events)}
    if INPUT in known or OUTPUT in known:
        return _from_parts(known)
    if found := _from_events(span.events, known):
        return found
    for asked, answered, read in (("llm.input_messages", "llm.output_messages", _openinference), _OPENLLMETRY):
        if asked_nodes := listed(known, asked):
            _whole(span)
            outputs = listed(known, answered)
            answer = read(outputs[0]) if outputs else None
            finish = clean(as_object(outputs[0]).get("finish_reason")) if outputs else ""
            return _conversation([read(node) for node in asked_nodes], answer, finish)
    return None


def listed(attributes: Mapping[str, Any], prefix: str) -> list[Any]:
    """The list that names like `PREFIX.0.role`, `PREFIX.1.role` spell out; empty when there are none."""
    root: dict[str, Any] = {}
    for name, value in attributes.items():
        if not name.startswith(f"{prefix}."):
            continue
        node, (*path, last) = root, name[len(prefix) + 1 :].split(".")
        for step in path:
            deeper = node.setdefault(step, {})
            node = deeper if isinstance(deeper, dict) else {}
        node[last] = value
    return _in_order(root)


def arguments_of(value: Any) -> str:
    """A tool call's arguments as the text that OpenAI's form has."""
    return value if isinstance(value, str) else json.dumps({} if value is None else value, ensure_ascii=False)


def _in_order(node: Any) -> list[Any]:
    found = as_object(node)
    return [found[name] for name in sorted((name for name in found if name.isdecimal()), key=int)]


def _whole(span: Span) -> None:
    """Raises BadInput when attributes were cut off, for each holds a part of a message."""
    if span.dropped:
        raise BadInput(
            f"{span.dropped} attributes of the span were dropped by its sender: raise OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"
        )


def _conversation(messages: Iterable[Message], answer: Message | None, finish: str = "") -> Conversation:
    said = answer if answer and (answer.get("content") or answer.get("tool_calls")) else None
    finish = _FINISH.get(finish, finish) or ("tool_calls" if said and said.get("tool_calls") else "stop")
    return Conversation(list(messages), said, finish)


def _message(role: Any, content: Any, calls: list[Message], **more: Any) -> Message:
    """A message; what `more` says is left out where it is empty."""
    said: Message = {"role": clean(role), "content": content if content not in ("", []) or not calls else None}
    said |= {name: value for name, value in more.items() if value}
    return said | ({"tool_calls": calls} if calls else {})


def _call(id: Any, name: Any, arguments: Any) -> Message:
    return {
        "id": clean(id),
        "type": "function",
        "function": {"name": clean(name), "arguments": arguments_of(arguments)},
    }


# Messages with parts: GenAI conventions since 1.37.


def _details(events: Iterable[Event]) -> Attributes:
    return next((event.attributes for event in events if event.name == _DETAILS), {})


def _from_parts(known: Attributes) -> Conversation:
    messages = [said for one in _whole_list(known.get(INPUT), INPUT) for said in _said_in(one)]
    if instructions := _whole_list(known.get(SYSTEM), SYSTEM):
        at = next((at for at, said in enumerate(messages) if said["role"] != "system"), len(messages))
        messages[at:at] = _said_in({"role": "system", "parts": instructions})
    outputs = _whole_list(known.get(OUTPUT), OUTPUT)
    answer = next((said for one in outputs[:1] for said in _said_in(one)), None)
    finish = clean(as_object(outputs[0]).get("finish_reason")) if outputs else ""
    return _conversation(messages, answer, finish)


def _whole_list(value: Any, name: str) -> list[Any]:
    found = unpacked(value)
    if found is not None and not isinstance(found, list):
        raise BadInput(f"{name} is no list; was it cut off? See OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT")
    return found or []


def _said_in(one: Any) -> Iterator[Message]:
    """One message with parts may be several: results of tools are messages of their own."""
    role, parts = as_object(one).get("role"), _whole_list(as_object(one).get("parts"), "parts")
    contents: list[Message] = []
    calls: list[Message] = []
    for part in map(as_object, parts):
        kind = part.get("type")
        if kind == "tool_call_response":
            result = next((part[name] for name in ("response", "result", "content") if name in part), "")
            text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
            yield _message("tool", text, [], tool_call_id=clean(part.get("id")))
        elif kind == "tool_call":
            calls.append(_call(part.get("id"), part.get("name"), part.get("arguments")))
        elif kind not in _THOUGHTS:
            contents.append(_content(part))
    if contents or calls:
        alone = len(contents) == 1 and contents[0]["type"] == "text"
        yield _message(role, contents[0]["text"] if alone else contents, calls, name=clean(as_object(one).get("name")))


def _content(part: Message) -> Message:
    kind, url = part.get("type"), part.get("uri") or part.get("url")
    if kind == "text" and isinstance(part.get("content"), str):
        return {"type": "text", "text": part["content"]}
    if kind in ("uri", "image-url") and part.get("modality", "image") == "image" and isinstance(url, str):
        return {"type": "image_url", "image_url": {"url": url}}
    raise BadInput(f"a part of the type {kind!r} without content, or one that chats do not have")


# Events: GenAI conventions before 1.37.


def _from_events(events: Iterable[Event], known: Attributes) -> Conversation | None:
    told = [(event.name, event.attributes) for event in events]
    for one in map(as_object, _whole_list(known.get("events"), "events")):
        told.append((clean(one.get("event.name")), one))
    messages = [_from_event(_ROLES[name], said) for name, said in told if name in _ROLES]
    if not messages:
        return None
    choice = next((said for name, said in told if name == _CHOICE), {})
    inner = as_object(unpacked(choice.get("message"))) or choice
    answer = _from_event("assistant", inner) if choice else None
    return _conversation(messages, answer, clean(choice.get("finish_reason")))


def _from_event(role: str, said: Mapping[str, Any]) -> Message:
    calls = [_function(call) for call in _whole_list(said.get("tool_calls"), "tool_calls")]
    name = said.get("tool_call_id") or said.get("id") if role == "tool" else ""
    content = _event_content(said.get("content"), role, bool(calls))
    return _message(said.get("role") or role, content, calls, tool_call_id=clean(name))


def _event_content(content: Any, role: str, called: bool) -> Any:
    found = _typed(content)
    if found is None and not called and role != "assistant":
        raise BadInput(f"a message of the role {role} without its content: is its capture switched on?")
    return found


def _typed(content: Any) -> Any:
    """A text, or a list of OpenAI's parts, which some write as JSON."""
    found = unpacked(content)
    if isinstance(found, list) and found and all("type" in as_object(part) for part in found):
        return found
    return content if isinstance(content, str) or content is None else json.dumps(content, ensure_ascii=False)


def _function(call: Any) -> Message:
    known = as_object(call)
    function = as_object(known.get("function")) or known
    return _call(known.get("id"), function.get("name"), function.get("arguments"))


# Flat names.


def _openllmetry(node: Any) -> Message:
    known = as_object(node)
    calls = [_function(call) for call in _in_order(known.get("tool_calls"))]
    answers = clean(known.get("tool_call_id"))
    return _message(known.get("role"), _typed(known.get("content")), calls, tool_call_id=answers)


_OPENLLMETRY = ("gen_ai.prompt", "gen_ai.completion", _openllmetry)


def _openinference(node: Any) -> Message:
    known = as_object(as_object(node).get("message"))
    calls = [_function(as_object(call).get("tool_call")) for call in _in_order(known.get("tool_calls"))]
    contents = [_open_part(as_object(one).get("message_content")) for one in _in_order(known.get("contents"))]
    content, answers, name = contents or known.get("content"), known.get("tool_call_id"), known.get("name")
    return _message(known.get("role"), content, calls, tool_call_id=clean(answers), name=clean(name))


def _open_part(given: Any) -> Message:
    part = as_object(given)
    url = as_object(as_object(part.get("image")).get("image")).get("url")
    if part.get("type") == "text":
        return {"type": "text", "text": clean(part.get("text"))}
    if isinstance(url, str):
        return {"type": "image_url", "image_url": {"url": url}}
    raise BadInput(f"a part of the type {part.get('type')!r}, which chats do not have")
