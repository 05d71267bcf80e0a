"""A server that knows chats only, such as Ollama or TGI: asked over OpenAI's chat completions.

It renders prompts by its own template and constrains answers as far as it can; whether what comes back may be used is
decided here (`chat_student`). What it is asked for beyond the chat itself is dropped for good once it has refused it.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from ..traffic.errors import BadInput, TutelageError
from ..traffic.sse import assemble_chat, is_complete
from .engine import ContextTooLong, EngineError
from .schedule import QueueFull

_CONNECT_S, _SILENT_S = 5.0, 60.0
_EXTRAS = ("logprobs", "stream_options", "parallel_tool_calls")
"""What an answer can be had without."""
_LATEST = ":latest"


class Refusal(EngineError):
    """The server answers with an error of its own."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status, self.message = status, message

    def is_about(self, field: str) -> bool:
        """Whether the request could not be used because of that field, by the server's own words."""
        return self.status in (400, 404, 422, 501) and field in self.message.lower()


class Completion(NamedTuple):
    """What the server answered."""

    body: dict[str, Any]
    """A chat completion of one choice at least."""
    score: float | None
    """Its `x-tutelage-confidence`, where it is a student server itself."""


class ChatEndpoint:
    """Chats of one server. Safe to call from several threads."""

    def __init__(
        self,
        base_url: str,
        models: Mapping[str, str] | None = None,
        *,
        key: str = "",
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`base_url` ends with `/v1`; `models` tells how that server calls a student version or base, where otherwise
        than here."""
        self._url, self._models = base_url.rstrip("/"), dict(models or {})
        headers = {"authorization": f"Bearer {key}"} if key else {}
        timeout = httpx.Timeout(_SILENT_S, connect=_CONNECT_S)
        self._http = httpx.Client(headers=headers, timeout=timeout, transport=transport, trust_env=False)
        # Only grows, and a call that misses an entry asks once more than it had to; so no lock.
        self._dropped: set[str] = set()

    def model_of(self, name: str) -> str:
        """How the server calls a student version or base."""
        return self._models.get(name, name)

    def set_adapters(self, adapters: Mapping[str, Path]) -> None:
        """Only what the server has can be served. Raises BadInput for a version that it has not."""
        self.require(list(adapters))

    def require(self, names: list[str]) -> None:
        """Raises BadInput where the server lists its models and has not these, TutelageError where it is silent."""
        known = self._listed()
        for name in names:
            model = self.model_of(name)
            if known is not None and model not in known and model + _LATEST not in known:
                listed = ", ".join(sorted(known)[:8]) or "none"
                raise BadInput(
                    f"{self._url} has no model {model!r}. It has: {listed}. "
                    f"Say in serving.engine_models how it calls {name!r}."
                )

    def complete(self, body: dict[str, Any], should_stop: Callable[[], bool] | None = None) -> Completion | None:
        """The chat completion to a request, asked for as a stream; None when `should_stop`, asked between its pieces,
        said so. Raises Refusal, ContextTooLong, EngineError."""
        asked = {**body, "stream": True, "stream_options": {"include_usage": True}, "logprobs": True}
        while True:
            try:
                return self._streamed({k: v for k, v in asked.items() if k not in self._dropped}, should_stop)
            except Refusal as refusal:
                odd = [name for name in _EXTRAS if name in asked and refusal.is_about(name)]
                if not odd or self._dropped.issuperset(odd):
                    raise
                self._dropped.update(odd)

    def close(self) -> None:
        """No more calls; those that run break off."""
        self._http.close()

    def _streamed(self, body: dict[str, Any], should_stop: Callable[[], bool] | None) -> Completion | None:
        try:
            with self._http.stream("POST", f"{self._url}/chat/completions", json=body) as response:
                if response.status_code != 200:
                    response.read()
                    raise _refused(response)
                pieces = []
                for piece in response.iter_bytes():
                    pieces.append(piece)
                    if should_stop and should_stop():
                        # Leaving early closes the connection, which stops the writing there.
                        return None
                return _whole(response, b"".join(pieces))
        except (httpx.HTTPError, RuntimeError) as error:
            # httpx tells a closed client by a RuntimeError.
            raise EngineError(f"{self._url} broke off: {error or type(error).__name__}") from error

    def _listed(self) -> set[str] | None:
        """The server's models; None where it has no list."""
        try:
            response = self._http.get(f"{self._url}/models")
        except httpx.HTTPError as error:
            raise TutelageError(
                f"The server at {self._url} does not answer: {error or type(error).__name__}"
            ) from error
        if response.status_code in (404, 405, 501):
            return None
        if response.status_code != 200:
            raise TutelageError(f"The server at {self._url} refuses: {_refused(response)}")
        try:
            return {str(model["id"]) for model in response.json()["data"]}
        except (ValueError, LookupError, TypeError):
            return None


def _whole(response: httpx.Response, raw: bytes) -> Completion:
    """The completion in an answer, which is a stream, or one piece where a server knows no streams."""
    try:
        streams = "event-stream" in response.headers.get("content-type", "")
        body = assemble_chat(raw) if streams else json.loads(raw)
    except (BadInput, ValueError) as error:
        raise EngineError(f"{response.url} gave no chat completion: {raw[:200]!r}") from error
    error = body.get("error") if isinstance(body, dict) else None
    if error:
        raise EngineError(str(error.get("message", error) if isinstance(error, dict) else error))
    if not isinstance(body, dict) or not body.get("choices"):
        raise EngineError(f"{response.url} gave no chat completion: {raw[:200]!r}")
    if streams and not is_complete(body):
        raise EngineError("the stream ended before the answer did")
    return Completion(body, _number(response.headers.get("x-tutelage-confidence")))


def _number(text: str | None) -> float | None:
    with suppress(ValueError):
        return float(text) if text else None
    return None


def _refused(response: httpx.Response) -> Exception:
    try:
        body = response.json()
        found = body.get("error") or body
        message = str(found.get("message") or found) if isinstance(found, dict) else str(found)
    except (ValueError, AttributeError):
        message = response.text[:300]
    if response.status_code == 429:
        return QueueFull(message)
    if response.status_code == 400 and "context length" in message.lower():
        return ContextTooLong(f"400: {message}")
    return Refusal(response.status_code, message)
