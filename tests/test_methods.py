from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from tutelage.distill.methods import adapter_config, kind_of, load_base, save, uses_cuda
from tutelage.distill.options import INITS, METHODS, DistillOptions
from tutelage.traffic.errors import BadInput

OPTIONS = DistillOptions(data="", rank=8, alpha=16, layers_from=1)


class Loader:
    """Takes what the real loader would be given and returns a model of two empty layers."""

    def __init__(self) -> None:
        self.given: dict[str, Any] = {}

    def __call__(self, folder: Path, **settings: Any) -> Any:
        self.given = {"folder": folder, **settings}
        layers = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
        return SimpleNamespace(model=SimpleNamespace(layers=layers, embed_tokens=nn.Embedding(3, 2)))


def test_the_base_of_qlora_has_four_bits():
    """Contract: what transformers 5 wants of a loader for QLoRA. There is no CUDA where this runs."""
    loader = Loader()
    load_base(Path("base"), replace(OPTIONS, method="qlora"), cuda=True, load=loader)
    bits = loader.given["quantization_config"]
    assert bits.load_in_4bit
    assert bits.bnb_4bit_quant_type == "nf4"
    assert bits.bnb_4bit_use_double_quant
    assert bits.bnb_4bit_compute_dtype is torch.bfloat16
    assert loader.given["dtype"] is torch.bfloat16
    assert loader.given["device_map"] == {"": 0}


@pytest.mark.parametrize(
    ("method", "cuda", "dtype"),
    [("lora", False, torch.float32), ("lora", True, torch.bfloat16), ("full", True, torch.float32)],
)
def test_precision(method: str, cuda: bool, dtype: torch.dtype):
    loader = Loader()
    load_base(Path("base"), replace(OPTIONS, method=method), cuda=cuda, load=loader)
    assert loader.given["dtype"] is dtype
    assert "quantization_config" not in loader.given


def test_layers_below_are_frozen_in_full_training():
    model = load_base(Path("base"), replace(OPTIONS, method="full"), cuda=False, load=Loader())
    assert [p.requires_grad for p in model.model.layers.parameters()] == [False, False, True, True]
    assert not model.model.embed_tokens.weight.requires_grad
    whole = load_base(Path("base"), replace(OPTIONS, method="full", layers_from=0), cuda=False, load=Loader())
    assert whole.model.embed_tokens.weight.requires_grad


def test_too_high_a_layer_is_refused():
    with pytest.raises(BadInput, match="0 to 1"):
        load_base(Path("base"), replace(OPTIONS, layers_from=2), cuda=False, load=Loader())


def test_qlora_and_cuda_are_refused_without_a_device():
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    with pytest.raises(BadInput, match="needs a CUDA device"):
        uses_cuda(replace(OPTIONS, method="qlora"))
    with pytest.raises(BadInput, match="sees no CUDA device"):
        uses_cuda(replace(OPTIONS, device="cuda"))
    assert not uses_cuda(OPTIONS)


@pytest.mark.parametrize(("name", "value"), [("method", "lorra"), ("init", "pissa"), ("device", "tpu")])
def test_unknown_words_are_refused_with_the_known_ones(name: str, value: str):
    with pytest.raises(BadInput, match=rf"distill.{name} is '{value}'; expected one of "):
        uses_cuda(replace(OPTIONS, **{name: value}))


def random_llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    shape: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4}
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(vocab_size=64, num_hidden_layers=2, num_key_value_heads=4, **shape)).eval()


IDS = torch.tensor([[3, 4, 5]])
PEFT_ASKS = "ignore:.*is_gradient_checkpointing:FutureWarning"


@pytest.mark.filterwarnings(PEFT_ASKS)
@pytest.mark.parametrize("init", INITS)
def test_every_beginning_leaves_the_base_as_it_is(init: str):
    from peft import get_peft_model

    model = random_llama()
    before = model(IDS).logits
    adapted = get_peft_model(model, adapter_config(replace(OPTIONS, init=init), 2))
    assert torch.allclose(adapted(IDS).logits, before, atol=1e-5)


@pytest.mark.filterwarnings(PEFT_ASKS)
def test_a_saved_dora_answers_as_it_did_in_training(tmp_path: Path):
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    adapted = get_peft_model(random_llama(), adapter_config(replace(OPTIONS, method="dora"), 2)).eval()
    base = adapted(IDS).logits
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name or "magnitude" in name:
                parameter += torch.randn_like(parameter) * 0.2
    said = adapted(IDS).logits
    save(adapted, tmp_path / "m", "dora")
    merged: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "m")
    assert not torch.allclose(said, base, atol=0.1)
    assert torch.allclose(merged(IDS).logits, said, atol=1e-4)
    assert torch.allclose(adapted(IDS).logits, said), "training can go on after its weights were saved"


def test_shapes_of_the_adapters():
    made = {method: adapter_config(replace(OPTIONS, method=method), 4) for method in METHODS}
    assert made["full"] is None
    assert made["dora"].use_dora
    assert made["rslora"].use_rslora
    assert not made["lora"].use_dora
    assert not made["qlora"].use_rslora
    assert made["lora"].layers_to_transform == [1, 2, 3]
    assert {method: kind_of(method) for method in METHODS if kind_of(method) == "model"} == {
        "dora": "model",
        "full": "model",
    }
