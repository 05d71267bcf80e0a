"""Whether llama.cpp was built for the processor that it runs on.

Wheels of xllamacpp for Linux and Windows are built for any processor of their kind: on x86 they stop at AVX2. Built on
the machine itself, llama.cpp also uses what else its processor can multiply with.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

_USEFUL = {
    # Linux's name of it: llama.cpp's (`ggml_backend_cpu_get_features`).
    "avx512f": "AVX512",
    "avx512_vnni": "AVX512_VNNI",
    "avx_vnni": "AVX_VNNI",
    "amx_int8": "AMX_INT8",
    "asimddp": "DOTPROD",
    "i8mm": "MATMUL_INT8",
    "sve": "SVE",
}
_CPU_INFO = Path("/proc/cpuinfo")


def processor_flags(info: Path = _CPU_INFO) -> frozenset[str]:
    """What Linux says that the first processor can do; empty where nobody says it."""
    if not info.exists():
        return frozenset()
    for line in info.read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def unused(flags: frozenset[str], build: str) -> list[str]:
    """What the processor has for multiplying and the build does not use.

    `flags` are Linux's names, `build` is llama.cpp's own account of itself: `CPU : AVX = 1 | AVX2 = 1 | …`.
    """
    used = {part.partition("=")[0].split(":")[-1].strip() for part in build.split("|")}
    return [name for flag, name in _USEFUL.items() if flag in flags and name not in used]


def unused_here() -> list[str]:
    """The same of this machine and the llama.cpp that is installed; nothing where none is."""
    try:
        # A native module without type information.
        xllamacpp: Any = import_module("xllamacpp")
    except ImportError:
        return []
    return unused(processor_flags(), xllamacpp.get_system_info())
