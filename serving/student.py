"""A student version that answers requests: render, write under the grammar, parse, check.

The same object serves agents and is scored by the evaluation, so that a score speaks about what is served. It writes
greedily whatever temperature the request asks for: an action is compared with the teacher's, not sampled for variety.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..traffic.calibration import Calibration
from ..traffic.students import Manifest, PromptSpec
from .asking import asked_tokens, grammar_for_request, read_text, stops, usage_of, wanted_of
from .confidence import confidence_of
from .engine import GREEDY, ContextTooLong, Engine, Generation, OneAdapterAtATime, Sampling, several
from .expected import Expected
from .grounding import grounded
from .render import InvalidOutput, Message, prompt_segments, token_ids
from .schemas import LIMITS

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
    """Mean log-probability of the action's tokens; see `confidence`. NaN where a remote server does not tell."""
    min_logprob: float
    finish: str
    """`stop` or `tool_calls`."""
    prefill_s: float = 0.0
    """Seconds until its first token."""
    decode_s: float = 0.0
    """Seconds from then to its end."""
    vote_share: float | None = None
    """Share of drawn answers that agree with this one; None: it was written once. See `sag`."""
    probability: float | None = None
    """That it is right, by the version's calibration; None without one, and where it was elected."""

    @property
    def score(self) -> float:
        """What the confidence threshold looks at: the mean log-probability, or the log of the vote share."""
        return self.mean_logprob if self.vote_share is None else math.log(self.vote_share)


class Answering(Protocol):
    """What the server needs of a student, whoever writes for it; `Student` says what it raises."""

    @property
    def lane(self) -> str: ...

    def answer(self, request: dict[str, Any], should_stop: Callable[[], bool] | None = None) -> Answer: ...

    def draw(
        self, request: dict[str, Any], count: int, sampling: Sampling, should_stop: Callable[[], bool] | None = None
    ) -> list[Answer | InvalidOutput]: ...


class Student:
    """A prompt form and an adapter on an engine."""

    limits = LIMITS
    """Where its strings and lists end when their schemas set no bounds."""

    def __init__(
        self,
        spec: PromptSpec,
        engine: Engine,
        adapter: str = "",
        max_tokens: int = 512,
        calibration: Calibration | None = None,
    ) -> None:
        """`adapter` is a name that the engine has loaded; empty: the base alone."""
        self._spec, self._engine, self._adapter, self._max_tokens = spec, engine, adapter, max_tokens
        self._calibration = calibration

    @classmethod
    def of(cls, manifest: Manifest, engine: Engine, max_tokens: int = 512) -> "Student":
        """The student of a registered version; its adapter is loaded under the version's name."""
        return cls(manifest.prompt, engine, manifest.version, max_tokens, manifest.calibration)

    @property
    def lane(self) -> str:
        """Names the engine where it writes for one version at a time; empty: versions run beside each other."""
        return f"{id(self._engine):x}" if isinstance(self._engine, OneAdapterAtATime) else ""

    def prompt_ids(self, request: dict[str, Any]) -> list[int]:
        """What the student reads for a request. Raises BadInput for content that is no text."""
        parts = prompt_segments(request["messages"], request.get("tools") or [], self._spec)
        return token_ids(parts, self._engine.tokenise)

    def answer(self, request: dict[str, Any], should_stop: Callable[[], bool] | None = None) -> Answer:
        """The answer to a chat-completions request.

        Raises InvalidOutput when what it wrote is no valid action, ContextTooLong, Cancelled when `should_stop` said
        so, BadInput for content that it cannot read, Uncompilable for a schema that no grammar can hold it to."""
        [made] = self.draw(request, 1, GREEDY, should_stop)
        if isinstance(made, InvalidOutput):
            raise made
        return made

    def draw(
        self,
        request: dict[str, Any],
        count: int,
        sampling: Sampling,
        should_stop: Callable[[], bool] | None = None,
    ) -> list[Answer | InvalidOutput]:
        """`count` answers to the same request, those that are no valid action as their InvalidOutput. The prompt is
        read once where the engine can; the usage of each counts the tokens of all. Raises as `answer` does."""
        tools = request.get("tools") or []
        wanted = wanted_of(request)
        grammar = grammar_for_request(request, grounded(request["messages"], tools, self._spec), self.limits)
        prompt = self.prompt_ids(request)
        room = self._engine.context - len(prompt)
        if room < _MARGIN:
            raise ContextTooLong(f"The prompt has {len(prompt)} tokens, the student's context {self._engine.context}.")
        times = Times(should_stop)
        drawn = several(
            self._engine,
            count,
            prompt,
            self._adapter,
            grammar,
            min(room, asked_tokens(request, self._max_tokens)),
            sampling,
            stops(request.get("stop")),
            times.look,
        )
        if any(made.finish == "cancelled" for made in drawn):
            raise Cancelled
        usage = usage_of(len(prompt), sum(made.token_count for made in drawn), drawn[0].cached_tokens)
        spent = times.spent()
        return [self._answer(made, tools, wanted, usage, spent) for made in drawn]

    def _answer(
        self,
        made: Generation,
        tools: Sequence[Message],
        wanted: Expected,
        usage: dict[str, Any],
        spent: tuple[float, float],
    ) -> Answer | InvalidOutput:
        if made.finish == "length":
            return InvalidOutput("length", made.text)
        try:
            message = read_text(made.text, tools, wanted)
        except InvalidOutput as error:
            return error
        sure = confidence_of(made)
        finish = "tool_calls" if message.get("tool_calls") else "stop"
        probability = self._calibration.calibrated(sure.mean) if self._calibration else None
        return Answer(message, usage, sure.mean, sure.lowest, finish, *spent, probability=probability)


class Times:
    """Asked between tokens, so it sees when the first one comes: before it the prompt is read, after it is written."""

    def __init__(self, should_stop: Callable[[], bool] | None) -> None:
        self._should_stop = should_stop
        self._began, self._first = time.perf_counter(), 0.0

    def look(self) -> bool:
        """Whether to stop."""
        self._first = self._first or time.perf_counter()
        return bool(self._should_stop and self._should_stop())

    def spent(self) -> tuple[float, float]:
        """Seconds before the first token and from then until now."""
        now = time.perf_counter()
        first = self._first or now
        return first - self._began, now - first
