"""One call of LiteLLM, as its callbacks tell it, in the form of `POST /v1/tutelage/records`. Pure, and without LiteLLM.

Two things are told: the `StandardLoggingPayload`, and (by LiteLLM's proxy) the request as the agent sent it. The
request is taken from the latter where there is one, for the payload has it in the words of the provider. What LiteLLM
was told not to log (`turn_off_message_logging`) is not recorded either. Keys, addresses and settings of LiteLLM stay
out.
"""

from collections.abc import Mapping
from typing import Any

from ..traffic import import_litellm
from ..traffic.answers import as_object
from ..traffic.errors import BadInput
from ..traffic.imported import Exchange, Skip, tidy
from ..traffic.openai_form import parameters_of
from .tags import CONVERSATION, PARENT, PATTERN, TRAJECTORY, name_of

Json = dict[str, Any]
ENDPOINT = "/v1/chat/completions"
_NAMES = {"trajectory": TRAJECTORY, "parent": PARENT, "conversation": CONVERSATION, "pattern": PATTERN}
_CALL_ID = "llm_provider-x-tutelage-call-id"
"""LiteLLM keeps a provider's headers under this prefix."""
_USAGE = ("_tokens", "_tokens_details")
"""Ends of the names in OpenAI's usage; the others are LiteLLM's own."""
PROXIED = Skip("it went through Tutelage, which has its own record of it")


def logged_of(told: Mapping[str, Any], answer: Any = None) -> Json | Skip:
    """The record of a call, or why there is none.

    told: the `kwargs` of a callback. answer: its `response_obj`, of which only the provider's headers are read.
    """
    payload = as_object(told.get("standard_logging_object"))
    if not payload:
        return Skip("LiteLLM has no standard logging payload of it")
    if _CALL_ID in _headers(payload, answer):
        return PROXIED
    litellm = as_object(told.get("litellm_params"))
    asked = as_object(litellm.get("proxy_server_request"))
    body = as_object(asked.get("body"))
    proxied = isinstance(body.get("messages"), list)
    given = body if proxied else {**as_object(payload.get("model_parameters")), "model": payload.get("model")}
    request: Json = {"model": str(given.get("model") or ""), **parameters_of(given)}
    request |= {name: given[name] for name in ("tools", "tool_choice") if given.get(name)}
    if not all(_is_plain(tool) for tool in request.get("tools") or ()):
        return Skip("its tools are no functions in OpenAI's form")
    found = _exchange({**payload, "model_parameters": {}})
    if isinstance(found, Skip):
        return found
    request["messages"] = _messages(body["messages"]) if proxied else found.request["messages"]
    metadata = _metadata(payload)
    request.pop("metadata", None)
    if metadata:
        request["metadata"] = metadata
    return _record(payload, found, request) | _named(as_object(asked.get("headers")), metadata, litellm)


def _messages(messages: list[Any]) -> list[Any]:
    return [tidy(message) if isinstance(message, dict) else message for message in messages]


def _metadata(payload: Json) -> Json:
    """What the agent sent as `metadata`. LiteLLM adds its own (headers!), but OpenAI knows only texts there."""
    known = as_object(as_object(payload.get("metadata")).get("requester_metadata"))
    return {name: value for name, value in known.items() if isinstance(value, str)}


def _exchange(payload: Json) -> Exchange | Skip:
    try:
        [found] = import_litellm.read(payload)
    except BadInput as error:
        return Skip(str(error))
    return found


def _record(payload: Json, found: Exchange, request: Json) -> Json:
    said: Json = {
        "id": str(payload.get("litellm_call_id") or found.key),
        "started_at": found.at,
        "endpoint": ENDPOINT,
        "latency_ms": found.latency_ms,
        "stream": payload.get("stream") is True,
        "first_byte_ms": found.first_byte_ms,
        "request": request,
        "status": found.status,
    }
    if found.answer is None:
        return said | {"error": found.error[:200] or "no_answer_recorded"}
    choice = {"index": 0, "message": found.answer, "finish_reason": found.finish_reason or None}
    counted = as_object(as_object(payload.get("response")).get("usage"))
    usage = {name: count for name, count in counted.items() if count is not None and name.endswith(_USAGE)}
    response = {"id": found.upstream_id or None, "object": "chat.completion", "model": found.model}
    return said | {"response": {**response, "choices": [choice], "usage": usage or found.usage}}


def _named(headers: Mapping[str, Any], metadata: Json, litellm: Mapping[str, Any]) -> Json:
    """The names of the run: in our headers; what LiteLLM calls a session is a conversation."""
    spelled = {str(name).lower(): value for name, value in headers.items()}
    found = {field: name_of(spelled.get(header) or "") for field, header in _NAMES.items()}
    session = litellm.get("litellm_session_id") or metadata.get("session_id") or ""
    if not found["conversation"] and "tutelage_conversation" not in metadata:
        found["conversation"] = name_of(session)
    return found


def _headers(payload: Json, answer: Any) -> Mapping[str, Any]:
    """The provider's headers, wherever this version of LiteLLM keeps them."""
    own = as_object(getattr(answer, "_hidden_params", None))
    kept = as_object(payload.get("hidden_params"))
    return {**as_object(kept.get("additional_headers")), **as_object(own.get("additional_headers"))}


def _is_plain(tool: Any) -> bool:
    return as_object(tool).get("type") == "function" and bool(as_object(tool.get("function")).get("name"))
