from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tutelage.distill.loss import answer_loss
from tutelage.distill.rows import MASKED


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    shape: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    return LlamaForCausalLM(LlamaConfig(vocab_size=64, pad_token_id=2, **shape))


INPUTS = {
    "input_ids": torch.tensor([[5, 6, 7, 8, 9], [10, 11, 12, 2, 2]]),
    "attention_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]),
    "labels": torch.tensor([[MASKED, MASKED, 7, 8, MASKED], [MASKED, 11, 12, MASKED, MASKED]]),
}


def test_the_same_loss_and_gradients_as_the_models_own(model: Any):
    wanted = model(**INPUTS).loss
    wanted.backward()
    gradient = model.model.layers[0].mlp.up_proj.weight.grad.clone()
    model.zero_grad()
    found = answer_loss(model, INPUTS)
    found.backward()
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)
    assert torch.allclose(gradient, model.model.layers[0].mlp.up_proj.weight.grad, atol=1e-6)


def test_a_part_of_a_step_is_divided_by_the_steps_tokens(model: Any):
    assert answer_loss(model, INPUTS, torch.tensor(8)).item() == pytest.approx(answer_loss(model, INPUTS).item() / 2)


def test_a_batch_without_trained_tokens_is_zero(model: Any):
    assert answer_loss(model, {**INPUTS, "labels": torch.full((2, 5), MASKED)}).item() == 0
