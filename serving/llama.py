"""llama.cpp as an engine: its server inside this process (xllamacpp), on the GGUF of the base.

Adapters are chosen per call, but each step of llama.cpp writes for one adapter only: calls of others wait inside it,
and come one adapter after the other. So `schedule` lets one version at a time in. The set of adapters is fixed when the
native server is built, so changing it builds a second server and swaps the reference: calls that still run keep the
old one alive, and the last of them frees it. The swap therefore needs no lock.
"""

import json
import os
import secrets
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from ..traffic.errors import BadInput, MissingExtra
from .engine import (
    GREEDY,
    ContextTooLong,
    EngineError,
    Generation,
    OneAdapterAtATime,
    Sampling,
    SharedPrompt,
    TokenScore,
    not_loaded,
)
from .threads import quiet_threads

_BATCH = 512
"""Tokens of prompts that are read at once. A short batch lets the other slots write on while a long prompt is read."""


@dataclass(frozen=True)
class _Live:
    """A native server and the position of each adapter in it."""

    server: Any
    index: dict[str, int]

    def selection(self, adapter: str) -> list[dict[str, float]]:
        """Scales of all adapters: 1 for the chosen one. Naming every one leaves nothing to defaults."""
        if adapter and adapter not in self.index:
            raise not_loaded(adapter, self.index)
        return [{"id": at, "scale": float(name == adapter)} for name, at in self.index.items()]


class LlamaEngine(SharedPrompt, OneAdapterAtATime):
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
        """`count` continuations. Those that are written at the same time, as many as slots, read the prompt once."""
        live, made = self._running(), []
        request = {
            "prompt": list(prompt_ids),
            "lora": live.selection(adapter),
            "n_predict": max_tokens,
            "stop": list(stop),
            "stream": True,
            "n_probs": 1,
            "cache_prompt": True,
        }
        if grammar:
            request["grammar"] = grammar
        while len(made) < count:
            together = min(count - len(made), self._slots)
            seed = None if sampling.seed is None else sampling.seed + len(made)
            drawing = _drawing(replace(sampling, seed=seed))
            written = _Answers(together, should_stop)
            refusal = live.server.handle_completions({**request, **drawing, "n_cmpl": together}, written.take)
            made += written.finish(refusal)
        return made

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
        # Its OpenMP reads how threads wait when it is loaded, so this must come before the import.
        quiet_threads()
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
        params.n_batch = params.n_ubatch = _BATCH
        # The cache in memory knows ids, not adapters: it would hand one student's state to another.
        params.cache_ram_mib = 0
        params.n_ctx_checkpoints = 0
        params.ui = params.endpoint_slots = False
        params.api_keys = [self._key]
        params.verbosity = 0
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(path), 0.0) for path in adapters.values()]
        return params


def _drawing(sampling: Sampling) -> dict[str, Any]:
    """The samplers, in the order that Hugging Face and vLLM use; llama.cpp's own list has more of them."""
    if not sampling.temperature:
        return {"temperature": 0.0, "samplers": ["top_k"], "top_k": 1}
    chosen = {"temperature": sampling.temperature, "top_p": sampling.top_p, "samplers": ["temperature", "top_p"]}
    return chosen if sampling.seed is None else {**chosen, "seed": sampling.seed}


class _Answers:
    """Collects the streams of the answers to one request."""

    def __init__(self, count: int, should_stop: Callable[[], bool] | None) -> None:
        self._written = [_Written() for _ in range(count)]
        self._should_stop = should_stop
        self._error: dict[str, Any] | None = None
        self._cancelled = False

    def take(self, chunk: dict[str, Any]) -> bool:
        """One chunk; True stops the engine."""
        self._error = self._error or chunk.get("error")
        for choice in chunk.get("choices", ()):
            self._written[choice["index"]].take(choice, chunk.get("usage"))
        self._cancelled = self._cancelled or bool(self._should_stop and self._should_stop())
        return self._cancelled

    def finish(self, refusal: Any) -> list[Generation]:
        error = (refusal or {}).get("error") or self._error
        if error:
            kind = ContextTooLong if error.get("type") == "exceed_context_size_error" else EngineError
            raise kind(str(error.get("message", error)))
        return [written.generation(self._cancelled) for written in self._written]


@dataclass
class _Written:
    """One answer as it grows."""

    pieces: list[str] = field(default_factory=list)
    scores: list[TokenScore] = field(default_factory=list)
    usage: dict[str, Any] = field(default_factory=dict)
    reason: str = ""

    def take(self, choice: dict[str, Any], usage: dict[str, Any] | None) -> None:
        self.pieces.append(choice["text"])
        found = (choice["logprobs"] or {}).get("content", ())
        self.scores += [TokenScore(bytes(token["bytes"]), token["logprob"]) for token in found]
        self.usage = usage or self.usage
        self.reason = choice["finish_reason"] or self.reason

    def generation(self, cancelled: bool) -> Generation:
        logprobs = [score.logprob for score in self.scores] or [0.0]
        return Generation(
            text="".join(self.pieces),
            token_count=self.usage.get("completion_tokens", len(self.scores)),
            prompt_tokens=self.usage.get("prompt_tokens", 0),
            mean_logprob=sum(logprobs) / len(logprobs),
            min_logprob=min(logprobs),
            finish="cancelled" if cancelled else self.reason or "stop",
            cached_tokens=(self.usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0),
            scores=tuple(self.scores),
        )
