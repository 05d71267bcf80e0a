"""What a log of another program says of one call, and the call record that is made of it.

A record's id is a hash over the form of the log and what names the call in it, so importing a file again, or another
file with the same calls in it, gives the same ids. Imported calls have a caller of their own, one for each form: their
runs are never taken for continuations of the agents' own.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, NamedTuple
from uuid import UUID

from .answers import as_object, clean, dump, number
from .canonical import loads
from .errors import BadInput
from .records import CallRecord

Message = dict[str, Any]
_OWN_TO_PROVIDERS = ("provider_specific_fields",)
"""Members that LiteLLM adds to answers and that agents do not send back."""


class Skip(NamedTuple):
    """Why a row, or a part of it, is not imported."""

    reason: str


@dataclass(frozen=True)
class Exchange:
    """One call of a foreign log."""

    request: Message
    """Body of the request, with `messages`."""
    answer: Message | None
    """The assistant's message; None when there was none."""
    key: str = ""
    """What names the call in its log; empty: its content does."""
    at: float = 0.0
    """Start, Unix seconds; 0 when the log does not say."""
    finish_reason: str = ""
    model: str = ""
    """The model that answered."""
    usage: Message = field(default_factory=dict)
    """As in OpenAI's answers."""
    upstream_id: str = ""
    status: int = 200
    error: str = ""
    """The provider's message when the call failed."""
    latency_ms: float = 0.0
    first_byte_ms: float = 0.0
    session: str = ""
    """What the log calls the session or the trace."""


Reading = Iterator[Exchange | Skip]


def call_id_of(form: str, key: str) -> str:
    """A UUIDv8 (RFC 9562) that stands for a call of a log."""
    digest = blake2b(f"{form}\0{key}".encode("utf-8", "backslashreplace"), digest_size=16).digest()
    bits = int.from_bytes(digest)
    bits = bits & ~(0xF << 76) | (8 << 76)
    return str(UUID(int=bits & ~(3 << 62) | (2 << 62)))


def record_of(form: str, key: str, at: float, call: Exchange) -> CallRecord:
    """The record of a call that began `at` (Unix seconds)."""
    body: Message
    if call.answer is not None:
        finish = call.finish_reason or ("tool_calls" if call.answer.get("tool_calls") else "stop")
        choice = {"index": 0, "message": call.answer, "finish_reason": finish}
        body = {"id": call.upstream_id or None, "object": "chat.completion", "model": call.model, "choices": [choice]}
        body |= {"usage": call.usage} if call.usage else {}
    else:
        body = {"error": {"message": call.error or "no answer was logged", "code": None}}
    session = blake2b(call.session.encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()
    return CallRecord(
        call_id=call_id_of(form, key),
        started_at=at,
        caller=f"import:{form}",
        reason="imported",
        session=session if call.session else "",
        status=call.status,
        first_byte_ms=call.first_byte_ms,
        latency_ms=call.latency_ms,
        request=dump(call.request).encode(),
        response=dump(body).encode(),
        response_type="application/json",
    )


def request_of(messages: Any, **fields: Any) -> Message:
    """A request body of messages and what else is known (None: not). Raises BadInput when there are no messages."""
    messages = unpacked(messages)
    if isinstance(messages, str) and messages:
        messages = [{"role": "user", "content": messages}]
    if not isinstance(messages, list) or not messages:
        raise BadInput("no messages")
    if not all(isinstance(message, dict) and isinstance(message.get("role"), str) for message in messages):
        raise BadInput("a message is no object with a role")
    known = {name: value for name, value in fields.items() if value is not None}
    return {**known, "messages": [tidy(message) for message in messages]}


def answer_of(value: Any) -> Message | None:
    """The assistant's message in any of the ways to log it: a message, a completion, a list of one, a text."""
    value = unpacked(value)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict) and isinstance(value.get("choices"), list) and value["choices"]:
        value = as_object(value["choices"][0]).get("message")
    if isinstance(value, str) and value:
        return {"role": "assistant", "content": value}
    if not isinstance(value, dict) or not (value.get("content") or value.get("tool_calls") or value.get("refusal")):
        return None
    return tidy({"role": "assistant", **value}) if value.get("role", "assistant") == "assistant" else None


def tidy(message: Message) -> Message:
    """The message without what logs add to it."""
    return {name: value for name, value in message.items() if name not in _OWN_TO_PROVIDERS and value is not None}


def unpacked(value: Any) -> Any:
    """The value, decoded when it is the JSON text of a list or an object."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return loads(value)
        except BadInput:
            pass
    return value


def usage_of(prompt: Any, completion: Any) -> Message:
    """A usage object; empty when neither count is known."""
    counts = {"prompt_tokens": _count(prompt), "completion_tokens": _count(completion)}
    known = {name: value for name, value in counts.items() if value is not None}
    return known | {"total_tokens": sum(known.values())} if known else {}


def _count(value: Any) -> int | None:
    return number(int(value)) if isinstance(value, float) and value.is_integer() else number(value)


def moment(value: Any) -> float:
    """Unix seconds of a number (milliseconds are told by their size) or an ISO text; 0 for anything else."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            try:
                parsed = datetime.fromisoformat(value.strip())
            except ValueError:
                return 0.0
            value = (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e14 or math.isnan(value):
        return 0.0
    return float(value) / 1000 if value > 1e11 else float(value)


def span_ms(begin: Any, end: Any) -> float:
    """Milliseconds between two moments; 0 when one is unknown."""
    first, last = moment(begin), moment(end)
    return max(0.0, (last - first) * 1000) if first and last else 0.0


def text(value: Any) -> str:
    """A text that a database can hold; empty for what is none."""
    return clean(value) if isinstance(value, str) else str(value) if type(value) is int else ""
