"""An adapter gives the same log-probabilities in the engine as in transformers with peft."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tutelage.serving import bases
from tutelage.serving.gguf_lora import convert_adapter
from tutelage.serving.llama import LlamaEngine
from tutelage.serving.threads import quiet_threads
from tutelage.traffic.errors import BadInput

quiet_threads()
# peft 0.21 asks transformers 5.23 for an attribute that has been renamed.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
_ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
_CASES: dict[str, dict[str, Any]] = {
    "all": {"target_modules": _ALL, "r": 4, "lora_alpha": 16},
    "upper layer": {"target_modules": ["q_proj", "v_proj"], "r": 2, "lora_alpha": 8, "layers_to_transform": [1]},
    "rslora": {"target_modules": ["k_proj", "down_proj"], "r": 8, "lora_alpha": 4, "use_rslora": True},
    "patterns": {
        "target_modules": ["q_proj", "o_proj"],
        "r": 4,
        "lora_alpha": 4,
        "rank_pattern": {"o_proj": 2},
        "alpha_pattern": {"q_proj": 12},
    },
}
_PROMPT = [1, *range(60, 110)]
_ANSWER = "Turn 12 lamps on."


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of converted models of its own."""
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUTELAGE_MODELS", str(folder))
        yield folder


def peft_model(base: bases.Base, seed: int, **config: Any) -> Any:
    """The base with a random adapter that changes what it says."""
    import peft
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(bases.hf_folder(base), dtype=torch.float32)
    return peft.get_peft_model(model, peft.LoraConfig(init_lora_weights=False, **config)).eval()


def torch_scores(model: Any, prompt: list[int], answer: list[int]) -> list[float]:
    """Log-probability of each token of the answer."""
    import torch

    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *answer]])).logits[0].log_softmax(-1)
    return [float(logits[len(prompt) - 1 + at, token]) for at, token in enumerate(answer)]


def engine_scores(engine: LlamaEngine, adapter: str, prompt: list[int], answer: list[int]) -> list[float]:
    """The same from the engine: each token is read after its predecessors, as the sure choice of a grammar."""
    scores = []
    for at, token in enumerate(answer):
        text = chr(token - 3)
        made = engine.generate([*prompt, *answer[:at]], adapter, f'root ::= "{text}"', max_tokens=1)
        assert made.text == text
        scores.append(made.mean_logprob)
    return scores


@pytest.mark.parametrize("case", _CASES)
def test_equal_scores_on_a_full_precision_model(case: str, tiny_gguf: Path, models: Path, tmp_path: Path) -> None:
    base = bases.resolve(str(tiny_gguf))
    model = peft_model(base, seed=len(case), **_CASES[case])
    model.save_pretrained(tmp_path / "adapter")
    converted = convert_adapter(tmp_path / "adapter", base.gguf, tmp_path / "adapter.gguf")
    engine = LlamaEngine(base.gguf, {"x": converted}, slots=1, threads=1, context=256)
    answer = engine.tokenise(_ANSWER)
    expected = torch_scores(model, _PROMPT, answer)
    with model.disable_adapter():
        plain = torch_scores(model, _PROMPT, answer)
    assert max(abs(a - b) for a, b in zip(expected, plain, strict=True)) > 0.3
    assert engine_scores(engine, "x", _PROMPT, answer) == pytest.approx(expected, rel=5e-3, abs=0.02)
    assert engine_scores(engine, "", _PROMPT, answer) == pytest.approx(plain, rel=5e-3, abs=0.02)
    engine.close()


def adapter_folder(folder: Path, tensors: dict[str, Any], **config: Any) -> Path:
    from safetensors.numpy import save_file

    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 2, **config}))
    return folder


@pytest.mark.parametrize("config", [{"use_dora": True}, {"bias": "all"}, {"modules_to_save": ["lm_head"]}])
def test_what_llama_cpp_cannot_apply_is_refused(config: dict[str, Any], tiny_gguf: Path, tmp_path: Path) -> None:
    folder = adapter_folder(tmp_path / "a", {}, **config)
    with pytest.raises(BadInput, match=next(iter(config))):
        convert_adapter(folder, tiny_gguf, tmp_path / "a.gguf")


def test_an_adapter_for_another_base_or_module_is_refused(tiny_gguf: Path, tmp_path: Path) -> None:
    import numpy as np

    def refused(number: int, module: str, inner: int, letters: str = "AB") -> str:
        name = f"base_model.model.model.layers.0.{module}"
        both = {"A": np.ones((2, inner), "float32"), "B": np.ones((64, 2), "float32")}
        tensors = {f"{name}.lora_{letter}.weight": both[letter] for letter in letters}
        folder = adapter_folder(tmp_path / str(number), tensors)
        with pytest.raises(BadInput) as error:
            convert_adapter(folder, tiny_gguf, tmp_path / "x.gguf")
        return str(error.value)

    assert "does not fit" in refused(1, "self_attn.q_proj", 32)
    assert "only" in refused(2, "self_attn.strange", 64)
    assert "only one of the two" in refused(3, "self_attn.q_proj", 64, "A")
    assert "no matrices" in refused(4, "self_attn.q_proj", 64, "")


@pytest.mark.slow
def test_nearly_equal_scores_on_the_quantised_base(tmp_path: Path) -> None:
    base = bases.resolve(bases.DEFAULT)
    model = peft_model(base, 1, target_modules=["q_proj", "v_proj"], r=16, lora_alpha=32)
    model.save_pretrained(tmp_path / "adapter")
    converted = convert_adapter(tmp_path / "adapter", base.gguf, tmp_path / "adapter.gguf")
    engine = LlamaEngine(base.gguf, {"x": converted}, slots=1, context=512)
    prompt = engine.tokenise("<|im_start|>user\nTurn on the lamp in the kitchen.<|im_end|>\n<|im_start|>assistant\n")
    made = engine.generate(prompt, "x", 'root ::= "The lamp in the kitchen is on."', max_tokens=40)
    answer = [*engine.tokenise("The lamp in the kitchen is on."), engine.tokenise("<|im_end|>")[0]]
    assert made.token_count == len(answer)
    expected = torch_scores(model, prompt, answer)
    with model.disable_adapter():
        plain = torch_scores(model, prompt, answer)
    mean, without = sum(expected) / len(expected), sum(plain) / len(plain)
    # llama.cpp quantises activations to 8 bits; the adapter's effect is far larger than that.
    assert abs(mean - without) > 0.3
    assert made.mean_logprob == pytest.approx(mean, abs=0.05 * abs(mean))
    engine.close()
