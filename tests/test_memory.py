"""Memory: what the system says, and a model that does not fit."""

import resource
from pathlib import Path

import gguf
import pytest

from tutelage.serving import bases
from tutelage.serving.memory import available, cached_values, require_memory
from tutelage.serving.shape import Shape
from tutelage.traffic.errors import BadInput


def system(root: Path, meminfo: str = "", most: str = "", used: str = "") -> Path:
    (root / "proc").mkdir(parents=True)
    (root / "sys/fs/cgroup").mkdir(parents=True)
    (root / "proc/meminfo").write_text(meminfo)
    if most:
        (root / "sys/fs/cgroup/memory.max").write_text(most)
        (root / "sys/fs/cgroup/memory.current").write_text(used)
    return root


def test_what_is_free(tmp_path: Path) -> None:
    told = "MemTotal: 9000 kB\nMemAvailable:   2000 kB\n"
    assert available(system(tmp_path / "a", told)) == 2000 * 1024
    assert available(system(tmp_path / "b", told, "1000000\n", "400000\n")) == 600_000
    assert available(system(tmp_path / "c", told, "max\n", "400000\n")) == 2000 * 1024
    assert available(system(tmp_path / "d", told, "1000", "4000")) == 0
    assert available(tmp_path / "none") is None
    assert (available() or 1) > 0


def test_what_a_process_may_still_have(tmp_path: Path) -> None:
    root = system(tmp_path, "MemAvailable: 2000000 kB\n")
    (root / "proc/self").mkdir()
    (root / "proc/self/statm").write_text("300 100 50 1 0 40 0\n")
    page = resource.getpagesize()
    assert available(root, 1000 * page) == 700 * page
    assert available(root, resource.RLIM_INFINITY) == 2_000_000 * 1024


def test_a_model_that_does_not_fit_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    weights = tmp_path / "big.gguf"
    weights.write_bytes(b"x" * 1000)
    require_memory(weights, free=2**30)
    require_memory(weights)
    with pytest.raises(BadInput, match=r"big\.gguf needs about 128 MiB of memory, and 64 MiB are free"):
        require_memory(weights, free=2**26)
    require_memory(weights, 2**29, free=2**30)
    with pytest.raises(BadInput, match=r"1152 MiB of memory \(1024 of them for what all slots read\).*serving\.slots"):
        require_memory(weights, 2**30, free=2**30)


def test_what_a_model_keeps_of_a_token(tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUTELAGE_MODELS", str(tmp_path))
    shape = Shape.of(bases.hf_folder(bases.resolve(str(tiny_gguf))))
    assert cached_values(tiny_gguf) == shape.cached_values == 2 * shape.layers * shape.kv_heads * shape.head
    writer = gguf.GGUFWriter(tmp_path / "layers.gguf", "mixed")
    writer.add_block_count(3)
    writer.add_embedding_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv([4, 2, 0])
    writer.add_value_length(8)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    assert cached_values(tmp_path / "layers.gguf") == (4 + 2) * (16 + 8)
    for cut in (2, 10, 60):
        (tmp_path / "cut.gguf").write_bytes((tmp_path / "layers.gguf").read_bytes()[:cut])
        assert cached_values(tmp_path / "cut.gguf") == 0
