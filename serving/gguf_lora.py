"""A peft adapter as a GGUF that llama.cpp can put on the base.

llama.cpp multiplies an adapter by alpha / rank, as peft does without rank-stabilised scaling; every other scaling is
folded into the B matrices. GGUF files of the llama family hold the rows of q and k in another order than the
Hugging Face checkpoints (pairs of rotary halves interleaved), and the rows of B follow.
"""

import json
import math
import re
from pathlib import Path
from typing import Any

from ..traffic.errors import BadInput, MissingExtra

MODULES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_PERMUTED = {"llama": True, "qwen2": False, "qwen3": False}
"""Architectures whose adapters are understood, and whether their q and k rows are permuted."""
_KEY = re.compile(r"(?:.*\.)?layers\.(\d+)\.(\w+\.\w+)\.lora_([AB])(?:\.default)?\.weight")


def convert_adapter(adapter: Path, base_gguf: Path, target: Path) -> Path:
    """Write the peft adapter in the folder `adapter` as `target`. Raises BadInput for what llama.cpp cannot apply."""
    try:
        import gguf
        from safetensors.numpy import load_file
    except ImportError as error:
        raise MissingExtra("distill", error.name or "gguf") from error
    config = json.loads((adapter / "adapter_config.json").read_text())
    _check(config)
    shape = BaseShape(gguf.GGUFReader(base_gguf))
    pairs = _pairs(load_file(adapter / "adapter_model.safetensors"))
    writer = gguf.GGUFWriter(target, shape.architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(config["lora_alpha"]))
    for (layer, module), matrices in sorted(pairs.items()):
        name = f"blk.{layer}.{MODULES[module]}.weight"
        a, b = shape.checked(name, matrices)
        b = b * _correction(config, f"layers.{layer}.{module}", rank=a.shape[0])
        writer.add_tensor(f"{name}.lora_a", a)
        writer.add_tensor(f"{name}.lora_b", shape.permuted(module, b))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


class BaseShape:
    """What the adapter must fit: architecture, heads, and the shape of every weight."""

    def __init__(self, reader: Any) -> None:
        self.architecture = str(reader.get_field("general.architecture").contents())
        if self.architecture not in _PERMUTED:
            known = ", ".join(_PERMUTED)
            raise BadInput(f"Adapters for the architecture {self.architecture!r} cannot be converted; known: {known}.")
        heads = int(reader.get_field(f"{self.architecture}.attention.head_count").contents())
        kv = reader.get_field(f"{self.architecture}.attention.head_count_kv")
        self._heads = {"self_attn.q_proj": heads, "self_attn.k_proj": int(kv.contents()) if kv else heads}
        self._shapes = {tensor.name: tuple(int(n) for n in tensor.shape) for tensor in reader.tensors}

    def checked(self, name: str, matrices: dict[str, Any]) -> tuple[Any, Any]:
        """A (rank × in) and B (out × rank) as float32. Raises BadInput unless they fit the base's weight."""
        if set(matrices) != {"A", "B"}:
            raise BadInput(f"The adapter has only one of the two matrices for {name}.")
        a, b = matrices["A"].astype("float32"), matrices["B"].astype("float32")
        if self._shapes.get(name) != (a.shape[1], b.shape[0]) or a.shape[0] != b.shape[1]:
            raise BadInput(
                f"The adapter does not fit the base: {name} is {self._shapes.get(name, 'missing')}, "
                f"the adapter is made for {(a.shape[1], b.shape[0])}."
            )
        return a, b

    def permuted(self, module: str, b: Any) -> Any:
        """Rows of B in the order of the GGUF: per head, the two rotary halves interleaved."""
        heads = self._heads.get(module)
        if heads is None or not _PERMUTED[self.architecture]:
            return b
        rows, rank = b.shape
        return b.reshape(heads, 2, rows // heads // 2, rank).swapaxes(1, 2).reshape(rows, rank).copy()


def _check(config: dict[str, Any]) -> None:
    refused = {
        "peft_type": config.get("peft_type") != "LORA",
        "use_dora": bool(config.get("use_dora")),
        "lora_bias": bool(config.get("lora_bias")),
        "bias": config.get("bias", "none") != "none",
        "modules_to_save": bool(config.get("modules_to_save")),
        "fan_in_fan_out": bool(config.get("fan_in_fan_out")),
    }
    if wrong := [f"{key}={config.get(key)!r}" for key, bad in refused.items() if bad]:
        raise BadInput(f"llama.cpp serves plain LoRA only; this adapter has {', '.join(wrong)}.")


def _pairs(tensors: dict[str, Any]) -> dict[tuple[int, str], dict[str, Any]]:
    found: dict[tuple[int, str], dict[str, Any]] = {}
    for key, value in tensors.items():
        match = _KEY.fullmatch(key)
        if match is None or match[2] not in MODULES:
            raise BadInput(f"The adapter changes {key!r}; only {', '.join(MODULES)} can be served.")
        found.setdefault((int(match[1]), match[2]), {})[match[3]] = value
    if not found:
        raise BadInput("The adapter holds no matrices.")
    return found


def _correction(config: dict[str, Any], module: str, rank: int) -> float:
    """peft's scaling of a module divided by llama.cpp's, which is `lora_alpha` / rank."""
    alpha = _of_pattern(config.get("alpha_pattern") or {}, module, config["lora_alpha"])
    scaling = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    return scaling / (config["lora_alpha"] / rank)


def _of_pattern(pattern: dict[str, float], module: str, default: float) -> float:
    for key, value in pattern.items():
        if re.search(rf"(^|\.)({key.lstrip('^')})$", module):
            return value
    return default
