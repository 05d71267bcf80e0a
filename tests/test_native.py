"""What a processor can do and a build of llama.cpp leaves unused."""

import sys
from pathlib import Path

import pytest

from tutelage.serving.native import processor_flags, unused, unused_here

WHEEL = "CPU : SSE3 = 1 | SSSE3 = 1 | AVX = 1 | AVX2 = 1 | F16C = 1 | FMA = 1 | LLAMAFILE = 1 | REPACK = 1 | "
NATIVE = "CUDA : ARCHS = 900 | CPU : SSE3 = 1 | AVX2 = 1 | AVX512 = 1 | AVX512_VNNI = 1 | LLAMAFILE = 1 | "
X86 = "processor\t: 0\nflags\t\t: fpu avx avx2 avx512f avx512_vnni\n\nprocessor\t: 1\nflags\t\t: fpu\n"
ARM = "processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd asimddp i8mm\n"


@pytest.mark.parametrize(
    ("info", "build", "left"),
    [
        (X86, WHEEL, ["AVX512", "AVX512_VNNI"]),
        (X86, NATIVE, []),
        (ARM, "CPU : NEON = 1 | ARM_FMA = 1 | DOTPROD = 1 | ", ["MATMUL_INT8"]),
        ("processor\t: 0\nflags\t\t: fpu avx avx2\n", WHEEL, []),
        ("processor\t: 0\n", WHEEL, []),
    ],
)
def test_what_the_first_processor_has_and_the_build_does_not_use(
    tmp_path: Path, info: str, build: str, left: list[str]
) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(info)
    assert unused(processor_flags(file), build) == left


def test_nobody_says_what_the_processor_can_do(tmp_path: Path) -> None:
    assert unused(processor_flags(tmp_path / "cpuinfo"), WHEEL) == []


def test_llama_cpp_says_what_it_was_built_for() -> None:
    xllamacpp = pytest.importorskip("xllamacpp")
    build = xllamacpp.get_system_info()
    assert "CPU" in build
    assert "= 1" in build
    assert unused_here() == unused(processor_flags(), build)


def test_without_llama_cpp_nothing_is_unused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    assert unused_here() == []
