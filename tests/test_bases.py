"""Finding a base model, and its dequantised folder."""

from pathlib import Path

import pytest

from tutelage.serving import bases
from tutelage.traffic.errors import BadInput


def test_a_file_a_folder_and_a_repository(tiny_gguf: Path) -> None:
    by_file = bases.resolve(str(tiny_gguf))
    by_folder = bases.resolve(str(tiny_gguf.parent))
    by_hub = bases.resolve("owner/model", download=lambda name: tiny_gguf.parent)
    assert by_file.gguf == by_folder.gguf == by_hub.gguf == tiny_gguf
    assert by_file.digest == by_folder.digest == by_hub.digest
    assert len(by_file.digest) == 12
    assert (by_file.name, by_hub.name) == ("tiny", "owner--model")


def test_what_is_no_base_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no base model 'nothing'"):
        bases.resolve("nothing")
    with pytest.raises(BadInput, match="found 0"):
        bases.resolve(str(tmp_path))
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(BadInput, match=r"one \.gguf file"):
        bases.resolve(str(tmp_path / "model.bin"))


def test_the_default_base_comes_with_its_package() -> None:
    base = bases.resolve(bases.DEFAULT)
    assert base.name == "smollm2-135m"
    assert base.gguf.read_bytes()[:4] == b"GGUF"


def test_the_folder_is_made_once_and_whole(tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUTELAGE_MODELS", str(tmp_path / "models"))
    base = bases.resolve(str(tiny_gguf))
    folder = bases.hf_folder(base)
    assert folder == tmp_path / "models" / f"tiny-{base.digest}"
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {path.name for path in folder.iterdir()}
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert bases.hf_folder(base) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
    assert [path.name for path in (tmp_path / "models").iterdir()] == [folder.name]
