from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tutelage.distill.trunk import remembered


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        pad_token_id=2,
    )
    return LlamaForCausalLM(config).eval()


def batch(*rows: list[int]) -> dict[str, torch.Tensor]:
    width = max(map(len, rows))
    ids = [[*row, *[2] * (width - len(row))] for row in rows]
    mask = [[1] * len(row) + [0] * (width - len(row)) for row in rows]
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}


A, B, C = [5, 6, 7, 8], [9, 10, 2], [11, 12, 13, 14, 15, 16]


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_remembered_layers_give_the_same_logits(model: Any, depth: int):
    wanted = [model(**batch(A, B)).logits, model(**batch(C, B)).logits]
    with remembered(model.model, depth, 2**20) as memory:
        model(**batch(A, B))
        model(**batch(C, B))
        found = [model(**batch(A, B)).logits, model(**batch(C, B)).logits]
    assert memory.hits == 4
    assert memory.bytes > 0
    for one, other in zip(wanted, found, strict=True):
        # Padding after the second row differs from batch to batch and means nothing.
        assert torch.allclose(one[0], other[0], atol=1e-5)
        assert torch.allclose(one[1, :3], other[1, :3], atol=1e-5)


def test_the_backward_pass_ends_at_the_memory(model: Any):
    with remembered(model.model, 2, 2**20):
        for _ in range(2):
            model.zero_grad()
            model(**batch(A)).logits.sum().backward()
    layers = model.model.layers
    assert all(p.grad is None for layer in layers[:2] for p in layer.parameters())
    assert all(p.grad is not None for layer in layers[2:] for p in layer.parameters())


def test_a_full_memory_computes_anew(model: Any):
    with remembered(model.model, 2, 4 * 32 * len(A)) as memory:
        for _ in range(2):
            model(**batch(A))
            model(**batch(C))
    assert memory.hits == 1
    assert memory.bytes == 4 * 32 * len(A)


def test_the_layers_are_put_back(model: Any):
    before = model.model.layers
    with remembered(model.model, 2, 2**20):
        assert model.model.layers is not before
    assert model.model.layers is before
    with remembered(model.model, 0, 2**20):
        assert model.model.layers is before
