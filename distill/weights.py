"""Base and student side by side in torch, as they were trained: for what an engine does not tell.

An engine gives the probability of what it writes; forgetting and leaks ask for that of texts that others wrote.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..serving.threads import quiet_threads
from ..traffic.errors import MissingExtra
from .train import calm, with_threads

if TYPE_CHECKING:
    from torch import Tensor


class Weights:
    """The base and one student made from it. For one thread."""

    def __init__(self, base: Any, student: Any) -> None:
        """`student`: a peft model around `base`, or a whole model."""
        self._base, self._student = base, student

    def base(self, ids: Sequence[int]) -> "Tensor":
        """Log-probabilities of the base, (len(ids), vocabulary): row i is about what follows ids[: i + 1]."""
        if not hasattr(self._student, "disable_adapter"):
            return _logprobs(self._base, ids)
        with self._student.disable_adapter():
            return _logprobs(self._student, ids)

    def student(self, ids: Sequence[int]) -> "Tensor":
        """Log-probabilities of the student, (len(ids), vocabulary)."""
        return _logprobs(self._student, ids)


@contextmanager
def opened(base: Path, student: Path, threads: int = 0) -> Iterator[Weights]:
    """Load the folder of the base and that of the student: a peft adapter, or a whole model.

    `threads` 0: as torch has it. Raises MissingExtra."""
    quiet_threads()
    try:
        import torch
        from peft import PeftModel
        from transformers import AutoModelForCausalLM
    except ImportError as error:
        raise MissingExtra("distill", error.name or "peft") from error
    with calm(), with_threads(torch, threads or torch.get_num_threads()):
        plain: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
        if (student / "adapter_config.json").is_file():
            trained: Any = PeftModel.from_pretrained(plain, str(student)).eval()
        else:
            trained = AutoModelForCausalLM.from_pretrained(student, dtype=torch.float32).eval()
        yield Weights(plain, trained)


def _logprobs(model: Any, ids: Sequence[int]) -> "Tensor":
    import torch

    with torch.inference_mode():
        return torch.log_softmax(model(input_ids=torch.tensor([list(ids)])).logits[0].float(), dim=-1)
