"""Engines: what turns token ids into text, with one of several adapters.

LlamaEngine runs llama.cpp's server inside this process (xllamacpp) on the GGUF of the base. Adapters are chosen per
call; answers for different adapters run side by side. The set of adapters is fixed when the native server is built,
so changing it builds a second server and swaps the reference: calls that still run keep the old one alive, and the
last of them frees it. The swap therefore needs no lock.
"""

import json
import os
import secrets
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from ..traffic.errors import BadInput, MissingExtra, UnknownName


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


class EngineError(Exception):
    """The engine refused a call: a bad grammar, or a prompt that is too long."""


class ContextTooLong(EngineError):
    """The prompt leaves no room for an answer."""


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
        temperature: float = 0.0,
        stop: Sequence[str] = (),
        should_stop: Callable[[], bool] | None = None,
    ) -> Generation:
        """Continue the prompt with an adapter (empty: the base alone). Temperature 0 is greedy.

        `should_stop` is asked between tokens. Raises UnknownName for an adapter that is not loaded, EngineError when
        the engine refuses."""
        ...

    def set_adapters(self, adapters: Mapping[str, Path]) -> None:
        """Serve exactly these adapters from now on; running calls finish with the old ones."""
        ...

    def close(self) -> None:
        """Free the model once the running calls have ended."""
        ...


@dataclass(frozen=True)
class _Live:
    """A native server and the position of each adapter in it."""

    server: Any
    index: dict[str, int]

    def selection(self, adapter: str) -> list[dict[str, float]]:
        """Scales of all adapters: 1 for the chosen one. Naming every one leaves nothing to defaults."""
        if adapter and adapter not in self.index:
            raise UnknownName(f"The adapter {adapter!r} is not loaded. Loaded: {', '.join(self.index) or 'none'}.")
        return [{"id": at, "scale": float(name == adapter)} for name, at in self.index.items()]


class LlamaEngine:
    """llama.cpp in this process. Building one loads the model (about a second for 135 M parameters)."""

    def __init__(
        self,
        gguf: Path,
        adapters: Mapping[str, Path] | None = None,
        *,
        slots: int = 4,
        threads: int = 0,
        context: int = 4096,
    ) -> None:
        """`slots` answers are written at the same time, each with `context` tokens; `threads` 0: one per core."""
        self._gguf, self._slots, self._context = gguf, slots, context
        self._threads = threads or os.cpu_count() or 1
        self._key = secrets.token_hex(16)
        self._cached_ids = lru_cache(maxsize=4096)(self._ids)
        self._live: _Live | None = self._build(adapters or {})

    @property
    def context(self) -> int:
        return self._context

    @property
    def adapters(self) -> list[str]:
        """Names of the loaded adapters."""
        return list(self._running().index)

    def set_adapters(self, adapters: Mapping[str, Path]) -> None:
        self._live = self._build(adapters)

    def close(self) -> None:
        self._live = None
        self._cached_ids.cache_clear()

    def tokenise(self, text: str) -> list[int]:
        return list(self._cached_ids(text))

    def generate(
        self,
        prompt_ids: Sequence[int],
        adapter: str = "",
        grammar: str | None = None,
        max_tokens: int = 512,
        temperature: float = 0.0,
        stop: Sequence[str] = (),
        should_stop: Callable[[], bool] | None = None,
    ) -> Generation:
        live = self._running()
        request = {
            "prompt": list(prompt_ids),
            "lora": live.selection(adapter),
            "n_predict": max_tokens,
            "temperature": temperature,
            "stop": list(stop),
            "stream": True,
            "n_probs": 1,
            "cache_prompt": True,
        }
        if grammar:
            request["grammar"] = grammar
        written = _Written(should_stop)
        refusal = live.server.handle_completions(request, written.take)
        return written.finish(refusal)

    def _running(self) -> _Live:
        live = self._live
        if live is None:
            raise EngineError("the engine is closed")
        return live

    def _ids(self, text: str) -> tuple[int, ...]:
        # The binding has no function for it, so llama.cpp's own endpoint is asked: on loopback, with a key of ours.
        body = json.dumps({"content": text, "add_special": False, "parse_special": True}).encode()
        headers = {"content-type": "application/json", "authorization": f"Bearer {self._key}"}
        request = urllib.request.Request(f"{self._running().server.listening_address}/tokenize", body, headers)
        with urllib.request.urlopen(request, timeout=30) as response:
            return tuple(json.load(response)["tokens"])

    def _build(self, adapters: Mapping[str, Path]) -> _Live:
        try:
            # Its classes come from a native module without type information.
            xllamacpp: Any = import_module("xllamacpp")
        except ImportError as error:
            raise MissingExtra("serving", "xllamacpp") from error
        for path in (self._gguf, *adapters.values()):
            if not path.is_file():
                raise BadInput(f"The engine needs the file {path}, which does not exist.")
        try:
            server = xllamacpp.Server(self._params(xllamacpp, adapters))
        except RuntimeError as error:
            raise BadInput(
                f"The engine cannot load {self._gguf} with {list(adapters) or 'no adapter'}: {error}"
            ) from error
        return _Live(server, {name: at for at, name in enumerate(adapters)})

    def _params(self, xllamacpp: Any, adapters: Mapping[str, Path]) -> Any:
        params = xllamacpp.CommonParams()
        params.model.path = str(self._gguf)
        params.n_parallel, params.n_ctx = self._slots, self._slots * self._context
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = self._threads
        # Threads that poll for work between tokens halve the speed when other processes want the cores.
        params.cpuparams.poll = params.cpuparams_batch.poll = 0
        # A short batch lets the other slots write on while a long prompt is read.
        params.n_batch = params.n_ubatch = 512
        # The cache in memory knows ids, not adapters: it would hand one student's state to another.
        params.cache_ram_mib = 0
        params.n_ctx_checkpoints = 0
        params.ui = params.endpoint_slots = False
        params.api_keys = [self._key]
        params.verbosity = 0
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(path), 0.0) for path in adapters.values()]
        return params


@dataclass
class _Written:
    """Collects the stream of one answer."""

    should_stop: Callable[[], bool] | None
    pieces: list[str] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    last: dict[str, Any] = field(default_factory=dict)
    cancelled: bool = False

    def take(self, chunk: dict[str, Any]) -> bool:
        """One chunk; True stops the engine."""
        self.last = chunk
        for choice in chunk.get("choices", ()):
            self.pieces.append(choice["text"])
            self.logprobs += [token["logprob"] for token in (choice["logprobs"] or {}).get("content", ())]
        self.cancelled = self.cancelled or bool(self.should_stop and self.should_stop())
        return self.cancelled

    def finish(self, refusal: Any) -> Generation:
        error = (refusal or self.last).get("error")
        if error:
            kind = ContextTooLong if error.get("type") == "exceed_context_size_error" else EngineError
            raise kind(str(error.get("message", error)))
        usage = self.last.get("usage") or {}
        choices = self.last.get("choices") or [{}]
        scores = self.logprobs or [0.0]
        return Generation(
            text="".join(self.pieces),
            token_count=usage.get("completion_tokens", len(self.logprobs)),
            prompt_tokens=usage.get("prompt_tokens", 0),
            mean_logprob=sum(scores) / len(scores),
            min_logprob=min(scores),
            finish="cancelled" if self.cancelled else choices[0].get("finish_reason") or "stop",
            cached_tokens=(usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0),
        )
