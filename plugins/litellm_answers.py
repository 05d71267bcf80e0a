"""OpenAI's form on one side, LiteLLM's library on the other: arguments, answers, streams and errors, all pure.

An agent's body never becomes keyword arguments as it is: LiteLLM takes hundreds of settings of its own there
(`api_base`, `extra_headers`, `vertex_credentials`, …), and whoever could set them could send the operator's key to
another server. So only fields are passed on that are known to shape the answer; any other is refused by its name.
"""

import base64
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ..traffic.errors import BadInput

Body = dict[str, Any]
_CHAT = frozenset(
    (
        "messages",
        "functions",
        "function_call",
        "temperature",
        "top_p",
        "n",
        "stream",
        "stream_options",
        "stop",
        "max_tokens",
        "max_completion_tokens",
        "modalities",
        "prediction",
        "audio",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "user",
        "response_format",
        "seed",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "logprobs",
        "top_logprobs",
        "reasoning_effort",
        "verbosity",
        "safety_identifier",
        "service_tier",
        "prompt_cache_key",
        "thinking",
        "web_search_options",
    )
)
# Not of OpenAI's API, but what providers' own are asked with.
_PROVIDERS_OWN = frozenset(
    (
        "cache_control",
        "cached_content",
        "chat_template_kwargs",
        "container",
        "context_management",
        "do_sample",
        "min_p",
        "min_tokens",
        "output_config",
        "random_seed",
        "reasoning",
        "reasoning_budget",
        "repeat_penalty",
        "repetition_penalty",
        "safe_prompt",
        "safety_settings",
        "search_domain_filter",
        "stop_sequences",
        "think",
        "top_a",
        "top_k",
        "typical_p",
    )
)
_EMBEDDINGS = frozenset(("input", "dimensions", "user", "input_type", "task_type", "truncate"))
_NOT_SENT = frozenset(("model", "metadata", "store", "encoding_format"))
"""`model` is chosen here, `metadata` and `store` are for OpenAI's own shelf, `encoding_format` is done here."""
_RELAYED = re.compile(r"retry-after(-ms)?|x-should-retry|x-ratelimit-.*|anthropic-ratelimit-.*|request-id|x-request-id")
_PROVIDERS = "llm_provider-"
"""What LiteLLM puts before a provider's response headers."""
_STATUSES = {"APIConnectionError": 502, "Timeout": 504}
"""LiteLLM calls them 500 and 408; to an agent this is a gateway, and both come from behind it."""
_CODES = {
    "APIConnectionError": "upstream_unreachable",
    "AuthenticationError": "invalid_api_key",
    "ContentPolicyViolationError": "content_policy_violation",
    "ContextWindowExceededError": "context_length_exceeded",
    "NotFoundError": "model_not_found",
    "RateLimitError": "rate_limit_exceeded",
    "Timeout": "upstream_timeout",
    "UnsupportedParamsError": "unsupported_parameter",
}
_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
_STACK = re.compile(r"\s*\nTraceback \(most recent call last\)|\s*\nThis looks like a bug in LiteLLM")
_SECRET_NAMES = re.compile(r"(?i)(key|token|secret|password|credentials?)$")


@dataclass(frozen=True)
class Failure:
    """An error of OpenAI's form."""

    status: int
    code: str
    message: str
    headers: dict[str, str] = field(default_factory=dict)

    def body(self) -> bytes:
        """The JSON of the answer."""
        fallback = "server_error" if self.status >= 500 else "invalid_request_error"
        kind = _TYPES.get(self.status, fallback)
        return _json({"error": {"message": self.message, "type": kind, "param": None, "code": self.code}})

    def frame(self) -> bytes:
        """The event that ends a stream which had begun."""
        return b"data: " + self.body() + b"\n\n"


def chat_arguments(body: Body) -> Body:
    """Arguments of `litellm.acompletion` for a chat request, beside the model. Raises BadInput for unknown fields."""
    return _arguments(body, _CHAT | _PROVIDERS_OWN)


def embedding_arguments(body: Body) -> Body:
    """Arguments of `litellm.aembedding` for a request, beside the model. Raises BadInput for unknown fields."""
    return _arguments(body, _EMBEDDINGS)


