"""A span of a model call as the record of a log source: the request and the answer in OpenAI's form, and its names.

What a span does not say stays out of the record; what it should say and does not (messages that were not captured,
attributes that were cut off, calls of tools that are nowhere defined) makes it no record at all. Pure; raises BadInput
with the reason.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from ..traffic.answers import as_object, clean, dump, number
from ..traffic.errors import BadInput
from ..traffic.imported import answer_of, unpacked, usage_of
from ..traffic.openai_form import parameters_of
from .identify import CONVERSATION_KEY, PARENT_KEY, PATTERN_KEY, TRAJECTORY_KEY
from .intake_form import LONGEST_NAME, Logged
from .otlp_messages import Conversation, Message, conversation_of, listed
from .otlp_wire import Attributes, Span

RUN = "gen_ai.agent.call.id"
"""Names one run of an agent, on each span in it (Pydantic AI)."""
_CALLS = ("chat", "generate_content")
_CONVERSATIONS = ("gen_ai.conversation.id", "session.id", "traceloop.association.properties.session_id")
_PARAMETERS = {
    **{name: name for name in ("temperature", "top_p", "max_tokens", "seed", "frequency_penalty", "presence_penalty")},
    "stop_sequences": "stop",
    "choice.count": "n",
}
"""What follows `gen_ai.request.`, and its name in OpenAI's form."""
_PROMPT = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt")
_COMPLETION = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.token_count.completion")
_CACHED = (
    *("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.details.cache_read_tokens"),
    "llm.token_count.prompt_details.cache_read",
)
_REASONING = (
    *("gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.details.reasoning_tokens"),
    "llm.token_count.completion_details.reasoning",
)
_FIRST = "First Token Stream Event"
NO_MESSAGES = (
    "there are no messages on it: have the instrumentation capture them "
    "(OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=true, include_content=True, TRACELOOP_TRACE_CONTENT=true)"
)


def is_call(span: Span) -> bool:
    """Whether it stands for a chat with a model."""
    known = span.attributes
    if kind := known.get("openinference.span.kind"):
        return kind == "LLM"
    return known.get("gen_ai.operation.name") in _CALLS or known.get("llm.request.type") == "chat"


def failure_of(span: Span) -> str:
    """Why the run of an agent has failed, where this span is such a run and says so; else empty."""
    failed = span.failed and span.attributes.get("gen_ai.operation.name") == "invoke_agent" and run_of(span)
    return (span.problem or "the agent raised an error") if failed else ""


def run_of(span: Span) -> str:
    """The name of the run that a span belongs to; empty when it does not say."""
    return _name(span.attributes.get(RUN))


def logged_of(span: Span, around: Sequence[Span]) -> Logged:
    """The record of a call. around: the spans that it lies in, the nearest first, as far as they are known."""
    body = _body(span)
    found = _raw_conversation(span, body) if body else conversation_of(span)
    if found is None and span.failed:
        raise BadInput(f"it failed, and its instrumentation leaves the messages of failed calls out ({span.problem})")
    if found is None:
        raise BadInput(NO_MESSAGES)
    request = _request(span, body, found.messages)
    calls = any(message.get("tool_calls") for message in (*found.messages, found.answer or {}))
    if calls and not request.get("tools"):
        raise BadInput("tools are called on it that it does not define: its instrumentation leaves tools out")
    error = "" if found.answer else (clean(span.attributes.get("error.type")) or span.problem or "no_answer_recorded")
    names = _names(span, around)
    return Logged(
        request=_json(request),
        response=_json(_response(span, found)) if found.answer else msgspec.Raw(b"null"),
        started_at=span.start,
        id=f"{span.trace_id}/{span.span_id}",
        status=_status(span) if not found.answer else 0,
        error=error[:LONGEST_NAME],
        latency_ms=max(0.0, (span.end - span.start) * 1000),
        first_byte_ms=_first_ms(span),
        stream=bool(_first_ms(span)) or _invocation(span.attributes).get("stream") is True,
        trajectory=names.trajectory,
        parent=names.parent,
        conversation=names.conversation,
        pattern=names.pattern,
    )


def _json(value: Message) -> msgspec.Raw:
    return msgspec.Raw(dump(value).encode())


def _body(span: Span) -> Message:
    """The request itself, where an instrumentation of OpenAI's client has kept it; else empty."""
    body = as_object(unpacked(span.attributes.get("input.value")))
    messages = body.get("messages")
    plain = isinstance(messages, list) and all(isinstance(as_object(one).get("role"), str) for one in messages)
    return body if plain and messages else {}


def _raw_conversation(span: Span, body: Message) -> Conversation:
    output = unpacked(span.attributes.get("output.value"))
    choices = as_object(output).get("choices")
    finish = clean(as_object(choices[0]).get("finish_reason")) if isinstance(choices, list) and choices else ""
    answer = answer_of(output) if isinstance(output, dict) else None
    finish = finish or ("tool_calls" if answer and answer.get("tool_calls") else "stop")
    return Conversation(body["messages"], answer, finish)


def _request(span: Span, body: Message, messages: list[Message]) -> Message:
    known = span.attributes
    model = body.get("model") or known.get("gen_ai.request.model") or known.get("llm.model_name") or ""
    named = {to: known.get(f"gen_ai.request.{name}") for name, to in _PARAMETERS.items()}
    asked = _model_request(known)
    request = {"model": clean(model), **parameters_of(named), **parameters_of(_invocation(known))}
    request |= parameters_of(asked) | parameters_of(body)
    if tools := [_tool(one) for one in _tools_of(body) or _tools(known)]:
        request["tools"] = tools
        choice = body.get("tool_choice") or _invocation(known).get("tool_choice") or asked.get("tool_choice")
        request |= {"tool_choice": choice} if choice else {}
    return request | {"messages": messages}


