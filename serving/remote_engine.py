"""An engine behind HTTP: a server that completes token ids, such as vLLM or SGLang.

What goes over the wire is the rendered prompt as ids and the grammar, through `/v1/completions`; so a student reads
there exactly what it read in training, and the server's own chat template plays no part. A server that knows chats only
is no engine.

An adapter is a model name of that server. `vllm_lora` loads and unloads them; without it the server must have them.
"""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import httpx

from ..traffic.errors import BadInput, TutelageError
from .engine import GREEDY, ContextTooLong, EngineError, Generation, Sampling, SharedPrompt, TokenScore, not_loaded

_CONNECT_S, _SILENT_S = 5.0, 60.0


class Adapters(Protocol):
    """Who brings adapters to the server."""

    def load(self, name: str, path: Path) -> None:
        """Make an adapter answer under its name. Loading what is loaded is no error. Raises TutelageError."""
        ...

    def unload(self, name: str) -> None:
        """Let it go; unknown names are no error."""
        ...


class RemoteEngine(SharedPrompt):
    """A server's completions. Safe to call from several threads: each call has a connection of its own."""

    def __init__(
        self,
        base_url: str,
        model: str,
        adapters: Mapping[str, Path] | None = None,
        *,
        context: int = 4096,
        key: str = "",
        loader: Adapters | None = None,
        transport: httpx.BaseTransport | None = None,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        """`base_url` ends with `/v1`; `model` is the server's name of the base; `on_close` is called last.

        Raises BadInput where the server has no such model, TutelageError where it does not answer."""
        self._url, self._model, self._loader = base_url.rstrip("/"), model, loader
        self._on_close = on_close
        headers = {"authorization": f"Bearer {key}"} if key else {}
        timeout = httpx.Timeout(_SILENT_S, connect=_CONNECT_S)
        self._http = httpx.Client(headers=headers, timeout=timeout, transport=transport, trust_env=False)
        self._cached_ids = lru_cache(maxsize=4096)(self._ids)
        # Protects the running calls per adapter together with the names: an adapter must not go under a call.
        self._counting = threading.Lock()
        self._users: Counter[str] = Counter()
        self._names: frozenset[str] = frozenset()
        try:
            self._context = self._room(context)
            self.set_adapters(adapters or {})
        except TutelageError:
            self.close()
            raise

    @property
    def context(self) -> int:
        return self._context

    @property
    def adapters(self) -> list[str]:
        """Names of the loaded adapters."""
        return sorted(self._names)

    def set_adapters(self, adapters: Mapping[str, Path]) -> None:
        """Load what is new, serve it, then let go what is no longer wanted and answers no call."""
        if self._loader:
            for name in sorted(set(adapters) - self._names):
                self._loader.load(name, adapters[name])
        with self._counting:
            gone = self._names - set(adapters)
            self._names = frozenset(adapters)
            idle = [name for name in gone if not self._users[name]]
        self._let_go(idle)

    def close(self) -> None:
        self._http.close()
        if self._on_close:
            self._on_close()

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
        """`count` continuations in one request; the server reads the prompt once."""
        body: dict[str, Any] = {
            "model": adapter or self._model,
            "prompt": list(prompt_ids),
            "max_tokens": max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "n": count,
            "logprobs": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        body |= {"stop": list(stop)} if stop else {}
        body |= {"seed": sampling.seed} if sampling.seed is not None else {}
        body |= {"structured_outputs": {"grammar": grammar}} if grammar else {}
        answers = _Answers(count, should_stop)
        with self._use(adapter):
            for event in self._events(body):
                if answers.take(event):
                    break
        return answers.finish()

    @contextmanager
    def _use(self, adapter: str) -> Iterator[None]:
        """Keep an adapter loaded for one call. The last call with one that nobody wants any more lets it go."""
        with self._counting:
            if adapter and adapter not in self._names:
                raise not_loaded(adapter, self.adapters)
            self._users[adapter] += 1
        try:
            yield
        finally:
            with self._counting:
                self._users[adapter] -= 1
                over = bool(adapter) and adapter not in self._names and not self._users[adapter]
            self._let_go([adapter] if over else [])

    def _let_go(self, names: Sequence[str]) -> None:
        for name in names:
            if self._loader:
                self._loader.unload(name)

    def _events(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The pieces of a streamed answer. Leaving early closes the connection, which stops the writing there."""
        try:
            with self._http.stream("POST", f"{self._url}/completions", json=body) as response:
                if response.status_code != 200:
                    response.read()
                    raise _refused(response)
                for line in response.iter_lines():
                    if line.startswith("data: ") and line != "data: [DONE]":
                        yield json.loads(line[6:])
        except (httpx.HTTPError, ValueError, RuntimeError) as error:
            # httpx tells a closed client by a RuntimeError.
            raise EngineError(f"{self._url} broke off: {error or type(error).__name__}") from error

    def _ids(self, text: str) -> tuple[int, ...]:
        body = {"model": self._model, "prompt": text, "add_special_tokens": False}
        # vLLM's endpoint lies beside /v1, not below it.
        response = self._asked("POST", f"{self._url.removesuffix('/v1')}/tokenize", body)
        return tuple(response["tokens"])

    def _room(self, wanted: int) -> int:
        """The context: what is wanted, but no more than the server has for the base."""
        listed = self._asked("GET", f"{self._url}/models").get("data") or []
        found = [model for model in listed if model.get("id") == self._model]
        if not found:
            names = ", ".join(str(model.get("id")) for model in listed[:8]) or "none"
            raise BadInput(f"{self._url} has no model {self._model!r}. It has: {names}.")
        return min(wanted, found[0].get("max_model_len") or wanted)

    def _asked(self, method: str, url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            response = self._http.request(method, url, json=body)
            if response.status_code != 200:
                raise _refused(response)
            return response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise TutelageError(f"The engine at {url} does not answer: {error or type(error).__name__}") from error
        except EngineError as error:
            raise TutelageError(f"The engine at {url} refuses: {error}") from error


class _Answers:
    """The continuations of one prompt as they grow."""

    def __init__(self, count: int, should_stop: Callable[[], bool] | None) -> None:
        self._written = [_Written() for _ in range(count)]
        self._should_stop, self._cancelled = should_stop, False
        self._usage: dict[str, Any] = {}

    def take(self, event: dict[str, Any]) -> bool:
        """One piece; True when no more is wanted."""
        if error := event.get("error"):
            raise EngineError(str(error.get("message", error)))
        for choice in event.get("choices", ()):
            self._written[choice["index"]].take(choice)
        self._usage = event.get("usage") or self._usage
        self._cancelled = bool(self._should_stop and self._should_stop())
        return self._cancelled

    def finish(self) -> list[Generation]:
        if not self._cancelled and not all(written.reason for written in self._written):
            raise EngineError("the stream ended before the answer did")
        return [written.generation(self._usage, self._cancelled) for written in self._written]


@dataclass
class _Written:
    pieces: list[str] = field(default_factory=list)
    scores: list[TokenScore] = field(default_factory=list)
    reason: str = ""

    def take(self, choice: dict[str, Any]) -> None:
        told = choice.get("logprobs") or {}
        text = choice.get("text") or ""
        self.pieces.append(text)
        self.reason = choice.get("finish_reason") or self.reason
        found = [score for score in told.get("token_logprobs") or () if score is not None]
        # The text of a piece belongs to its tokens as a whole: their own texts may be halves of characters.
        self.scores += [TokenScore(b"", score) for score in found[:-1]]
        self.scores += [TokenScore(text.encode("utf-8", "replace"), score) for score in found[-1:]]

    def generation(self, usage: dict[str, Any], cancelled: bool) -> Generation:
        logprobs = [score.logprob for score in self.scores] or [0.0]
        return Generation(
            text="".join(self.pieces),
            token_count=len(self.scores),
            prompt_tokens=usage.get("prompt_tokens", 0),
            mean_logprob=sum(logprobs) / len(logprobs),
            min_logprob=min(logprobs),
            finish="cancelled" if cancelled else self.reason,
            cached_tokens=(usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0,
            scores=tuple(self.scores),
        )


def _refused(response: httpx.Response) -> EngineError:
    try:
        body = response.json()
        message = str((body.get("error") or body).get("message") or body)
    except (ValueError, AttributeError):
        message = response.text[:300]
    kind = ContextTooLong if response.status_code == 400 and "context length" in message else EngineError
    return kind(f"{response.status_code}: {message}")
