"""OpenAI's chat completions on the wire: what a request must be, and the form of answers and errors."""

import logging
import math
import secrets
import time
from contextlib import suppress
from typing import Any

from starlette.responses import JSONResponse, Response

from ..traffic.canonical import loads
from ..traffic.errors import BadInput, UnknownName
from ..traffic.sse import frames_of
from .engine import ContextTooLong, EngineError
from .render import InvalidOutput
from .sag import Undecided
from .schedule import QueueFull
from .schemas import Uncompilable
from .student import Answer

_REFUSED = ("logprobs", "top_logprobs", "audio", "functions", "function_call", "prediction", "web_search_options")
PATTERN_HEADER = "x-tutelage-pattern"
"""Pattern id of the call, as the proxy knows it."""
COPY_HEADER = "x-tutelage-copy"
"""Set where the answer is compared and never served: it may be as unsure as it is."""
_log = logging.getLogger(__name__)


class Refused(Exception):
    """A call that gets an error of OpenAI's form."""

    def __init__(self, status: int, code: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.status, self.code, self.details = status, code, details

    def response(self) -> Response:
        """The error as it goes out; who comes too early is told when to come back."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        error = {"message": str(self), "type": kind, "param": None, "code": self.code, **self.details}
        return JSONResponse({"error": error}, self.status, {"retry-after": "1"} if self.status == 429 else None)


def checked(raw: bytes) -> dict[str, Any]:
    """The request, with `model` and `messages` as they must be. Raises Refused for what no student can do."""
    try:
        body = loads(raw)
    except BadInput as error:
        raise Refused(400, "invalid_json", str(error)) from error
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        raise Refused(400, "invalid_request", "Expected a JSON object with `model` and `messages`.")
    messages, tools = body.get("messages"), body.get("tools") or []
    if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
        raise Refused(400, "invalid_request", "Expected `messages`: a list of at least one message.")
    if not isinstance(tools, list) or not all(map(_is_function, tools)):
        raise Refused(400, "unsupported_content", "A student uses function tools only.")
    if body.get("n") not in (None, 1):
        raise Refused(400, "unsupported_content", f"A student gives one answer; `n` must be 1, not {body['n']!r:.20}.")
    for field in _REFUSED:
        if body.get(field):
            raise Refused(400, "unsupported_content", f"A student does not know `{field}`.")
    _check_limits(body)
    return body


def _is_function(tool: Any) -> bool:
    return (
        isinstance(tool, dict) and tool.get("type", "function") == "function" and isinstance(tool.get("function"), dict)
    )


def _check_limits(body: dict[str, Any]) -> None:
    for field in ("max_tokens", "max_completion_tokens"):
        limit = body.get(field)
        if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
            raise Refused(400, "invalid_request", f"Expected `{field}` of at least 1, not {limit!r:.20}.")
    stop = body.get("stop")
    stops = [stop] if isinstance(stop, str) else stop or []
    if not isinstance(stops, list) or not all(isinstance(text, str) for text in stops):
        raise Refused(400, "invalid_request", "Expected `stop`: a string or a list of strings.")


def refusal(error: Exception) -> Refused:
    """The error that a failed call gets."""
    match error:
        case Refused():
            return error
        case QueueFull():
            return Refused(429, "queue_full", "All slots are busy and the queue is full; try again later.")
        case UnknownName():
            return Refused(404, "model_not_found", str(error))
        case InvalidOutput():
            message = f"The student's answer is not a valid action: {error.reason}."
            return Refused(422, "invalid_output", message, reason=error.reason, output=error.text[:4000])
        case Undecided():
            return Refused(422, "low_confidence", str(error), share=error.share)
        case ContextTooLong():
            return Refused(400, "context_length_exceeded", str(error))
        case Uncompilable():
            return Refused(400, "schema_unsupported", str(error))
        case BadInput():
            return Refused(400, "unsupported_content", str(error))
        case EngineError():
            return Refused(500, "engine_error", str(error))
    _log.error("A call failed in the student server.", exc_info=error)
    return Refused(500, "internal_error", "The student server failed; its log says why.")


def time_limit(header: str | None, longest: float) -> float:
    """Seconds that a call may take: what its `x-tutelage-timeout-ms` says, at most `longest`."""
    with suppress(ValueError):
        asked = float(header or "nan") / 1000
        return longest if math.isnan(asked) else min(longest, max(0.0, asked))
    return longest


def response(body: dict[str, Any], answer: Answer) -> Response:
    """A finished answer, as JSON or as the events of a stream."""
    completion = {
        "id": f"chatcmpl-{secrets.token_hex(12)}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body["model"],
        "choices": [{"index": 0, "message": answer.message, "logprobs": None, "finish_reason": answer.finish}],
        "usage": answer.usage,
    }
    headers = _confidence(answer)
    if not body.get("stream"):
        return JSONResponse(completion, headers=headers)
    options = body.get("stream_options")
    include_usage = bool(isinstance(options, dict) and options.get("include_usage"))
    return Response(b"".join(frames_of(completion, include_usage)), media_type="text/event-stream", headers=headers)


def _confidence(answer: Answer) -> dict[str, str]:
    """How sure the student is: the score that thresholds look at, and what else is known."""
    told = {"confidence": answer.score, "lowest": answer.min_logprob, "probability": answer.probability}
    return {
        f"x-tutelage-{name}": f"{value:.6f}"
        for name, value in told.items()
        if value is not None and not math.isnan(value)
    }