def _tools_of(body: Message) -> list[Any]:
    tools = body.get("tools")
    return tools if isinstance(tools, list) else []


def _invocation(known: Attributes) -> Message:
    return as_object(unpacked(known.get("llm.invocation_parameters")))


def _model_request(known: Attributes) -> Message:
    """What Pydantic AI says of the form of the answer: a schema, or tools of which one must be called."""
    asked = as_object(unpacked(known.get("model_request_parameters")))
    said: Message = {}
    schema = as_object(asked.get("output_object"))
    if asked.get("output_mode") == "native" and schema:
        named = {"name": schema.get("name") or "final_result", "schema": schema.get("json_schema")}
        more = {name: schema[name] for name in ("description", "strict") if schema.get(name) is not None}
        said["response_format"] = {"type": "json_schema", "json_schema": {**named, **more}}
    if asked.get("allow_text_output") is False and asked.get("output_tools"):
        said["tool_choice"] = "required"
    return said


def _tools(known: Attributes) -> list[Any]:
    if found := unpacked(known.get("gen_ai.tool.definitions")):
        if not isinstance(found, list):
            raise BadInput("its tools are no list; were they cut off? See OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT")
        return found
    asked = as_object(unpacked(known.get("model_request_parameters")))
    kinds = (asked.get(name) for name in ("function_tools", "output_tools"))
    of_model = [tool for tools in kinds if isinstance(tools, list) for tool in tools]
    of_inference = [as_object(as_object(one).get("tool")).get("json_schema") for one in listed(known, "llm.tools")]
    return of_model or of_inference or listed(known, "llm.request.functions")


def _tool(given: Any) -> Message:
    """A tool in OpenAI's form, from any of the ways to define a function."""
    tool = as_object(unpacked(given))
    if tool.get("type") == "function" and isinstance(tool.get("function"), dict):
        return tool
    schemas = (tool.get(name) for name in ("parameters", "parameters_json_schema", "input_schema"))
    schema = next((unpacked(one) for one in schemas if one is not None), None)
    if not isinstance(tool.get("name"), str) or tool.get("type", "function") not in ("function", "custom"):
        raise BadInput("one of its tools is no function")
    function = {"name": tool["name"], "description": tool.get("description"), "parameters": schema}
    function |= {"strict": tool["strict"]} if tool.get("strict") is not None else {}
    return {"type": "function", "function": {name: value for name, value in function.items() if value is not None}}


def _response(span: Span, found: Conversation) -> Message:
    known = span.attributes
    output = as_object(unpacked(known.get("output.value")))
    model = known.get("gen_ai.response.model") or known.get("llm.model_name") or known.get("gen_ai.request.model")
    said: Message = {
        "id": clean(known.get("gen_ai.response.id")) or clean(output.get("id")) or None,
        "object": "chat.completion",
        "model": clean(model),
        "choices": [{"index": 0, "message": found.answer, "finish_reason": found.finish_reason}],
    }
    usage = usage_of(_first(known, _PROMPT), _first(known, _COMPLETION))
    cached, thought = number(_first(known, _CACHED)), number(_first(known, _REASONING))
    usage |= {"prompt_tokens_details": {"cached_tokens": cached}} if cached is not None else {}
    usage |= {"completion_tokens_details": {"reasoning_tokens": thought}} if thought is not None else {}
    return said | ({"usage": usage} if usage else {})


def _first(known: Attributes, names: Sequence[str]) -> Any:
    return next((known[name] for name in names if name in known), None)


def _status(span: Span) -> int:
    status = number(_first(span.attributes, ("http.response.status_code", "http.status_code")))
    return status if status is not None and 400 <= status <= 599 else 502


def _first_ms(span: Span) -> float:
    at = next((event.at for event in span.events if event.name == _FIRST), 0.0)
    return max(0.0, (at - span.start) * 1000) if at else 0.0


class _Names(NamedTuple):
    trajectory: str
    parent: str
    conversation: str
    pattern: str


def _names(span: Span, around: Sequence[Span]) -> _Names:
    """The names of the call's run, its parent, its conversation and its kind of work; attributes of ours win."""
    own, known = _ours(span.attributes), span.attributes
    run = own.get(TRAJECTORY_KEY) or run_of(span)
    outer = next((found for one in around if (found := run_of(one)) and found != run_of(span)), "")
    conversation = next((known[name] for name in _CONVERSATIONS if known.get(name)), "")
    return _Names(
        _name(run),
        _name(own.get(PARENT_KEY) or (outer if run_of(span) else "")),
        _name(own.get(CONVERSATION_KEY) or conversation),
        _name(own.get(PATTERN_KEY) or known.get("gen_ai.agent.name")),
    )


def _ours(known: Attributes) -> Mapping[str, Any]:
    """Names that the agent gave itself, as attributes or in OpenInference's metadata."""
    return {**as_object(unpacked(known.get("metadata"))), **known}


def _name(value: Any) -> str:
    return clean(value)[:LONGEST_NAME]


def around(span: Span, by_id: Mapping[str, Span]) -> Iterator[Span]:
    """The spans that one lies in, the nearest first; `by_id` holds those that are known."""
    seen = {span.span_id}
    while (span_id := span.parent_id) in by_id and span_id not in seen:
        seen.add(span_id)
        span = by_id[span_id]
        yield span
