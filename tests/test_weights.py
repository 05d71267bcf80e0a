"""Base and student in torch: an adapter can be taken off, a whole model stands for itself."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from tutelage.distill.parts import BaseParts
from tutelage.distill.weights import opened

IDS = [5, 7, 9, 11]


@pytest.fixture
def base(tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUTELAGE_MODELS", str(tmp_path / "models"))
    return BaseParts(str(tiny_gguf), threads=1).folder


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("whole", [False, True])
def test_both_give_their_own_probabilities(base: Path, tmp_path: Path, whole: bool) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    before = torch.log_softmax(model(input_ids=torch.tensor([IDS])).logits[0], dim=-1)
    adapted: Any = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    after = torch.log_softmax(adapted(input_ids=torch.tensor([IDS])).logits[0], dim=-1)
    (adapted.merge_and_unload() if whole else adapted).save_pretrained(tmp_path / "student")
    threads = torch.get_num_threads()
    with opened(base, tmp_path / "student", threads=1) as weights:
        assert torch.allclose(weights.base(IDS), before, atol=1e-4)
        assert torch.allclose(weights.student(IDS), after, atol=1e-4)
        assert not torch.allclose(weights.base(IDS), weights.student(IDS), atol=1e-3)
    assert torch.get_num_threads() == threads
