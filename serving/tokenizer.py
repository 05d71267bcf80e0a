"""The Hugging Face tokenizer of a GGUF base: the same ids as the engine's own tokenizer.

transformers reads vocabulary and merges from a GGUF but not how text is cut before merging; that rule is put back
here, by the name the file gives to it. A test compares the ids with the engine's over varied texts.
"""

from pathlib import Path
from typing import Any

from ..traffic.errors import MissingExtra


def save_tokenizer(gguf_file: Path, folder: Path) -> None:
    """Write the tokenizer of a GGUF into a Hugging Face folder. Raises MissingExtra without transformers."""
    try:
        from gguf import GGUFReader
        from transformers import AutoTokenizer
    except ImportError as error:
        raise MissingExtra("distill", error.name or "transformers") from error
    tokenizer: Any = AutoTokenizer.from_pretrained(str(gguf_file.parent), gguf_file=gguf_file.name)
    field = GGUFReader(gguf_file).get_field("tokenizer.ggml.pre")
    cut = _pre_tokenizer(str(field.contents()) if field else "")
    if cut is not None:
        tokenizer.backend_tokenizer.pre_tokenizer = cut
    tokenizer.save_pretrained(folder)


def _pre_tokenizer(name: str) -> Any:
    """How text is cut before merging, by llama.cpp's name of the rule; None where transformers is right already."""
    from tokenizers import Regex, pre_tokenizers

    if name in ("smollm", "starcoder", "refact", "command-r"):
        # Every digit stands alone, then GPT-2's rule.
        return pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(r"\p{N}"), behavior="isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )
    return None
