"""A random model of two layers and rows for it: what the tests of training share."""

from pathlib import Path
from typing import Any

from tutelage.distill.options import DistillOptions
from tutelage.distill.parts import BaseParts
from tutelage.distill.rows import MASKED, Row

OPTIONS = DistillOptions(data="", epochs=3, batch=4, learning_rate=1e-2, rank=4, alpha=8, threads=1, checkpoint_s=0)


def rows(tiny: BaseParts, count: int = 8) -> list[Row]:
    """Short rows of different lengths, each a session of its own."""
    found = []
    for number in range(count):
        prompt = tiny.tokenise(f"<|im_start|>user\nsay {'abcdefgh'[number % 8] * (number + 2)}<|im_end|>\n")
        answer = tiny.tokenise(f"{'abcdefgh'[number % 8]}!<|im_end|>")
        found.append(Row(f"t{number}/0", f"t{number}", (), prompt + answer, [MASKED] * len(prompt) + answer))
    return found


def weights(folder: Path) -> dict[str, Any]:
    """All tensors of an adapter or a model."""
    from safetensors.torch import load_file

    return {name: tensor for path in folder.glob("*.safetensors") for name, tensor in load_file(path).items()}
