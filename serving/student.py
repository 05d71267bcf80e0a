"""A student version that answers requests: render, write under the grammar, parse, check.

The same object serves agents and is scored by the evaluation, so that a score speaks about what is served. It writes
greedily whatever temperature the request asks for: an action is compared with the teacher's, not sampled for variety.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec

from ..traffic.students import Manifest, PromptSpec
from .engine import ContextTooLong, Engine
from .grammar import grammar_for
from .grounding import grounded
from .render import InvalidOutput, Message, parse_action, prompt_segments, token_ids

_MARGIN = 16
"""Fewest tokens of the context that must be left for an answer."""


class Cancelled(Exception):
    """The caller has gone, or its deadline has passed."""


@dataclass(frozen=True)
class Answer:
    """One answer of a student."""

    message: Message
    """Assistant message of OpenAI's form."""
    usage: dict[str, Any]
    """Token counts of OpenAI's form."""
    mean_logprob: float
    """Mean log-probability of the answer's tokens: the confidence."""
    min_logprob: float
    finish: str
    """`stop` or `tool_calls`."""


class Student:
    """A prompt form and an adapter on an engine."""

    def __init__(self, spec: PromptSpec, engine: Engine, adapter: str = "", max_tokens: int = 512) -> None:
        """`adapter` is a name that the engine has loaded; empty: the base alone."""
        self._spec, self._engine, self._adapter, self._max_tokens = spec, engine, adapter, max_tokens

    @classmethod
    def of(cls, manifest: Manifest, engine: Engine, max_tokens: int = 512) -> "Student":
        """The student of a registered version; its adapter is loaded under the version's name."""
        return cls(manifest.prompt, engine, manifest.version, max_tokens)

    def prompt_ids(self, request: dict[str, Any]) -> list[int]:
        """What the student reads for a request. Raises BadInput for content that is no text."""
        parts = prompt_segments(request["messages"], request.get("tools") or [], self._spec)
        return token_ids(parts, self._engine.tokenise)

    def answer(self, request: dict[str, Any], should_stop: Callable[[], bool] | None = None) -> Answer:
        """The answer to a chat-completions request.

        Raises InvalidOutput when what it wrote is no valid action, ContextTooLong, Cancelled when `should_stop` said
        so, BadInput for content that it cannot read."""
        tools = request.get("tools") or []
        prompt = self.prompt_ids(request)
        room = self._engine.context - len(prompt)
        if room < _MARGIN:
            raise ContextTooLong(f"The prompt has {len(prompt)} tokens, the student's context {self._engine.context}.")
        made = self._engine.generate(
            prompt,
            self._adapter,
            _grammar(grounded(request["messages"], tools, self._spec), request),
            max_tokens=min(room, _asked_tokens(request, self._max_tokens)),
            stop=_stops(request.get("stop")),
            should_stop=should_stop,
        )
        if made.finish == "cancelled":
            raise Cancelled
        if made.finish == "length":
            raise InvalidOutput("length", made.text)
        message = _parsed(made.text, tools)
        usage = _usage(len(prompt), made.token_count, made.cached_tokens)
        finish = "tool_calls" if message.get("tool_calls") else "stop"
        return Answer(message, usage, made.mean_logprob, made.min_logprob, finish)


def _parsed(text: str, tools: Sequence[Message]) -> Message:
    try:
        return parse_action(text, tools)
    except InvalidOutput as error:
        raise InvalidOutput(error.reason, text) from None


def _grammar(tools: Sequence[Message], request: dict[str, Any]) -> str | None:
    if not tools:
        return None
    parallel = request.get("parallel_tool_calls") is not False
    return _grammar_of(msgspec.json.encode(tools), msgspec.json.encode(request.get("tool_choice")), parallel)


@lru_cache(maxsize=256)
def _grammar_of(tools: bytes, choice: bytes, parallel: bool) -> str | None:
    return grammar_for(msgspec.json.decode(tools), msgspec.json.decode(choice), parallel)


def _asked_tokens(request: dict[str, Any], limit: int) -> int:
    asked = request.get("max_completion_tokens") or request.get("max_tokens")
    return min(asked, limit) if isinstance(asked, int) and asked > 0 else limit


def _stops(stop: Any) -> list[str]:
    found = [stop] if isinstance(stop, str) else stop or []
    return [text for text in found if isinstance(text, str) and text]


def _usage(prompt: int, completion: int, cached: int) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
    }
