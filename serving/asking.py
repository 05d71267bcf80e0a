"""What a request asks of a student, and whether an answer is that: read alike whoever writes the answer."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec

from ..traffic.actions import action_of, validate_action
from ..traffic.canonical import loads
from ..traffic.errors import BadInput
from .expected import Expected, expected
from .grammar import grammar_of
from .render import CALL_OPEN, InvalidOutput, Message, parse_action
from .schemas import Limits
from .validation import check_calls, check_value, require_valid


def wanted_of(request: dict[str, Any]) -> Expected:
    """What the answer may be. Raises BadInput for fields that OpenAI's API does not have either, Uncompilable for what
    is no JSON schema."""
    return _expected(_fields(request, request.get("tools") or []))


def grammar_for_request(request: dict[str, Any], held: Sequence[Message], limits: Limits) -> str | None:
    """The grammar of its answers, made of `held`, the tools with the values that its prompt allows; None: free text.

    Raises Uncompilable for a schema that no grammar can hold it to, and as `wanted_of` does."""
    wanted = wanted_of(request)
    if not request.get("tools") and wanted.content is None:
        return None
    return _grammar(_fields(request, held), limits)


def read_text(text: str, tools: Sequence[Message], wanted: Expected) -> Message:
    """The message in a student's text. Raises InvalidOutput, with the text, where it is none that is wanted."""
    try:
        if wanted.content is not None and not text.lstrip().startswith(CALL_OPEN):
            check_value(_json(text), wanted.content)
            message: Message = {"role": "assistant", "content": text.strip()}
        else:
            message = parse_action(text, tools)
        _check(message, tools, wanted)
    except InvalidOutput as error:
        raise InvalidOutput(error.reason, text) from None
    return message


def check_message(message: Message, tools: Sequence[Message], wanted: Expected) -> None:
    """Raises InvalidOutput where an assistant message, written elsewhere, is none of those that are wanted."""
    if reason := validate_action(action_of(message), list(tools)):
        raise InvalidOutput(reason)
    if wanted.content is not None and not message.get("tool_calls"):
        check_value(_json(message.get("content") or ""), wanted.content)
    _check(message, tools, wanted)


def asked_tokens(request: dict[str, Any], limit: int) -> int:
    """The longest answer, in tokens: what the request says, at most the limit."""
    asked = request.get("max_completion_tokens") or request.get("max_tokens")
    return min(asked, limit) if isinstance(asked, int) and asked > 0 else limit


def stops(stop: Any) -> list[str]:
    """The texts that end the answer."""
    found = [stop] if isinstance(stop, str) else stop or []
    return [text for text in found if isinstance(text, str) and text]


def usage_of(prompt: int, completion: int, cached: int) -> dict[str, Any]:
    """Token counts of OpenAI's form."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def _check(message: Message, tools: Sequence[Message], wanted: Expected) -> None:
    check_calls(message.get("tool_calls") or (), tools)
    if reason := wanted.breach(message):
        raise InvalidOutput(reason)


def _json(text: str) -> Any:
    try:
        return loads(text)
    except BadInput:
        raise InvalidOutput("bad_json") from None


def _fields(request: dict[str, Any], tools: Sequence[Message]) -> bytes:
    parallel = request.get("parallel_tool_calls") is not False
    try:
        return msgspec.json.encode((tools, request.get("tool_choice"), parallel, request.get("response_format")))
    except UnicodeEncodeError:
        raise BadInput("The tools hold characters that are none (lone surrogates).") from None


@lru_cache(maxsize=256)
def _expected(fields: bytes) -> Expected:
    wanted = expected(*msgspec.json.decode(fields))
    for tool in wanted.tools:
        require_valid(tool["function"]["name"], tool["function"].get("parameters") or {})
    if wanted.content is not None:
        require_valid("response_format", wanted.content)
    return wanted


@lru_cache(maxsize=256)
def _grammar(fields: bytes, limits: Limits) -> str:
    return grammar_of(expected(*msgspec.json.decode(fields)), limits)
