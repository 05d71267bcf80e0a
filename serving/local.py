"""Engines in this process: llama.cpp and torch, and which of the two is faster here for a base.

torch multiplies bytes with an instruction that newer x86 processors have (VNNI); there it reads prompts several times
as fast as llama.cpp's wheels, and writes all versions of a base together. Everywhere else, for large bases, for models
that its forward pass does not describe, and where only the extra `serving` is installed, llama.cpp is the one.
"""

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path

from ..traffic.errors import BadInput
from ..traffic.students import MODEL_GGUF
from .bases import Base, hf_folder
from .engine import Engine
from .llama import LlamaEngine
from .memory import cached_values, require_memory
from .native import processor_flags
from .options import LOCAL
from .requantise import LARGEST_BYTES, fast_file
from .shape import Shape
from .torch_engine import TorchEngine

PACKAGES = {
    "llama": ("xllamacpp", "gguf", "jsonschema"),
    "torch": ("torch", "safetensors", "tokenizers", "llguidance", "transformers", "gguf", "jsonschema"),
}
_BYTES = {"avx512_vnni", "avx_vnni"}
_LLAMA_CACHED, _TORCH_CACHED = 2, 4
"""Bytes of a key or value in an engine's cache."""


def is_installed(package: str) -> bool:
    """Whether a package can be imported; it is not."""
    return importlib.util.find_spec(package) is not None


def suits_torch(
    installed: Callable[[str], bool] = is_installed, flags: Callable[[], frozenset[str]] = processor_flags
) -> bool:
    """Whether torch is there, and the processor has what makes it the faster one."""
    return bool(_BYTES & flags()) and all(map(installed, PACKAGES["torch"]))


def chosen_here(
    engine: str,
    installed: Callable[[str], bool] = is_installed,
    flags: Callable[[], frozenset[str]] = processor_flags,
) -> str:
    """The engine itself, and for `auto` the one that is taken for bases that suit it."""
    if engine != "auto":
        return engine
    return "torch" if suits_torch(installed, flags) else "llama"


def faster(base: Base, suits: Callable[[], bool] = suits_torch) -> str:
    """`torch` or `llama`, for a base here."""
    # A student that is a whole model comes as a GGUF, and has no other form.
    if base.gguf.name == MODEL_GGUF or base.gguf.stat().st_size > LARGEST_BYTES or not suits():
        return "llama"
    try:
        Shape.of(hf_folder(base))
    except BadInput:
        return "llama"
    return "torch"


def local_engine(
    name: str,
    base: Base,
    adapters: Mapping[str, Path],
    *,
    slots: int = 4,
    threads: int = 0,
    context: int = 4096,
    fast: bool = True,
) -> Engine:
    """An engine of LOCAL on a base with these adapters; `fast` is about llama.cpp's weights. Raises BadInput."""
    if name not in LOCAL:
        raise BadInput(f"Expected one of {', '.join(LOCAL)} as the engine, not {name!r}.")
    if (faster(base) if name == "auto" else name) == "llama":
        file = fast_file(base) if fast else base.gguf
        require_memory(file, slots * context * _LLAMA_CACHED * cached_values(file))
        return LlamaEngine(file, adapters, slots=slots, threads=threads, context=context)
    folder = hf_folder(base)
    require_memory(folder / "model.safetensors", slots * context * _TORCH_CACHED * Shape.of(folder).cached_values)
    return TorchEngine(folder, adapters, slots=slots, threads=threads, context=context)