def _arguments(body: Body, known: frozenset[str]) -> Body:
    given = {name: value for name, value in body.items() if value is not None and name not in _NOT_SENT}
    unknown = [name for name in given if name not in known]
    if unknown:
        raise BadInput(
            f"The field {unknown[0]!r} cannot be passed on: this teacher is reached through LiteLLM, which might take "
            "it as a setting of its own. Leave it away."
        )
    return given


def completion(answer: Any) -> Body:
    """LiteLLM's `ModelResponse` as a chat completion."""
    made = plain(answer)
    for choice in made["choices"]:
        choice.setdefault("logprobs", None)
        choice["message"].setdefault("content", None)
    return made


def chunk(part: Any, model: str) -> Body | None:
    """One part of LiteLLM's stream as a `chat.completion.chunk` of `model`; None when it says nothing.

    The last one holds the counts and no choices, whatever version of LiteLLM made it.
    """
    made = plain(part)
    made["model"] = model
    if "usage" in made and not any(_says_something(choice) for choice in made["choices"]):
        return made | {"choices": []}
    for choice in made["choices"]:
        choice.setdefault("delta", {})
        choice.setdefault("finish_reason", None)
    return made if made["choices"] else None


def _says_something(choice: Body) -> bool:
    return bool(choice.get("finish_reason") or any(choice.get("delta", {}).values()))


def frame(made: Body) -> bytes:
    """One event of a stream."""
    return b"data: " + _json(made) + b"\n\n"


def embeddings(answer: Any, body: Body, model: str) -> Body:
    """LiteLLM's `EmbeddingResponse` in OpenAI's form, with base64 of little-endian float32 where that was asked for."""
    made = plain(answer)
    for number, item in enumerate(made["data"]):
        item.update(object="embedding", index=item.get("index", number))
        if body.get("encoding_format") == "base64" and isinstance(item["embedding"], list):
            vector = item["embedding"]
            item["embedding"] = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    return made | {"object": "list", "model": made.get("model") or model}


def plain(answer: Any) -> Body:
    """A pydantic model of LiteLLM as JSON values, without what it left empty."""
    return answer.model_dump(mode="json", exclude_none=True)


def relayed(headers: Mapping[str, Any] | None) -> dict[str, str]:
    """Of a provider's response headers, those that tell an agent when and whether to try again, and the request's id.

    LiteLLM puts a prefix before them, except for those that it has translated to OpenAI's names already.
    """
    found: dict[str, str] = {}
    for name, value in (headers or {}).items():
        name = name.lower().removeprefix(_PROVIDERS)
        if _RELAYED.fullmatch(name) and "\n" not in str(value) and "\r" not in str(value):
            found["x-request-id" if name == "request-id" else name] = str(value)
    return found


def failure(error: Exception, secrets: Iterable[str]) -> Failure:
    """What the agent is told of an exception of LiteLLM. No text in `secrets` is in it."""
    name = type(error).__name__
    status = _STATUSES.get(name) or getattr(error, "status_code", None)
    status = status if isinstance(status, int) and 400 <= status <= 599 else 500
    fallback = "upstream_error" if status >= 500 else "invalid_request"
    # LiteLLM adds its own stack to what it did not expect: that is for nobody on the other side.
    message = _STACK.split(getattr(error, "message", "") or str(error) or name)[0]
    for secret in secrets:
        message = message.replace(secret, "***")
    return Failure(status, _CODES.get(name, fallback), message, _headers_of(error))


def _headers_of(error: Exception) -> dict[str, str]:
    sources = (getattr(error, "litellm_response_headers", None), getattr(error, "headers", None))
    response = getattr(getattr(error, "response", None), "headers", None)
    merged: dict[str, str] = {}
    for source in (*sources, response):
        merged |= relayed(source if isinstance(source, Mapping) else None)
    return merged


def secrets_in(environ: Mapping[str, str], names: Iterable[str]) -> tuple[str, ...]:
    """Values of the variables `names`, and of all others whose names end like those of keys; the longest first."""
    named = set(names)
    found = {value.strip() for name, value in environ.items() if name in named or _SECRET_NAMES.search(name)}
    return tuple(sorted((value for value in found if len(value) >= 8), key=len, reverse=True))


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value)
