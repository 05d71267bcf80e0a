"""The loss over the trained tokens, with the head computed where it is needed.

In short rows of a small model with a large vocabulary the head costs as much as the body. So hidden states are picked
at the trained positions first, and the head, which is frozen, gets no gradient of its own.
"""

from typing import TYPE_CHECKING, Any

from .rows import MASKED

if TYPE_CHECKING:
    from torch import Tensor


def answer_loss(model: Any, inputs: dict[str, "Tensor"], trained_tokens: "Tensor | int | None" = None) -> "Tensor":
    """Mean negative log-likelihood (natural units) of the trained tokens.

    `model`: a causal language model with a decoder `model` and a head `lm_head`; `inputs`: `input_ids`,
    `attention_mask` and `labels`, each (rows, length). `trained_tokens` divides the sum where a step has several
    batches; the batch's own number when None."""
    from torch.nn.functional import cross_entropy

    hidden = model.model(
        input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False
    ).last_hidden_state
    # Position i says token i + 1.
    targets = inputs["labels"][:, 1:]
    wanted = targets != MASKED
    logits = model.lm_head(hidden[:, :-1][wanted])
    total = cross_entropy(logits, targets[wanted], reduction="sum")
    return total / max(1, int(wanted.sum() if trained_tokens is None else trained_tokens))
