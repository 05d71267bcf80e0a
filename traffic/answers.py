"""What a response says: the assistant's message, how it ended, what it cost; from plain bodies and event streams.

A message counts as the answer only when it is whole: a stream that broke off before its finish reason has none, since
nobody can continue from it and no student may learn from it. Nothing in a response can make this fail.

Protocols differ in words only: each has a function that puts its event stream together and one that reads the body.
Finish reasons are given in OpenAI's words (`stop`, `length`, `tool_calls`, `content_filter`), counts as OpenAI counts:
prompt tokens include those that came from a cache.
"""

import json
from collections.abc import Callable
from typing import Annotated, Any

import msgspec

from .canonical import loads
from .errors import BadInput
from .records import CallRecord
from .sse import assemble_chat

Message = dict[str, Any]


class Answer(msgspec.Struct, gc=False):
    """What a response body says."""

    message: Message | None = None
    """The whole assistant message of the first choice; None when there is none or it was cut off."""
    raw: bytes = b""
    """The same as JSON text, where the body says it in one piece; `message` may be left undecoded then."""
    finish_reason: str = ""
    model: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    """Of the completion tokens those that were spent on reasoning."""
    upstream_id: str = ""
    """The name that the provider gave the answer: `chatcmpl-…`, `resp_…`, `msg_…`."""
    error: str = ""
    keep_raw: bool = False
    """The body says more than this object can: store its bytes."""

    @property
    def whole(self) -> bool:
        """Whether there is a whole message."""
        return self.message is not None or bool(self.raw)

    def said(self) -> Message | None:
        """The whole message, decoded; None when there is none."""
        return loads(self.raw) if self.message is None and self.raw else self.message


Assemble = Callable[[bytes], Message]
"""The body that an event stream spells out. Raises BadInput."""
Read = Callable[[Message, CallRecord], Answer]
"""What a body says. May raise whatever odd content leads to."""


_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""What `number` lets pass."""


class _Details(msgspec.Struct):
    cached_tokens: _Count | None = None
    reasoning_tokens: _Count | None = None


_NO_DETAILS = _Details()


class _Usage(msgspec.Struct):
    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None


class _Choice(msgspec.Struct):
    message: msgspec.Raw
    finish_reason: str | None = None


class _Completion(msgspec.Struct):
    """A `chat.completion` as almost all are: one choice, no error."""

    choices: tuple[_Choice]
    id: str | None = None
    model: str | None = None
    usage: _Usage | None = None
    error: None = None


_decode_completion = msgspec.json.Decoder(_Completion).decode


def _usual_answer(record: CallRecord) -> Answer | None:
    """The whole answer in a body that is as almost all are, its message undecoded; None for any other."""
    if record.status >= 400 or record.response[:1] != b"{":
        return None
    try:
        body = _decode_completion(record.response)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    [choice] = body.choices
    raw = bytes(choice.message)
    if raw[:1] != b"{" or not (choice.finish_reason or not (record.stream or record.cancelled)):
        return None
    answer = Answer(None, raw, choice.finish_reason or "", body.model or "")
    usage = body.usage
    if usage is not None:
        prompt, completion = usage.prompt_tokens_details or _NO_DETAILS, usage.completion_tokens_details or _NO_DETAILS
        answer.prompt_tokens, answer.completion_tokens = usage.prompt_tokens, usage.completion_tokens
        answer.cached_tokens, answer.reasoning_tokens = prompt.cached_tokens, completion.reasoning_tokens
    answer.upstream_id = body.id or ""
    return answer


def chat_answer(body: Message, record: CallRecord) -> Answer:
    """Read a `chat.completion`. What is not the whole answer of one choice is marked to be kept raw."""
    answer = Answer(model=clean(body.get("model")), upstream_id=clean(body.get("id")))
    if body.get("error"):
        return failed(answer, body["error"], record)
    choices = [choice for choice in body.get("choices") or [] if isinstance(choice, dict)]
    if record.status >= 400 or not choices:
        return Answer(error="no_choices" if record.status < 400 else "", keep_raw=True)
    count(answer, body.get("usage"), "prompt_tokens", "completion_tokens")
    message = choices[0].get("message")
    return settle(
        answer, message if isinstance(message, dict) else None, choices[0].get("finish_reason"), record, len(choices)
    )


def answer_of_record(record: CallRecord, read: Read = chat_answer, assemble: Assemble = assemble_chat) -> Answer:
    """Read the response of a call in the words of its protocol; chat completions by default. Never raises."""
    if not record.response:
        return Answer(error="" if record.cancelled or record.error else "empty_response")
    if read is chat_answer and (usual := _usual_answer(record)) is not None:
        return usual
    try:
        body = assemble(record.response) if is_stream(record) else loads(record.response)
        answer = read(body, record) if isinstance(body, dict) else Answer(error="unreadable_response", keep_raw=True)
    except (BadInput, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        answer = Answer(error="unreadable_response", keep_raw=True)
    if record.status >= 400 and not answer.error:
        answer.error = f"http_{record.status}"
    return answer


def is_stream(record: CallRecord) -> bool:
    """Whether the response is an event stream, whatever its content type says."""
    return "event-stream" in record.response_type or record.response[:5] == b"data:" or record.response[:6] == b"event:"


def settle(answer: Answer, message: Message | None, finish: Any, record: CallRecord, choices: int = 1) -> Answer:
    """Note a message and its end: the answer if it is whole, raw bytes if it is not or there are others beside it."""
    answer.finish_reason = clean(finish)
    whole = message is not None and bool(answer.finish_reason or not (record.stream or record.cancelled))
    answer.message = message if whole else None
    answer.error = answer.error or ("" if whole or record.cancelled else "incomplete")
    answer.keep_raw = choices > 1 or not whole
    return answer


def failed(answer: Answer, error: Any, record: CallRecord) -> Answer:
    """An answer that is an error object, alone or at the end of a stream; its bytes are kept."""
    answer.error, answer.keep_raw = _error_code(error, record.status), True
    return answer


def count(answer: Answer, usage: Any, prompt: str, completion: str) -> None:
    """Note the tokens of a usage object by its protocol's names, `prompt_tokens` or `input_tokens`."""
    usage = as_object(usage)
    answer.prompt_tokens, answer.completion_tokens = number(usage.get(prompt)), number(usage.get(completion))
    answer.cached_tokens = number(as_object(usage.get(f"{prompt}_details")).get("cached_tokens"))
    answer.reasoning_tokens = number(as_object(usage.get(f"{completion}_details")).get("reasoning_tokens"))


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


def as_object(value: Any) -> Message:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def number(value: Any) -> int | None:
    """The value if it is a count that a database can hold."""
    return value if type(value) is int and 0 <= value < 2**63 else None
