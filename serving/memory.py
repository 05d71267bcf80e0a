"""Whether a model fits into memory, asked before it is loaded: the system kills what takes too much, without a word."""

import resource
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from ..traffic.errors import BadInput

_BESIDE = 128 * 2**20
"""Bytes beside weights and cache that even a small model needs for its buffers."""
_KINDS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _LIST = 8, 9
"""Types of values in a GGUF: numbers as `struct` names them, texts, and lists."""


def available(root: Path = Path("/"), most: int | None = None) -> int | None:
    """Bytes that can be had without swapping, in this container if it is one, and below the most that this process may
    have (`ulimit -v`); None where the system does not say. `most`: that limit, None: asked now."""
    found = []
    most = resource.getrlimit(resource.RLIMIT_AS)[0] if most is None else most
    with suppress(OSError, ValueError, IndexError):
        if most != resource.RLIM_INFINITY:
            found.append(most - int((root / "proc/self/statm").read_text().split()[0]) * resource.getpagesize())
    with suppress(OSError, ValueError, IndexError):
        lines = (root / "proc/meminfo").read_text().splitlines()
        found += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    with suppress(OSError, ValueError):
        group = root / "sys/fs/cgroup"
        found.append(int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    return max(0, min(found)) if found else None


def require_memory(weights: Path, cache: int = 0, free: int | None = None) -> None:
    """Raises BadInput when a file of weights, with a cache of so many bytes, is larger than what is free; `free` in
    bytes, None: asked now."""
    free = available() if free is None else free
    needed = weights.stat().st_size + cache + _BESIDE
    if free is not None and needed > free:
        kept = f" ({cache / 2**20:.0f} of them for what all slots read)" if cache else ""
        raise BadInput(
            f"{weights.name} needs about {needed / 2**20:.0f} MiB of memory{kept}, and {free / 2**20:.0f} MiB are "
            "free. Lower serving.slots or serving.context, take a smaller base, or serve it on another machine "
            "(`student_url`)."
        )


def cached_values(gguf_file: Path) -> int:
    """Keys and values that a GGUF's model keeps of a token; 0 where the file does not tell."""
    try:
        told = _header(gguf_file)
    except (struct.error, KeyError, ValueError, OverflowError):
        return 0  # a file that is cut or changed: who loads it says so
    kind = told.get("general.architecture")
    layers, heads = (told.get(f"{kind}.{name}") for name in ("block_count", "attention.head_count"))
    if not layers or not isinstance(heads, int):
        return 0
    shared = told.get(f"{kind}.attention.head_count_kv") or heads
    head = told.get(f"{kind}.embedding_length", 0) // heads
    sizes = [told.get(f"{kind}.attention.{name}_length") or head for name in ("key", "value")]
    # Some models have a number of heads for each layer.
    return (sum(shared) if isinstance(shared, list) else layers * shared) * sum(sizes)


def _header(gguf_file: Path) -> dict[str, Any]:
    """What a GGUF tells of its model, without the words of its tokenizer: gguf's own reader needs seconds for these.
    Its layout is that of the format's specification (ggml-org/ggml, docs/gguf.md)."""
    with gguf_file.open("rb") as file:
        if file.read(4) != b"GGUF":
            return {}
        _, _, count = struct.unpack("<IQQ", file.read(20))
        return {_text(file): _value(file, struct.unpack("<I", file.read(4))[0]) for _ in range(count)}


def _text(file: BinaryIO) -> str:
    return file.read(struct.unpack("<Q", file.read(8))[0]).decode(errors="replace")


def _value(file: BinaryIO, kind: int) -> Any:
    """One value; None for a list of texts."""
    if kind == _TEXT:
        return _text(file)
    if kind != _LIST:
        return struct.unpack(f"<{_KINDS[kind]}", file.read(struct.calcsize(f"<{_KINDS[kind]}")))[0]
    kind, count = struct.unpack("<IQ", file.read(12))
    if kind == _TEXT:
        for _ in range(count):
            file.seek(struct.unpack("<Q", file.read(8))[0], 1)
        return None
    return [_value(file, kind) for _ in range(count)]
