"""Which models (Llama, SmolLM, Qwen 2 and 3) the forward pass of `decoder` describes, and their sizes."""

import json
from dataclasses import dataclass
from pathlib import Path

from ..traffic.errors import BadInput

FAMILY = ("llama", "qwen2", "qwen3")
"""Model types of Hugging Face's configurations that are understood."""


@dataclass(frozen=True)
class Shape:
    """The sizes of a model, by Hugging Face's `config.json`."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head: int
    """Values of one head."""
    epsilon: float
    theta: float
    """Base of the rotary frequencies."""

    @property
    def cached_values(self) -> int:
        """Keys and values that are kept of a token."""
        return self.layers * 2 * self.kv_heads * self.head

    @classmethod
    def of(cls, folder: Path) -> "Shape":
        """Raises BadInput for a model that this forward pass does not describe."""
        try:
            config = json.loads((folder / "config.json").read_text())
        except (OSError, ValueError) as error:
            raise BadInput(f"The model in {folder} cannot be loaded: {error}") from error
        rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
        wrong = {
            "model_type": config.get("model_type") not in FAMILY,
            "hidden_act": config.get("hidden_act", "silu") != "silu",
            "rope_type": rope.get("rope_type", "default") != "default",
            "mlp_bias": bool(config.get("mlp_bias")),
            "use_sliding_window": bool(config.get("use_sliding_window")),
        }
        if found := [f"{key}={config.get(key, rope.get(key))!r}" for key, bad in wrong.items() if bad]:
            raise BadInput(
                f"The engine torch cannot run {folder.name} ({', '.join(found)}). Set serving.engine to llama."
            )
        heads = config["num_attention_heads"]
        return cls(
            layers=config["num_hidden_layers"],
            hidden=config["hidden_size"],
            heads=heads,
            kv_heads=config.get("num_key_value_heads") or heads,
            head=config.get("head_dim") or config["hidden_size"] // heads,
            epsilon=config["rms_norm_eps"],
            theta=rope.get("rope_theta") or config.get("rope_theta", 10_000.0),
        )
