"""What an engine is: it turns token ids into text, with one of several adapters.

Rendering, grammars, parsing and the vote over samples lie above this line and are the same for every engine; an engine
knows token ids, adapters and grammars only. `llama`, `hf_engine` and `remote_engine` are the engines,
`engines` chooses among them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from ..traffic.errors import UnknownName


class TokenScore(NamedTuple):
    """One written token."""

    text: bytes
    """Its bytes in the text: a token may be half a character. Empty for an end mark."""
    logprob: float
    """Log-probability under the model, before any grammar or temperature."""


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn."""

    temperature: float = 0.0
    """0: the most probable one."""
    top_p: float = 1.0
    """Only the most probable tokens that together have this probability, in (0, 1]."""
    seed: int | None = None
    """Makes draws repeatable where the engine can."""


GREEDY = Sampling()


@dataclass(frozen=True)
class Generation:
    """What an engine wrote for one prompt."""

    text: str
    """Without the end mark."""
    token_count: int
    """Tokens written, the end mark included."""
    prompt_tokens: int
    mean_logprob: float
    """Mean log-probability of the written tokens under the model, before any grammar; 0 when none was written."""
    min_logprob: float
    finish: str
    """`stop`, `length` (token limit reached) or `cancelled` (`should_stop` said so)."""
    cached_tokens: int = 0
    """Prompt tokens that were still in the engine's cache."""
    scores: tuple[TokenScore, ...] = ()
    """Every written token, where the engine tells; their bytes in a row are the text."""


class EngineError(Exception):
    """The engine refused a call: a bad grammar, or a prompt that is too long."""


class ContextTooLong(EngineError):
    """The prompt leaves no room for an answer."""


def room_for(prompt_ids: Sequence[int], context: int, max_tokens: int) -> int:
    """Tokens that an answer may have. Raises ContextTooLong when the prompt leaves no room."""
    if len(prompt_ids) >= context:
        raise ContextTooLong(f"The prompt has {len(prompt_ids)} tokens, the context is {context}.")
    return min(max_tokens, context - len(prompt_ids))


def not_loaded(adapter: str, loaded: Iterable[str]) -> UnknownName:
    """What an engine raises for an adapter that it has not."""
    return UnknownName(f"The adapter {adapter!r} is not loaded. Loaded: {', '.join(loaded) or 'none'}.")


class Engine(Protocol):
    """What the student server and the evaluation need of an engine. Safe to call from several threads."""

    @property
    def context(self) -> int:
        """Tokens of prompt and answer together that one call may have."""
        ...

    def tokenise(self, text: str) -> list[int]:
        """Ids of a text: nothing added, special tokens parsed."""
        ...

    def generate(
        self,
        prompt_ids: Sequence[int],
        adapter: str = "",
        grammar: str | None = None,
        max_tokens: int = 512,
        sampling: Sampling = GREEDY,
        stop: Sequence[str] = (),
        should_stop: Callable[[], bool] | None = None,
    ) -> Generation:
        """Continue the prompt with an adapter (empty: the base alone).

        `should_stop` is asked between tokens. Raises UnknownName for an adapter that is not loaded, EngineError when
        the engine refuses."""
        ...

    def set_adapters(self, adapters: Mapping[str, Path]) -> None:
        """Serve exactly these adapters from now on; running calls finish with the old ones."""
        ...

    def close(self) -> None:
        """Free the model once the running calls have ended."""
        ...


class OneAdapterAtATime:
    """An engine that writes together only the calls of one adapter. Those of another one wait inside it, and may wait
    for ever while calls of the first keep coming; so whoever calls should let one adapter at a time in (`schedule`)."""


@runtime_checkable
class SharedPrompt(Protocol):
    """An engine that can read a prompt once and continue it several times; one continuation is the first of one."""

    def generate_many(
        self,
        count: int,
        prompt_ids: Sequence[int],
        adapter: str = "",
        grammar: str | None = None,
        max_tokens: int = 512,
        sampling: Sampling = GREEDY,
        stop: Sequence[str] = (),
        should_stop: Callable[[], bool] | None = None,
    ) -> list[Generation]:
        """`count` continuations, as `generate` makes one."""
        ...

    def generate(
        self,
        prompt_ids: Sequence[int],
        adapter: str = "",
        grammar: str | None = None,
        max_tokens: int = 512,
        sampling: Sampling = GREEDY,
        stop: Sequence[str] = (),
        should_stop: Callable[[], bool] | None = None,
    ) -> Generation:
        return self.generate_many(1, prompt_ids, adapter, grammar, max_tokens, sampling, stop, should_stop)[0]


def several(
    engine: Engine,
    count: int,
    prompt_ids: Sequence[int],
    adapter: str = "",
    grammar: str | None = None,
    max_tokens: int = 512,
    sampling: Sampling = GREEDY,
    stop: Sequence[str] = (),
    should_stop: Callable[[], bool] | None = None,
) -> list[Generation]:
    """`count` continuations by any engine: together where it can, else one after the other."""
    if count > 1 and isinstance(engine, SharedPrompt):
        return engine.generate_many(count, prompt_ids, adapter, grammar, max_tokens, sampling, stop, should_stop)
    return [
        engine.generate(
            prompt_ids, adapter, grammar, max_tokens=max_tokens, sampling=sampling, stop=stop, should_stop=should_stop
        )
        for _ in range(count)
    ]
