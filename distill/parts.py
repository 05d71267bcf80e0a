"""The outside world of a run: base model, tokenizer, engine and adapter converter, behind one small interface.

A run is given its parts, so a test can hand in a model of two layers and an engine that answers from a table.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from ..serving.bases import Base, hf_folder, resolve
from ..serving.engine import Engine
from ..serving.gguf_lora import convert_adapter
from ..serving.gguf_whole import write_whole
from ..serving.llama import LlamaEngine
from ..serving.local import local_engine
from ..traffic.errors import MissingExtra


class Parts(Protocol):
    """What a run needs of a base model."""

    @property
    def name(self) -> str: ...

    @property
    def digest(self) -> str: ...

    @property
    def folder(self) -> Path:
        """Hugging Face folder of the weights that training starts from."""
        ...

    def tokenise(self, text: str) -> list[int]:
        """Ids by the training tokenizer: nothing added, special tokens parsed."""
        ...

    def decode(self, ids: list[int]) -> str:
        """The exact text of ids, special tokens included."""
        ...

    def convert(self, adapter: Path, target: Path) -> None:
        """Write a peft adapter in the engine's form."""
        ...

    def engine(self, adapters: Mapping[str, Path]) -> Engine:
        """The serving engine with these adapters; the caller closes it."""
        ...

    @property
    def gguf(self) -> Path:
        """The file that the engine serves the base from."""
        ...

    def convert_whole(self, model: Path, target: Path) -> None:
        """Write whole trained weights in the engine's form."""
        ...

    def whole(self, model: Path) -> Engine:
        """The serving engine on a whole model's GGUF, without adapters; the caller closes it."""
        ...


class BaseParts:
    """The parts of a real base model; see `serving.bases`."""

    def __init__(self, base: str, threads: int = 0, context: int = 4096, engine: str = "auto") -> None:
        """`engine`: one of `serving.options.LOCAL`."""
        try:
            from transformers import AutoTokenizer
        except ImportError as error:
            raise MissingExtra("distill", error.name or "transformers") from error
        self._base: Base = resolve(base)
        self._threads, self._context, self._engine = threads, context, engine
        self._folder = hf_folder(self._base)
        self._tokenizer: Any = AutoTokenizer.from_pretrained(self._folder)

    @property
    def name(self) -> str:
        return self._base.name

    @property
    def digest(self) -> str:
        return self._base.digest

    @property
    def folder(self) -> Path:
        return self._folder

    def tokenise(self, text: str) -> list[int]:
        return self._tokenizer(text, add_special_tokens=False)["input_ids"]

    def decode(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)

    def convert(self, adapter: Path, target: Path) -> None:
        convert_adapter(adapter, self._base.gguf, target)

    @property
    def gguf(self) -> Path:
        return self._base.gguf

    def convert_whole(self, model: Path, target: Path) -> None:
        write_whole(model, self._base.gguf, target)

    def whole(self, model: Path) -> Engine:
        return LlamaEngine(model, slots=4, threads=self._threads, context=self._context)

    def engine(self, adapters: Mapping[str, Path]) -> Engine:
        # The very weights that will be served, so that the examination speaks about them.
        return local_engine(self._engine, self._base, adapters, threads=self._threads, context=self._context)
