"""The base's weights in a form that the CPU multiplies fast.

llama.cpp has fast kernels for some block formats and plain ones for others. Measured here, Q8_0 reads a prompt in half
the CPU time of Q4_1. Eight bits hold what four and five bits say, to within half a step of 1/127 of each block's
largest weight, so a student's scores stay as they were; a test compares them. The price is memory, which is why it is
done for small files only: large models are bound by memory, and fewer bits are then faster.
"""

import os
import secrets
from pathlib import Path
from typing import Any

from ..traffic.errors import MissingExtra
from .bases import Base, models_dir

SLOW = ("Q4_1", "Q5_0", "Q5_1")
LARGEST_BYTES = 1 << 30
_FILE_TYPE_Q8_0 = 7


def fast_file(base: Base) -> Path:
    """The GGUF to serve: the base's own, or its copy in Q8_0, made on first use (seconds) and kept with the models."""
    try:
        import gguf
    except ImportError as error:
        raise MissingExtra("serving", "gguf") from error
    if base.gguf.stat().st_size > LARGEST_BYTES:
        return base.gguf
    target = models_dir() / f"{base.name}-{base.digest}-q8_0.gguf"
    if target.exists():
        return target
    reader = gguf.GGUFReader(base.gguf)
    if not any(tensor.tensor_type.name in SLOW for tensor in reader.tensors):
        return base.gguf
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        _write(reader, draft)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    return target


def _write(reader: Any, target: Path) -> None:
    from gguf import GGMLQuantizationType, GGUFValueType, GGUFWriter, quants

    writer = GGUFWriter(target, str(reader.get_field("general.architecture").contents()))
    for field in reader.fields.values():
        # The writer makes these itself.
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        kind = field.types[0]
        value = _FILE_TYPE_Q8_0 if field.name == "general.file_type" else field.contents()
        items = field.types[-1] if kind == GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, value, kind, sub_type=items)
    for tensor in reader.tensors:
        if tensor.tensor_type.name in SLOW:
            plain = quants.dequantize(tensor.data, tensor.tensor_type)
            eight = quants.quantize(plain, GGMLQuantizationType.Q8_0)
            writer.add_tensor(tensor.name, eight, raw_dtype=GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(tensor.name, tensor.data, raw_shape=tensor.data.shape, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
