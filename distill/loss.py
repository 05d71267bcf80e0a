"""The loss over the trained tokens, with the head computed where it is needed.

In short rows of a small model with a large vocabulary the head costs as much as the body. So hidden states are picked
at the trained positions first, and the head, which is frozen, gets no gradient of its own. trl's own head does that
too, but in tiles made for GPUs: on a CPU it took 2 to 5 seconds a step with 49,152 words, however few were trained.
"""

from typing import TYPE_CHECKING, Any

from .rows import MASKED

if TYPE_CHECKING:
    from torch import Tensor

_RESHAPED = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier", "output_multiplier")


def answer_loss(model: Any, inputs: dict[str, "Tensor"], trained_tokens: "Tensor | int | None" = None) -> "Tensor":
    """Mean negative log-likelihood (natural units) of the trained tokens.

    `model`: a causal language model with a decoder `model` and a head `lm_head`; `inputs`: `input_ids`,
    `attention_mask` and `labels`, each (rows, length), or those of `packs.collated`. `trained_tokens` divides the sum
    where a step has several batches; the batch's own number when None."""
    from torch.nn.functional import cross_entropy

    hidden = model.model(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        position_ids=inputs.get("position_ids"),
        use_cache=False,
    ).last_hidden_state
    # Position i says token i + 1.
    targets = inputs["labels"][:, 1:]
    wanted = targets != MASKED
    logits = model.lm_head(hidden[:, :-1][wanted])
    total = cross_entropy(logits, targets[wanted], reduction="sum")
    return total / max(1, int(wanted.sum() if trained_tokens is None else trained_tokens))


def has_plain_head(model: Any) -> bool:
    """Whether the logits are the head's output as it is: not scaled or capped, as some families' are."""
    config = model.config.get_text_config()
    plain = all(getattr(config, name, None) in (None, 1, 1.0) for name in _RESHAPED)
    return plain and hasattr(model, "lm_head") and hasattr(model.model, "layers")


def speak_loss(model: Any) -> None:
    """Make `model(input_ids, attention_mask, labels, position_ids, trained_tokens)` the loss.

    What wraps a model for several processes averages gradients only when it is called itself, and calls this."""

    def forward(
        input_ids: Any = None,
        attention_mask: Any = None,
        labels: Any = None,
        position_ids: Any = None,
        trained_tokens: Any = None,
        **_: Any,
    ) -> Any:
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}
        return answer_loss(model, {**inputs, "position_ids": position_ids}, trained_tokens)

    model.forward = forward
