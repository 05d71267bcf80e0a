"""The teacher of the conformance tests: a real HTTP server that answers by looking at the request.

A header `x-script` names an answer given byte by byte (`play`). Otherwise the path decides, and in a chat the last user
message may ask for trouble: `fail 429`, `fail 500 twice` (until the client's second retry), `break`, `sleep`.
"""

import asyncio
import itertools
import json
import re
from collections.abc import Callable
from typing import Any

from conformance import protocols
from conformance.mind import completion, said_last
from conformance.wire import Seen, Step, WireServer, chunked, whole

Json = dict[str, Any]
MODELS = ("gpt-conformance", "gpt-other")
LIMITS = (
    ("x-ratelimit-limit-requests", "500"),
    ("x-ratelimit-remaining-tokens", "149984"),
    ("x-ratelimit-reset-requests", "120ms"),
    ("openai-processing-ms", "17"),
    ("openai-version", "2020-10-01"),
    ("openai-organization", "org-conformance"),
)
_REASONS = {
    400: ("Bad Request", "invalid_request_error", "bad_value"),
    401: ("Unauthorized", "invalid_request_error", "invalid_api_key"),
    403: ("Forbidden", "permission_error", "no_access"),
    404: ("Not Found", "invalid_request_error", "model_not_found"),
    409: ("Conflict", "conflict_error", "conflict"),
    422: ("Unprocessable Entity", "invalid_request_error", "unprocessable"),
    429: ("Too Many Requests", "tokens", "rate_limit_exceeded"),
    500: ("Internal Server Error", "server_error", "server_error"),
    503: ("Service Unavailable", "server_error", "overloaded"),
}
_TROUBLE = re.compile(r"fail (\d{3})( twice| stubborn)?")
_ENDPOINTS: dict[str, tuple[Callable[[Json], Json], Callable[[Json], list[bytes]] | None]] = {
    "/v1/chat/completions": (completion, protocols.chat_frames),
    "/v1/completions": (protocols.text_completion, protocols.completion_frames),
    "/v1/embeddings": (protocols.embeddings, None),
    "/v1/responses": (protocols.response, protocols.response_frames),
    "/v1/messages": (protocols.message, protocols.message_frames),
}


class Teacher(WireServer):
    """See the module's text."""

    def __init__(self) -> None:
        super().__init__(self._steps)
        self._scripts: dict[str, list[Step]] = {}
        self._names = itertools.count()

    @property
    def url(self) -> str:
        """Its base URL, with `/v1`."""
        return f"http://127.0.0.1:{self.port}/v1"

    def play(self, steps: list[Step]) -> str:
        """Keep an answer; requests with the returned value in `x-script` get it."""
        name = f"script-{next(self._names)}"
        self._scripts[name] = steps
        return name

    async def _steps(self, seen: Seen) -> list[Step]:
        if script := seen.get("x-script"):
            return self._scripts[script]
        request_id = ("x-request-id", f"req_{len(seen.body)}")
        path = seen.target.partition("?")[0]
        if seen.method == "GET":
            return _models(path, request_id)
        if path not in _ENDPOINTS:
            return _failure(404, request_id)
        body = json.loads(seen.body)
        if path.endswith("/chat/completions"):
            text = said_last(body["messages"])
            if (trouble := _TROUBLE.search(text)) and _is_due(trouble, seen):
                return _failure(int(trouble.group(1)), request_id, stubborn=trouble.group(2) == " stubborn")
            if text == "sleep":
                await asyncio.sleep(30)
            if text == "break":
                return _broken(body, request_id)
        answer, frames = _ENDPOINTS[path]
        if body.get("stream") and frames:
            return chunked(frames(body), request_id, *LIMITS)
        return whole("200 OK", json.dumps(answer(body), ensure_ascii=False).encode(), request_id, *LIMITS)


def _is_due(trouble: re.Match[str], seen: Seen) -> bool:
    return trouble.group(2) != " twice" or int(seen.get("x-stainless-retry-count") or 0) < 2


def _failure(status: int, request_id: tuple[str, str], stubborn: bool = False) -> list[Step]:
    reason, kind, code = _REASONS[status]
    error = {"message": f"The teacher says {status}: naïve ☃", "type": kind, "param": "messages[0]", "code": code}
    headers = [request_id, *LIMITS]
    if status >= 429:
        headers += [("retry-after", "1"), ("retry-after-ms", "20")]
    if stubborn:
        headers.append(("x-should-retry", "false"))
    return whole(f"{status} {reason}", json.dumps({"error": error}, ensure_ascii=False).encode(), *headers)


def _broken(body: Json, request_id: tuple[str, str]) -> list[Step]:
    error = {"error": {"message": "The engine failed", "type": "server_error", "param": None, "code": "engine_failed"}}
    return chunked([*protocols.chat_frames(body)[:3], protocols.frame(error)], request_id)


def _models(path: str, request_id: tuple[str, str]) -> list[Step]:
    listed = protocols.models(*MODELS)
    name = path.removeprefix("/v1/models").strip("/")
    if not name:
        return whole("200 OK", json.dumps(listed).encode(), request_id)
    found = [model for model in listed["data"] if model["id"] == name]
    return whole("200 OK", json.dumps(found[0]).encode(), request_id) if found else _failure(404, request_id)
