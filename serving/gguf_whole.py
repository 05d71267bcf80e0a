"""Whole models as GGUF: a base with an adapter worked into its weights, or with weights that were all trained.

The file is the base's own, tensor by tensor, with the changed ones written anew: what says how to run the model stays
as it is. A changed tensor of a quantised base is stored in 8 bits (Q8_0), which is finer than what it replaces; one of
full precision keeps its precision.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..traffic.errors import BadInput, MissingExtra
from .gguf_lora import MODULES, BaseShape

_LORA = re.compile(r"(.+\.weight)\.lora_([ab])")
_OUTER = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
_NORMS = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
_BLOCK = re.compile(r"model\.layers\.(\d+)\.(.+)\.(weight|bias)")


def merge_adapter(base: Path, adapter: Path, target: Path) -> Path:
    """Write `base` with the GGUF adapter worked in: W + alpha / rank · B A. Raises BadInput when they do not fit."""
    gguf = _library()
    reader = gguf.GGUFReader(adapter)
    alpha = float(reader.get_field(gguf.Keys.Adapter.LORA_ALPHA).contents())
    pairs: dict[str, dict[str, Any]] = {}
    for tensor in reader.tensors:
        if found := _LORA.fullmatch(tensor.name):
            pairs.setdefault(found[1], {})[found[2]] = tensor.data.astype("float32")

    def merged(name: str, weight: Any) -> Any:
        a, b = pairs[name]["a"], pairs[name]["b"]
        return weight + (alpha / a.shape[0]) * (b @ a)

    return _rewrite(base, {name: lambda weight, name=name: merged(name, weight) for name in pairs}, target)


def write_whole(model: Path, base: Path, target: Path) -> Path:
    """Write the Hugging Face weights in the folder `model`, which was trained from `base`, in the base's form."""
    try:
        from safetensors.numpy import load_file
    except ImportError as error:
        raise MissingExtra("distill", "safetensors") from error
    gguf = _library()
    shape = BaseShape(gguf.GGUFReader(base))
    weights = {key: value for file in sorted(model.glob("*.safetensors")) for key, value in load_file(file).items()}
    changed = {_named(key): shape.permuted(_module(key), _two(value)) for key, value in weights.items()}
    known = {tensor.name for tensor in gguf.GGUFReader(base).tensors}
    # A head that is tied to the embeddings has no tensor of its own in the base.
    tied = {"output.weight"} - known
    return _rewrite(
        base, {name: lambda _, value=value: value for name, value in changed.items() if name not in tied}, target
    )


def _rewrite(base: Path, changed: Mapping[str, Callable[[Any], Any]], target: Path) -> Path:
    """Copy `base` to `target`; each tensor named in `changed` is given to its function, (out, in) in float32."""
    gguf = _library()
    reader = gguf.GGUFReader(base)
    names = {tensor.name for tensor in reader.tensors}
    if lost := sorted(set(changed) - names):
        raise BadInput(f"The base {base.name} has no tensor {lost[0]}: the student was made from another base.")
    writer = gguf.GGUFWriter(target, str(reader.get_field("general.architecture").contents()))
    for field in reader.fields.values():
        if field.name != "general.architecture" and not field.name.startswith("GGUF."):
            inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), field.types[0], inner)
    for tensor in reader.tensors:
        if tensor.name not in changed:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
            continue
        old = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype("float32")
        new = changed[tensor.name](old).reshape(old.shape)
        kind = _stored(gguf, tensor.tensor_type, old.shape[-1])
        writer.add_tensor(tensor.name, gguf.quants.quantize(new, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def _stored(gguf: Any, before: Any, width: int) -> Any:
    kinds = gguf.GGMLQuantizationType
    if before in (kinds.F32, kinds.F16, kinds.BF16):
        return before
    return kinds.Q8_0 if width % 32 == 0 else kinds.F16


def _named(key: str) -> str:
    """The GGUF's name of a tensor of the llama family."""
    if key in _OUTER:
        return _OUTER[key]
    found = _BLOCK.fullmatch(key)
    if found is None or found[2] not in {**MODULES, **_NORMS}:
        raise BadInput(f"The student has the tensor {key!r}, which llama.cpp has no place for in this architecture.")
    return f"blk.{found[1]}.{ {**MODULES, **_NORMS}[found[2]] }.{found[3]}"


def _module(key: str) -> str:
    found = _BLOCK.fullmatch(key)
    return found[2] if found else ""


def _two(value: Any) -> Any:
    """A matrix; a vector becomes a column, which `_rewrite` flattens again."""
    value = value.astype("float32")
    return value if value.ndim == 2 else value.reshape(-1, 1)


def _library() -> Any:
    try:
        import gguf
        import gguf.quants
    except ImportError as error:
        raise MissingExtra("serving", "gguf") from error
    return gguf
