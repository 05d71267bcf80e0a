"""A whole model in one file answers as its base with the adapter beside it, and as torch does."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from tutelage.distill.parts import BaseParts
from tutelage.serving.gguf_lora import convert_adapter
from tutelage.serving.gguf_whole import merge_adapter, write_whole
from tutelage.serving.llama import LlamaEngine
from tutelage.traffic.errors import BadInput

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
PROMPT = "<|im_start|>user\nhello there<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture
def adapted(tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TUTELAGE_MODELS", str(tmp_path / "models"))
    torch.manual_seed(3)
    model: Any = AutoModelForCausalLM.from_pretrained(BaseParts(str(tiny_gguf), threads=1).folder, dtype=torch.float32)
    config = LoraConfig(r=4, lora_alpha=6, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False)
    return get_peft_model(model, config)


def said(path: Path, adapters: dict[str, Path], adapter: str = "") -> tuple[str, float, float]:
    engine = LlamaEngine(path, adapters, slots=1, threads=1, context=512)
    made = engine.generate(engine.tokenise(PROMPT), adapter, max_tokens=12)
    engine.close()
    return made.text, made.mean_logprob, made.min_logprob


def test_an_adapter_worked_in_says_the_same(tiny_gguf: Path, tmp_path: Path, adapted: Any) -> None:
    adapted.save_pretrained(tmp_path / "adapter")
    lora = convert_adapter(tmp_path / "adapter", tiny_gguf, tmp_path / "adapter.gguf")
    whole = merge_adapter(tiny_gguf, lora, tmp_path / "whole.gguf")
    beside = said(tiny_gguf, {"a": lora}, "a")
    alone = said(whole, {})
    assert alone[0] == beside[0] != said(tiny_gguf, {})[0]
    assert alone[1:] == pytest.approx(beside[1:], abs=1e-3)


def test_trained_weights_are_put_where_the_adapter_would_put_them(
    tiny_gguf: Path, tmp_path: Path, adapted: Any
) -> None:
    adapted.save_pretrained(tmp_path / "adapter")
    lora = convert_adapter(tmp_path / "adapter", tiny_gguf, tmp_path / "adapter.gguf")
    merged = gguf.GGUFReader(merge_adapter(tiny_gguf, lora, tmp_path / "merged.gguf"))
    adapted.merge_and_unload().save_pretrained(tmp_path / "model")
    whole = gguf.GGUFReader(write_whole(tmp_path / "model", tiny_gguf, tmp_path / "whole.gguf"))
    for one, other in zip(merged.tensors, whole.tensors, strict=True):
        assert one.name == other.name
        assert np.allclose(one.data, other.data, atol=1e-5), one.name
    assert said(tmp_path / "whole.gguf", {})[0] == said(tmp_path / "merged.gguf", {})[0]


def test_everything_else_is_the_bases_own(tiny_gguf: Path, tmp_path: Path, adapted: Any) -> None:
    adapted.save_pretrained(tmp_path / "adapter")
    lora = convert_adapter(tmp_path / "adapter", tiny_gguf, tmp_path / "adapter.gguf")
    old, new = gguf.GGUFReader(tiny_gguf), gguf.GGUFReader(merge_adapter(tiny_gguf, lora, tmp_path / "whole.gguf"))
    assert list(old.fields) == list(new.fields)
    for name, field in old.fields.items():
        if not name.startswith("GGUF."):
            assert field.contents() == new.fields[name].contents()
    changed = {
        one.name
        for one, other in zip(old.tensors, new.tensors, strict=True)
        if not np.array_equal(one.data, other.data)
    }
    assert changed == {f"blk.{n}.{name}.weight" for n in (0, 1) for name in ("attn_q", "attn_v", "ffn_down")}


def test_another_base_is_refused(tiny_gguf: Path, tmp_path: Path, adapted: Any) -> None:
    adapted.merge_and_unload().save_pretrained(tmp_path / "model")
    with pytest.raises(BadInput, match="no place for"):
        write_whole(_renamed(tmp_path / "model"), tiny_gguf, tmp_path / "whole.gguf")


def _renamed(folder: Path) -> Path:
    from safetensors.numpy import load_file, save_file

    file = folder / "model.safetensors"
    save_file({key.replace("mlp.", "moe."): value for key, value in load_file(file).items()}, file)
    return folder
