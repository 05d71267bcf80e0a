"""Whether a model fits into memory, asked before it is loaded: the system kills what takes too much, without a word."""

import resource
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..traffic.errors import BadInput

_BESIDE = 128 * 2**20
"""Bytes beside weights and cache that even a small model needs for its buffers."""


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
    from gguf import GGUFReader

    reader = GGUFReader(gguf_file)
    kind = _told(reader, "general.architecture")
    layers, heads = (_told(reader, f"{kind}.{name}") for name in ("block_count", "attention.head_count"))
    if not layers or not isinstance(heads, int):
        return 0
    shared = _told(reader, f"{kind}.attention.head_count_kv") or heads
    head = _told(reader, f"{kind}.embedding_length") // heads
    sizes = [_told(reader, f"{kind}.attention.{name}_length") or head for name in ("key", "value")]
    # Some models have a number of heads for each layer.
    return (sum(shared) if isinstance(shared, list) else layers * shared) * sum(sizes)


def _told(reader: Any, name: str) -> Any:
    field = reader.get_field(name)
    return field.contents() if field else None
