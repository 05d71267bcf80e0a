"""Memory: what the system says, and a model that does not fit."""

from pathlib import Path

import pytest

from tutelage.serving.memory import available, require_memory
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


def test_a_model_that_does_not_fit_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    weights = tmp_path / "big.gguf"
    weights.write_bytes(b"x" * 1000)
    require_memory(weights, free=2**30)
    require_memory(weights)
    with pytest.raises(BadInput, match=r"big\.gguf needs about 128 MiB of memory, and 64 MiB are free"):
        require_memory(weights, free=2**26)
