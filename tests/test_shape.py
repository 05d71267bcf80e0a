"""Shape: which models the forward pass describes."""

import json
from pathlib import Path
from typing import Any

import pytest

from tutelage.serving.shape import Shape
from tutelage.traffic.errors import BadInput

SIZES: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "rms_norm_eps": 1e-6,
}


def written(folder: Path, **changes: Any) -> Path:
    (folder / "config.json").write_text(json.dumps({**SIZES, **changes}))
    return folder


def test_what_is_not_said_is_as_in_llama(tmp_path: Path) -> None:
    found = Shape.of(written(tmp_path))
    assert (found.layers, found.heads, found.kv_heads, found.head, found.theta) == (2, 4, 4, 8, 10_000.0)
    more = {"num_key_value_heads": 2, "head_dim": 16, "rope_parameters": {"rope_type": "default", "rope_theta": 5.0}}
    found = Shape.of(written(tmp_path, **more))
    assert (found.kv_heads, found.head, found.theta) == (2, 16, 5.0)
    assert Shape.of(written(tmp_path, rope_theta=7.0)).theta == 7.0


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "gpt2"},
        {"hidden_act": "gelu"},
        {"rope_parameters": {"rope_type": "yarn"}},
        {"mlp_bias": True},
        {"use_sliding_window": True},
    ],
)
def test_other_models_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=r"cannot run .*Set serving\.engine to llama"):
        Shape.of(written(tmp_path, **change))


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be loaded"):
        Shape.of(tmp_path)
