"""What a response says: the assistant's message, how it ended, what it cost; from plain bodies and event streams.

A message counts as the answer only when it is whole: a stream that broke off before its finish reason has none, since
nobody can continue from it and no student may learn from it. Nothing in a response can make this fail.
"""

import json
from dataclasses import dataclass
from typing import Any

from .canonical import loads
from .errors import BadInput
from .records import CallRecord
from .sse import assemble_chat

Message = dict[str, Any]


@dataclass(slots=True)
class Answer:
    """What a response body says."""

    message: Message | None = None
    """The whole assistant message of the first choice; None when there is none or it was cut off."""
    finish_reason: str = ""
    model: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    error: str = ""
    keep_raw: bool = False
    """The body says more than this object can: store its bytes."""


def answer_of_record(record: CallRecord) -> Answer:
    """Read the response of a chat call. What is not the whole answer of one choice is marked to be kept raw."""
    if not record.response:
        return Answer(error="" if record.cancelled or record.error else "empty_response")
    try:
        body = _response(record)
        answer = _answer(body, record) if isinstance(body, dict) else Answer(error="unreadable_response", keep_raw=True)
    except (BadInput, ValueError, TypeError, KeyError, RecursionError):
        answer = Answer(error="unreadable_response", keep_raw=True)
    if record.status >= 400 and not answer.error:
        answer.error = f"http_{record.status}"
    return answer


def _response(record: CallRecord) -> Any:
    streamed = "event-stream" in record.response_type or record.response[:5] == b"data:"
    return assemble_chat(record.response) if streamed else loads(record.response)


def _answer(body: Message, record: CallRecord) -> Answer:
    if body.get("error"):
        return Answer(error=_error_code(body["error"], record.status), keep_raw=True)
    choices = [choice for choice in body.get("choices") or [] if isinstance(choice, dict)]
    if record.status >= 400 or not choices:
        return Answer(error="no_choices" if record.status < 400 else "", keep_raw=True)
    message, finish = _message(choices[0]), clean(choices[0].get("finish_reason"))
    whole = message is not None and bool(finish or not (record.stream or record.cancelled))
    usage = _object(body.get("usage"))
    return Answer(
        message=message if whole else None,
        finish_reason=finish,
        model=clean(body.get("model")),
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        cached_tokens=_count(_object(usage.get("prompt_tokens_details")).get("cached_tokens")),
        error="" if whole or record.cancelled else "incomplete",
        keep_raw=len(choices) > 1 or not whole,
    )


def _error_code(error: Any, status: int) -> str:
    code = (error.get("code") or error.get("type")) if isinstance(error, dict) else None
    return clean(str(code))[:80] if code else f"http_{status}"


def dump(value: Any) -> str:
    """JSON text of any value that `loads` can give, which `loads` reads back: also NaN, infinity and huge integers.

    Lone surrogates, which no database holds, come out as escapes.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"))
    return text


def clean(value: Any) -> str:
    """The text with lone surrogates replaced, so that a database can hold it; empty for what is no text."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _message(choice: Message) -> Message | None:
    message = choice.get("message")
    return message if isinstance(message, dict) else None


def _object(value: Any) -> Message:
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 2**63 else None
