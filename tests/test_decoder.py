"""Decoder: the same logits as transformers, however the tokens come and whoever is computed beside them."""

import json
from pathlib import Path
from typing import Any

import pytest

from tutelage.serving.attention import Segment
from tutelage.serving.decoder import Decoder, Span
from tutelage.serving.eight_bits import Plain
from tutelage.serving.lora import read_lora
from tutelage.serving.threads import quiet_threads
from tutelage.traffic.errors import BadInput

quiet_threads()
torch: Any = pytest.importorskip("torch")
# peft 0.21 asks transformers 5.23 for an attribute that has been renamed.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}


@pytest.fixture(scope="module", params=["llama", "llama with biases", "qwen2", "qwen3"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A random model of one family, by transformers, and its folder."""
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(3)
    if request.param.startswith("llama"):
        made: Any = LlamaForCausalLM(LlamaConfig(**SIZES, attention_bias="bias" in request.param))
    elif request.param == "qwen2":
        made = Qwen2ForCausalLM(Qwen2Config(**SIZES, tie_word_embeddings=True))
    else:
        made = Qwen3ForCausalLM(Qwen3Config(**SIZES, head_dim=16))
    for parameter in made.parameters():
        # Also biases and norms, which start as zeros and ones.
        parameter.data += torch.randn_like(parameter) * 0.1
    folder = tmp_path_factory.mktemp("model")
    made.save_pretrained(folder)
    return made.eval(), folder


def decoder_of(folder: Path) -> Decoder:
    return Decoder(torch, folder, Plain, slots=3, context=64)


def expected(model: Any, ids: list[int]) -> Any:
    with torch.inference_mode():
        return model(torch.tensor([ids])).logits[0]


def test_sequences_side_by_side_in_pieces(model: tuple[Any, Path]) -> None:
    made, folder = model
    decoder = decoder_of(folder)
    first, second = list(range(5, 25)), list(range(40, 51))
    with torch.inference_mode():
        # A whole prompt beside a part of another; the rest of that beside one more token of the first.
        told = decoder.step([*first, *second[:4]], [Segment(0, 20, 1, 0), Segment(20, 24, 0, 0)], [], range(24))
        assert torch.allclose(told[:20], expected(made, first), atol=1e-4)
        assert torch.allclose(told[20:], expected(made, second[:4]), atol=1e-4)
        told = decoder.step([7, *second[4:]], [Segment(0, 1, 1, 20), Segment(1, 8, 0, 4)], [], [0, 7])
        assert torch.allclose(told[0], expected(made, [*first, 7])[-1], atol=1e-4)
        assert torch.allclose(told[1], expected(made, second)[-1], atol=1e-4)
        # Places can be copied and written again from any position.
        decoder.copy(1, 2, 10)
        told = decoder.step([9, 11], [Segment(0, 1, 2, 10), Segment(1, 2, 1, 21)], [], [0, 1])
        assert torch.allclose(told[0], expected(made, [*first[:10], 9])[-1], atol=1e-4)
        assert torch.allclose(told[1], expected(made, [*first, 7, 11])[-1], atol=1e-4)


def test_adapters_are_added_to_their_own_rows(model: tuple[Any, Path], tmp_path: Path) -> None:
    import peft

    made, folder = model
    decoder, ids = decoder_of(folder), list(range(30, 42))
    adapters, wanted = [], []
    for number, modules in enumerate((["q_proj", "v_proj"], ["k_proj", "o_proj", "gate_proj", "up_proj", "down_proj"])):
        torch.manual_seed(number)
        config = peft.LoraConfig(r=4, lora_alpha=12, target_modules=modules, init_lora_weights=False)
        adapted: Any = peft.get_peft_model(made, config)
        adapted.save_pretrained(str(tmp_path / str(number)))
        wanted.append(expected(adapted, ids))
        adapted.unload()
        adapters.append(decoder.adapter(read_lora(tmp_path / str(number))))
    segments = [Segment(at * 12, at * 12 + 12, at, 0) for at in range(3)]
    with torch.inference_mode():
        told = decoder.step(ids * 3, segments, [Span(0, 12, adapters[0]), Span(24, 36, adapters[1])], range(36))
    assert torch.allclose(told[:12], wanted[0], atol=1e-3)
    assert torch.allclose(told[12:24], expected(made, ids), atol=1e-4)
    assert torch.allclose(told[24:], wanted[1], atol=1e-3)
    assert not torch.allclose(told[24:], told[:12], atol=0.1)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", **SIZES, "rms_norm_eps": 1e-6}))
    with pytest.raises(BadInput, match="has no tensor"):
        decoder_of(tmp_path)


def test_an_adapter_of_another_base_is_refused(model: tuple[Any, Path], tmp_path: Path) -> None:
    from test_lora import write

    decoder = decoder_of(model[1])
    for name, sizes in (("layers.0.self_attn.q_proj", (16, 32)), ("layers.7.mlp.down_proj", (48, 32))):
        with pytest.raises(BadInput, match="does not fit the base"):
            decoder.adapter(read_lora(write(tmp_path / name, {name: sizes})))
