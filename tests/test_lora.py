"""read_lora: what a peft adapter adds to which module."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tutelage.serving.lora import lora_config, read_lora
from tutelage.traffic.errors import BadInput


def write(folder: Path, names: dict[str, tuple[int, int]], **changes: Any) -> Path:
    """An adapter of ones and twos: names of modules to their inputs and outputs, rank 4."""
    folder.mkdir()
    tensors = {}
    for name, (inputs, outputs) in names.items():
        tensors[f"base_model.model.model.{name}.lora_A.weight"] = np.ones((4, inputs), "float16")
        tensors[f"base_model.model.model.{name}.lora_B.weight"] = np.full((outputs, 4), 2, "float16")
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, **changes}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


Q, DOWN = "layers.0.self_attn.q_proj", "layers.3.mlp.down_proj"


@pytest.mark.parametrize(
    ("changes", "scalings"),
    [
        ({}, (2.0, 2.0)),
        ({"use_rslora": True}, (4.0, 4.0)),
        ({"alpha_pattern": {"down_proj": 2}}, (2.0, 0.5)),
        ({"alpha_pattern": {"^layers.0.self_attn.q_proj": 16}}, (4.0, 2.0)),
    ],
)
def test_matrices_and_scalings(tmp_path: Path, changes: dict[str, Any], scalings: tuple[float, float]) -> None:
    found = read_lora(write(tmp_path / "a", {Q: (6, 8), DOWN: (10, 6)}, **changes))
    assert set(found) == {(0, "self_attn.q_proj"), (3, "mlp.down_proj")}
    matrix = found[3, "mlp.down_proj"]
    assert (matrix.a.shape, matrix.b.shape, matrix.a.dtype) == ((4, 10), (6, 4), np.float32)
    assert (found[0, "self_attn.q_proj"].scaling, matrix.scaling) == scalings


@pytest.mark.parametrize("change", [{"use_dora": True}, {"peft_type": "IA3"}, {"bias": "all"}, {"lora_bias": True}])
def test_what_is_not_plain_lora_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    folder = write(tmp_path / "a", {Q: (6, 8)}, **change)
    for read in (lora_config, read_lora):
        with pytest.raises(BadInput, match=f"Plain LoRA only.*{next(iter(change))}"):
            read(folder)


def test_adapters_of_other_modules_and_of_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"changes .*lm_head"):
        read_lora(write(tmp_path / "a", {"layers.0.mlp.lm_head": (6, 8)}))
    with pytest.raises(BadInput, match="no matrices"):
        read_lora(write(tmp_path / "b", {}))


def test_half_an_adapter_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", {Q: (6, 8)})
    name = f"base_model.model.model.{Q}.lora_"
    save_file({f"{name}A.weight": np.ones((4, 6))}, folder / "adapter_model.safetensors")
    with pytest.raises(BadInput, match="only one of the two"):
        read_lora(folder)
    both = {f"{name}A.weight": np.ones((4, 6)), f"{name}B.weight": np.ones((8, 5))}
    save_file(both, folder / "adapter_model.safetensors")
    with pytest.raises(BadInput, match="differ in rank"):
        read_lora(folder)
