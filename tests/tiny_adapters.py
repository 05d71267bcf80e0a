"""Random adapters for the tiny random model."""

import json
from pathlib import Path
from typing import Any

import numpy as np


def write_adapter(folder: Path, gguf_file: Path, seed: int, **changes: Any) -> Path:
    """A random peft adapter on q and v of all layers of a base, as peft writes it."""
    from gguf import GGUFReader
    from safetensors.numpy import save_file

    rng, tensors = np.random.default_rng(seed), {}
    for tensor in GGUFReader(gguf_file).tensors:
        parts = tensor.name.split(".")
        if parts[0] == "blk" and parts[2] in ("attn_q", "attn_v"):
            inner, outer = (int(n) for n in tensor.shape)
            name = f"base_model.model.model.layers.{parts[1]}.self_attn.{parts[2][-1]}_proj"
            tensors[f"{name}.lora_A.weight"] = rng.normal(0, 0.3, (4, inner)).astype("float32")
            tensors[f"{name}.lora_B.weight"] = rng.normal(0, 0.3, (outer, 4)).astype("float32")
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], **changes}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder
