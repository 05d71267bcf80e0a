"""The reference engine: transformers and peft, one answer at a time.

Written to be read and to be right, not to be fast: full precision, an ordinary loop over tokens, every score taken
from the model's own logits. Tests hold the fast engines to it, and it serves models that they cannot load.
"""

import copy
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from ..traffic.errors import BadInput, MissingExtra
from .constraint import Constraint, Progress
from .engine import GREEDY, EngineError, Generation, Sampling, SharedPrompt, not_loaded, room_for
from .lora import adapter_folder
from .threads import quiet_threads
from .writing import Draw, Writing


class HfEngine(SharedPrompt):
    """A Hugging Face folder with peft adapters. Safe to call from several threads; the calls take turns."""

    def __init__(
        self,
        folder: Path,
        adapters: Mapping[str, Path] | None = None,
        *,
        threads: int = 0,
        context: int = 4096,
        device: str = "cpu",
    ) -> None:
        """`folder` holds model and tokenizer; an adapter is peft's folder, or the GGUF that lies beside it.

        Raises BadInput for a folder or adapter that cannot be loaded, MissingExtra."""
        quiet_threads()
        try:
            import torch
            from transformers import AutoModelForCausalLM, AutoTokenizer
        except ImportError as error:
            raise MissingExtra("distill", error.name or "transformers") from error
        if threads:
            torch.set_num_threads(threads)
        self._torch, self._device, self._context = torch, device, context
        # peft's choice of adapter is a state of the model: whoever writes holds the lock for the whole answer.
        self._turn = threading.Lock()
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
            model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        except (OSError, ValueError) as error:
            raise BadInput(f"The model in {folder} cannot be loaded: {error}") from error
        self._model: Any = model.to(device).eval()
        self._ends = _end_tokens(self._model, self._tokenizer)
        vocabulary = int(self._model.get_output_embeddings().weight.shape[0])
        self._constraint = Constraint(self._tokenizer.backend_tokenizer.to_str(), vocabulary, sorted(self._ends))
        self._names: dict[str, str] = {}
        self._made = 0
        self.set_adapters(adapters or {})

    @property
    def context(self) -> int:
        return self._context

    @property
    def adapters(self) -> list[str]:
        """Names of the loaded adapters."""
        return list(self._names)

    def set_adapters(self, adapters: Mapping[str, Path]) -> None:
        """Serve exactly these from now on; a call that runs finishes first. Raises BadInput, and then keeps the old."""
        with self._turn:
            old, fresh = dict(self._names), {}
            try:
                for name, path in adapters.items():
                    fresh[name] = old.pop(name, None) or self._load(path)
            except Exception as error:
                for inner in set(fresh.values()) - set(self._names.values()):
                    self._model.delete_adapter(inner)
                raise BadInput(f"The adapters {list(adapters)} cannot be loaded: {error}") from error
            self._names = fresh
            for inner in old.values():
                self._model.delete_adapter(inner)

    def close(self) -> None:
        with self._turn:
            self._model, self._names = None, {}

    def tokenise(self, text: str) -> list[int]:
        return self._tokenizer(text, add_special_tokens=False)["input_ids"]

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
        """`count` continuations, one after the other; the prompt is read once."""
        limit = room_for(prompt_ids, self._context, max_tokens)
        draw = Draw(self._torch, sampling)
        with self._turn, self._torch.inference_mode(), self._chosen(adapter):
            logits, cache = self._read(list(prompt_ids), None)
            made = []
            for number in range(count):
                progress = self._constraint.begin(grammar) if grammar else None
                writing = Writing(self._constraint, self._ends, limit, tuple(stop), should_stop)
                rest = copy.deepcopy(cache) if number + 1 < count else cache
                self._write(writing, logits, rest, progress, draw)
                made.append(writing.generation(len(prompt_ids)))
        return made

    def _write(self, writing: Writing, logits: Any, cache: Any, progress: Progress | None, draw: Draw) -> None:
        while True:
            token = draw.token(logits.clone(), progress)
            if not writing.take(token, float(logits.log_softmax(-1)[0, token])):
                return
            if progress:
                progress.take(token)
            logits, cache = self._read([token], cache)

    def _read(self, ids: list[int], cache: Any) -> tuple[Any, Any]:
        """Logits (1 × vocabulary, float32) behind the last of `ids`, and the cache with them."""
        if self._model is None:
            raise EngineError("the engine is closed")
        given = self._torch.tensor([ids], device=self._device)
        out = self._model(input_ids=given, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return out.logits[:, -1].float().cpu(), out.past_key_values

    def _chosen(self, adapter: str) -> AbstractContextManager[Any]:
        if adapter:
            if adapter not in self._names:
                raise not_loaded(adapter, self._names)
            self._model.set_adapter(self._names[adapter])
            return nullcontext()
        return self._model.disable_adapter() if self._names else nullcontext()

    def _load(self, path: Path) -> str:
        try:
            from peft import PeftModel
        except ImportError as error:
            raise MissingExtra("distill", "peft") from error
        folder = adapter_folder(path)
        self._made += 1
        # Module names may hold no dot, names of versions may.
        name = f"adapter_{self._made}"
        if isinstance(self._model, PeftModel):
            self._model.load_adapter(str(folder), name)
        else:
            self._model = PeftModel.from_pretrained(self._model, str(folder), adapter_name=name)
        self._model.eval()
        return name


def _end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    told = model.generation_config.eos_token_id
    ends = told if isinstance(told, list) else [told]
    return frozenset(int(end) for end in (*ends, tokenizer.eos_token_id) if end is not None)
