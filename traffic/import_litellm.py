"""LiteLLM's `StandardLoggingPayload`, one JSON object a line, as its file, S3 and GCS loggers write it."""

from typing import Any

from .answers import as_object
from .imported import Exchange, Message, Reading, Skip, answer_of, moment, request_of, span_ms, text, unpacked, usage_of

_CHAT = ("completion", "acompletion", "")
_REDACTED = "redacted-by-litellm"


def looks_like(row: Message) -> bool:
    """Whether a row has this form."""
    return "litellm_call_id" in row or ("model_parameters" in row and "startTime" in row)


def read(row: Message) -> Reading:
    """The call of one payload. Raises BadInput when it has no messages."""
    kind = text(row.get("call_type"))
    if kind not in _CHAT:
        yield Skip(f"a {kind}, which is no chat completion")
        return
    parameters = {name: value for name, value in as_object(unpacked(row.get("model_parameters"))).items() if value}
    parameters = {name: value for name, value in parameters.items() if name not in ("messages", "model")}
    request = request_of(row.get("messages"), model=row.get("model_group") or row.get("model"), **parameters)
    if any(message.get("content") == _REDACTED for message in request["messages"]):
        yield Skip("its messages were redacted by LiteLLM")
        return
    response = as_object(unpacked(row.get("response")))
    answer = None if row.get("status") == "failure" else answer_of(row.get("response"))
    yield Exchange(
        request,
        answer,
        key=text(row.get("id")) or text(row.get("litellm_call_id")),
        at=moment(row.get("startTime")),
        finish_reason=_finish(response),
        model=text(response.get("model")) or text(row.get("model")),
        usage=usage_of(row.get("prompt_tokens"), row.get("completion_tokens")),
        upstream_id=text(response.get("id")),
        status=200 if answer else _status(row),
        error=text(row.get("error_str"))[:2_000],
        latency_ms=span_ms(row.get("startTime"), row.get("endTime")),
        first_byte_ms=span_ms(row.get("startTime"), row.get("completionStartTime")),
        session=text(row.get("session_id")) or text(row.get("trace_id")),
    )


def _finish(response: Message) -> str:
    choices = response.get("choices")
    return text(as_object(choices[0]).get("finish_reason")) if isinstance(choices, list) and choices else ""


def _status(row: Message) -> int:
    """HTTP status of a failed call: what LiteLLM noted, else 500."""
    code: Any = as_object(row.get("error_information")).get("error_code")
    return int(code) if str(code).isdecimal() and 400 <= int(code) <= 599 else 500
