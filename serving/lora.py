"""A peft adapter as matrices, for engines that put it on the base themselves: plain LoRA on the linear layers."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..traffic.errors import BadInput, MissingExtra
from ..traffic.students import ADAPTER

MODULES = (
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
)
"""Modules of a layer that an adapter may change."""
_KEY = re.compile(r"(?:.*\.)?layers\.(\d+)\.(\w+\.\w+)\.lora_([AB])(?:\.default)?\.weight")


class LoraMatrix(NamedTuple):
    """What is added to one module: scaling · B · A."""

    a: Any
    """Rank × inputs, float32 (numpy)."""
    b: Any
    """Outputs × rank."""
    scaling: float


def adapter_folder(path: Path) -> Path:
    """The peft adapter at `path`: its folder, or the one beside its GGUF. Raises BadInput where there is none."""
    folder = path if path.is_dir() else path.parent / ADAPTER
    if not (folder / "adapter_config.json").is_file():
        raise BadInput(f"Expected a peft adapter in {folder}.")
    return folder


def read_lora(adapter: Path) -> dict[tuple[int, str], LoraMatrix]:
    """The matrices of the peft adapter in a folder, by layer and module. Raises BadInput for any other adapter."""
    try:
        from safetensors.numpy import load_file
    except ImportError as error:
        raise MissingExtra("distill", error.name or "safetensors") from error
    config = lora_config(adapter)
    found: dict[tuple[int, str], LoraMatrix] = {}
    for (layer, module), matrices in _pairs(load_file(adapter / "adapter_model.safetensors")).items():
        if set(matrices) != {"A", "B"}:
            raise BadInput(f"The adapter has only one of the two matrices for layer {layer}, {module}.")
        a, b = matrices["A"].astype("float32"), matrices["B"].astype("float32")
        if len(a) != b.shape[1]:
            raise BadInput(f"The two matrices of the adapter for layer {layer}, {module}, differ in rank.")
        found[layer, module] = LoraMatrix(a, b, _scaling(config, f"layers.{layer}.{module}", rank=len(a)))
    return found


def lora_config(adapter: Path) -> dict[str, Any]:
    """The adapter's configuration. Raises BadInput unless it is plain LoRA."""
    config: dict[str, Any] = json.loads((adapter / "adapter_config.json").read_text())
    refused = {
        "peft_type": config.get("peft_type") != "LORA",
        "use_dora": bool(config.get("use_dora")),
        "lora_bias": bool(config.get("lora_bias")),
        "bias": config.get("bias", "none") != "none",
        "modules_to_save": bool(config.get("modules_to_save")),
        "fan_in_fan_out": bool(config.get("fan_in_fan_out")),
    }
    if wrong := [f"{key}={config.get(key)!r}" for key, bad in refused.items() if bad]:
        raise BadInput(f"Plain LoRA only can be put on a base here; this adapter has {', '.join(wrong)}.")
    return config


def _pairs(tensors: Mapping[str, Any]) -> dict[tuple[int, str], dict[str, Any]]:
    found: dict[tuple[int, str], dict[str, Any]] = {}
    for key, value in tensors.items():
        match = _KEY.fullmatch(key)
        if match is None or match[2] not in MODULES:
            raise BadInput(f"The adapter changes {key!r}; only {', '.join(MODULES)} can be served.")
        found.setdefault((int(match[1]), match[2]), {})[match[3]] = value
    if not found:
        raise BadInput("The adapter holds no matrices.")
    return found


def _scaling(config: Mapping[str, Any], module: str, rank: int) -> float:
    """What peft multiplies a module's product with."""
    alpha = _of_pattern(config.get("alpha_pattern") or {}, module, config["lora_alpha"])
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _of_pattern(pattern: Mapping[str, float], module: str, default: float) -> float:
    for key, value in pattern.items():
        if re.search(rf"(^|\.)({key.lstrip('^')})$", module):
            return value
    return default
