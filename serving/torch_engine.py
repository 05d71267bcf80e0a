"""torch as an engine for processors: products of bytes, and all versions of a base written together.

One thread takes steps. In each, every answer that is being written gets its next token and prompts that are being
read advance by some of theirs, in one pass through the model, whatever adapters they have (see `decoder`). Where a
grammar leaves no choice, all tokens up to the next choice are read in one step, as if they were a prompt. Callers wait
for their answers; adapters may change at any time, and calls that run keep theirs.
"""

import json
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..traffic.errors import BadInput, MissingExtra
from .attention import Segment
from .constraint import Constraint, Progress
from .decoder import Adapter, Decoder, Span
from .eight_bits import layers
from .engine import GREEDY, EngineError, Generation, Sampling, SharedPrompt, not_loaded, room_for
from .lora import adapter_folder, read_lora
from .places import Place, Places
from .sample_text import SAMPLE, SAMPLE_TOKENS
from .shape import Shape
from .threads import quiet_threads
from .writing import Draw, Writing

_CHUNK = 256
"""Tokens of prompts that are read in one step. Fewer let the answers that are being written go on sooner."""
_FEW = 16
"""Rows of a step up to which one thread does it. With 8, two wrote 80 tokens a second for 75, and took 11 % more of the
processor for each."""


@dataclass(eq=False)
class _Call:
    """One answer to be written."""

    tokens: list[int]
    """The prompt, what has been written, and what must come next."""
    prompt_tokens: int
    most: int
    """Tokens that it may have, prompt included."""
    adapter: Adapter | None
    writing: Writing
    draw: Draw
    progress: Progress | None
    leader: "_Call | None"
    """A call with the same prompt: it reads, the others copy."""
    done: Future[Generation] = field(default_factory=Future)
    place: Place | None = None
    known: int = 0
    """Tokens that were in the cache when it began."""
    read: int = 0
    """Tokens that are in the cache."""
    written: int = 0
    """Tokens of the answer that have their scores."""

    @property
    def may_start(self) -> bool:
        return self.leader is None or self.leader.done.done() or self.leader.read >= self.prompt_tokens

    def force(self) -> None:
        """Add what the grammar says must come next."""
        if self.progress:
            self.tokens += self.progress.forced()[: max(0, self.most - len(self.tokens))]


class TorchEngine(SharedPrompt):
    """A Hugging Face folder of Llama's family with peft adapters. Safe to call from several threads."""

    def __init__(
        self,
        folder: Path,
        adapters: Mapping[str, Path] | None = None,
        *,
        slots: int = 4,
        threads: int = 0,
        context: int = 4096,
        exact: bool = False,
    ) -> None:
        """`folder` holds model and tokenizer; an adapter is peft's folder, or the GGUF that lies beside it. `slots`
        answers are written at the same time. `exact`: in float32, not in eight bits.

        Raises BadInput for a folder or adapter that cannot be loaded, MissingExtra."""
        quiet_threads()
        try:
            import torch
            from tokenizers import Tokenizer
        except ImportError as error:
            raise MissingExtra("distill", error.name or "torch") from error
        self._torch, self._context = torch, context
        self._threads = threads or torch.get_num_threads()
        Shape.of(folder)  # before anything else is read
        spelt = (folder / "tokenizer.json").read_text(encoding="utf-8")
        self._tokenizer = Tokenizer.from_str(spelt)
        sample = [] if exact else self.tokenise(SAMPLE)[:SAMPLE_TOKENS]
        self._decoder = Decoder(torch, folder, layers(torch, exact), slots=slots, context=context, sample=sample)
        self._ends = _end_tokens(folder, self._tokenizer)
        self._constraint = Constraint(spelt, self._decoder.vocabulary, sorted(self._ends))
        self._places = Places(slots, self._decoder.copy)
        self._sources: dict[str, Path] = {}
        self._adapters: dict[str, Adapter] = {}
        self._loading = threading.Lock()
        self._changed = threading.Condition()
        self._waiting: deque[_Call] = deque()
        self._active: list[_Call] = []
        """Belongs to the thread that takes the steps."""
        self._closed = False
        self.set_adapters(adapters or {})
        threading.Thread(target=self._work, name="tutelage-engine", daemon=True).start()

    @property
    def context(self) -> int:
        return self._context

    @property
    def adapters(self) -> list[str]:
        """Names of the loaded adapters."""
        return list(self._adapters)

    def set_adapters(self, adapters: Mapping[str, Path]) -> None:
        """Serve exactly these from now on. Raises BadInput, and then keeps the old."""
        with self._loading:
            kept = {name: one for name, one in self._adapters.items() if self._sources[name] == adapters.get(name)}
            loaded = {name: kept.get(name) or self._load(path) for name, path in adapters.items()}
            self._adapters, self._sources = loaded, dict(adapters)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def tokenise(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids

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
        """`count` continuations, written together; the prompt is read once."""
        limit = room_for(prompt_ids, self._context, max_tokens)
        chosen = self._chosen(adapter)
        calls: list[_Call] = []
        for number in range(count):
            seed = None if sampling.seed is None else sampling.seed + number
            call = _Call(
                list(prompt_ids),
                len(prompt_ids),
                len(prompt_ids) + limit,
                chosen,
                Writing(self._constraint, self._ends, limit, tuple(stop), should_stop),
                Draw(self._torch, Sampling(sampling.temperature, sampling.top_p, seed)),
                self._constraint.begin(grammar) if grammar else None,
                calls[0] if calls else None,
            )
            call.force()
            calls.append(call)
        with self._changed:
            if self._closed:
                raise EngineError("the engine is closed")
            self._waiting += calls
            self._changed.notify_all()
        return [call.done.result() for call in calls]

    def _chosen(self, name: str) -> Adapter | None:
        adapters = self._adapters
        if name and name not in adapters:
            raise not_loaded(name, adapters)
        return adapters.get(name)

    def _load(self, path: Path) -> Adapter:
        folder = adapter_folder(path)
        try:
            matrices = read_lora(folder)
        except BadInput:
            raise
        except Exception as error:
            # Files that are cut or changed raise whatever their readers raise.
            raise BadInput(f"The adapter in {folder} cannot be loaded: {error}") from error
        return self._decoder.adapter(matrices)

    def _work(self) -> None:
        with self._torch.inference_mode():
            while self._admit():
                try:
                    self._step()
                except Exception as error:
                    # Whoever waits must hear of it, whatever it was; the next calls start anew.
                    for call in self._active:
                        if call.place:
                            call.place.tokens = []
                        call.done.set_exception(EngineError(f"the engine failed: {error}"))
                        self._end(call)
                    self._active = []
        del self._decoder

    def _admit(self) -> bool:
        """Give waiting calls their places; False when there is nothing to do any more."""
        with self._changed:
            while not (self._waiting or self._active):
                if self._closed:
                    return False
                self._changed.wait()
            kept: deque[_Call] = deque()
            for call in self._waiting:
                prompt = call.tokens[: call.prompt_tokens]
                taken = self._places.take(prompt, call.adapter) if call.may_start else None
                if taken is None:
                    kept.append(call)
                else:
                    call.place, call.known = taken
                    call.read = call.known
                    self._active.append(call)
            self._waiting = kept
        return True

    def _step(self) -> None:
        """One pass through the model, and a token for each call whose prompt has been read."""
        ids: list[int] = []
        segments: list[Segment] = []
        spans: list[Span] = []
        told: list[tuple[_Call, int]] = []
        for call, place, count in self._shares():
            start, end = len(ids), len(ids) + count
            segments.append(Segment(start, end, place.index, call.read))
            if call.adapter:
                if spans and spans[-1].adapter is call.adapter:
                    start = spans.pop().start
                spans.append(Span(start, end, call.adapter))
            new = call.tokens[call.read : call.read + count]
            ids += new
            place.tokens += new
            # A row says what its next token is worth: from the prompt's last one on, that is asked.
            unasked = max(0, call.prompt_tokens - 1 - call.read)
            told += [(call, row) for row in range(end - count + unasked, end)]
            call.read += count
        self._torch.set_num_threads(self._threads if len(ids) > _FEW else 1)
        logits = self._decoder.step(ids, segments, spans, [row for _, row in told])
        totals = logits.logsumexp(-1).tolist()
        for at, (call, _) in enumerate(told):
            if not call.done.done() and not self._written(call, logits[at : at + 1], totals[at]):
                self._active.remove(call)
                self._end(call)

    def _shares(self) -> list[tuple[_Call, Place, int]]:
        """The calls of this step with their places, those of one adapter together, and how many tokens of each."""
        room, shares = _CHUNK, []
        for call in self._active:
            count = len(call.tokens) - call.read
            if call.read < call.prompt_tokens:
                count = min(count, room)
                room -= count
            if count and call.place:
                shares.append((call, call.place, count))
        return sorted(shares, key=lambda share: id(share[0].adapter))

    def _written(self, call: _Call, logits: Any, total: float) -> bool:
        """The next token, by the logits (1 × vocabulary) before it; False when the answer has ended."""
        try:
            at = call.prompt_tokens + call.written
            chosen = at == len(call.tokens)
            token = call.draw.token(logits, call.progress) if chosen else call.tokens[at]
            call.written += 1
            if call.writing.take(token, float(logits[0, token]) - total):
                if chosen:
                    call.tokens.append(token)
                    if call.progress:
                        call.progress.take(token)
                        call.force()
                return True
            call.done.set_result(call.writing.generation(call.prompt_tokens, call.known))
        except Exception as error:
            # A grammar that cannot be followed, or a caller's `should_stop`: the other answers go on.
            call.done.set_exception(error)
        return False

    def _end(self, call: _Call) -> None:
        if call.place:
            self._places.give_back(call.place)


def _end_tokens(folder: Path, tokenizer: Any) -> frozenset[int]:
    """Tokens that end an answer: those of the generation's configuration, and the tokenizer's own."""
    found: list[Any] = []
    for name in ("generation_config.json", "config.json"):
        if (folder / name).is_file():
            told = json.loads((folder / name).read_text()).get("eos_token_id")
            found += told if isinstance(told, list) else [told]
    if (folder / "tokenizer_config.json").is_file():
        mark = json.loads((folder / "tokenizer_config.json").read_text()).get("eos_token")
        found.append(tokenizer.token_to_id(mark["content"] if isinstance(mark, dict) else mark) if mark else None)
    return frozenset(int(end) for end in found if end is not None)
