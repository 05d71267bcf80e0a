"""Whether a model fits into memory, asked before it is loaded: the system kills what takes too much, without a word."""

from contextlib import suppress
from pathlib import Path

from ..traffic.errors import BadInput

_BESIDE = 128 * 2**20
"""Bytes beside the weights that even a small model needs for its context and its buffers."""


def available(root: Path = Path("/")) -> int | None:
    """Bytes that can be had without swapping, in this container if it is one; None where the system does not say."""
    found = []
    with suppress(OSError, ValueError, IndexError):
        lines = (root / "proc/meminfo").read_text().splitlines()
        found += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    with suppress(OSError, ValueError):
        group = root / "sys/fs/cgroup"
        found.append(int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    return max(0, min(found)) if found else None


def require_memory(weights: Path, free: int | None = None) -> None:
    """Raises BadInput when a file of weights is larger than what is free; `free` in bytes, None: asked now."""
    free = available() if free is None else free
    needed = weights.stat().st_size + _BESIDE
    if free is not None and needed > free:
        raise BadInput(
            f"{weights.name} needs about {needed / 2**20:.0f} MiB of memory, and {free / 2**20:.0f} MiB are free. "
            "Take a smaller base, or serve it on another machine (`student_url`)."
        )
