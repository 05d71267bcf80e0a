"""A peft adapter as a GGUF that llama.cpp can put on the base.

llama.cpp multiplies an adapter by alpha / rank, as peft does without rank-stabilised scaling; every other scaling is
folded into the B matrices. GGUF files of the llama family hold the rows of q and k in another order than the
Hugging Face checkpoints (pairs of rotary halves interleaved), and the rows of B follow.
"""

from pathlib import Path
from typing import Any

from ..traffic.errors import BadInput, MissingExtra
from . import lora
from .lora import LoraMatrix, lora_config, read_lora

MODULES: dict[str, str] = dict(
    zip(
        lora.MODULES,
        ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"),
        strict=True,
    )
)
"""Modules that an adapter may change, by what GGUF calls them."""
_PERMUTED = {"llama": True, "qwen2": False, "qwen3": False}
"""Architectures whose adapters are understood, and whether their q and k rows are permuted."""


def convert_adapter(adapter: Path, base_gguf: Path, target: Path) -> Path:
    """Write the peft adapter in the folder `adapter` as `target`. Raises BadInput for what llama.cpp cannot apply."""
    try:
        import gguf
    except ImportError as error:
        raise MissingExtra("distill", error.name or "gguf") from error
    alpha, matrices = float(lora_config(adapter)["lora_alpha"]), read_lora(adapter)
    shape = BaseShape(gguf.GGUFReader(base_gguf))
    writer = gguf.GGUFWriter(target, shape.architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
    for (layer, module), matrix in sorted(matrices.items()):
        name = f"blk.{layer}.{MODULES[module]}.weight"
        shape.require(name, matrix)
        b = matrix.b * (matrix.scaling / (alpha / len(matrix.a)))
        writer.add_tensor(f"{name}.lora_a", matrix.a)
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

    def require(self, name: str, matrix: LoraMatrix) -> None:
        """Raises BadInput unless the matrices fit the base's weight."""
        inputs, outputs = matrix.a.shape[1], len(matrix.b)
        if self._shapes.get(name) != (inputs, outputs):
            raise BadInput(
                f"The adapter does not fit the base: {name} is {self._shapes.get(name, 'missing')}, "
                f"the adapter is made for {(inputs, outputs)}."
            )

    def permuted(self, module: str, b: Any) -> Any:
        """Rows of B in the order of the GGUF: per head, the two rotary halves interleaved."""
        heads = self._heads.get(module)
        if heads is None or not _PERMUTED[self.architecture]:
            return b
        rows, rank = b.shape
        return b.reshape(heads, 2, rows // heads // 2, rank).swapaxes(1, 2).reshape(rows, rank).copy()
