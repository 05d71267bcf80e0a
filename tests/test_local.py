"""Which engine of this process serves a base, by what is here."""

from pathlib import Path

import pytest

from tutelage.serving import bases
from tutelage.serving.llama import LlamaEngine
from tutelage.serving.local import PACKAGES, faster, local_engine, suits_torch
from tutelage.serving.torch_engine import TorchEngine
from tutelage.traffic.errors import BadInput
from tutelage.traffic.students import MODEL_GGUF


@pytest.fixture
def base(tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bases.Base:
    monkeypatch.setenv("TUTELAGE_MODELS", str(tmp_path / "models"))
    return bases.resolve(str(tiny_gguf))


def test_torch_needs_its_packages_and_the_product_of_bytes() -> None:
    for flags, missing, suits in (
        ({"avx2", "avx512_vnni"}, "", True),
        ({"avx2", "avx_vnni"}, "", True),
        ({"avx2", "avx512f"}, "", False),
        (set[str](), "", False),
        ({"avx_vnni"}, "torch", False),
        ({"avx_vnni"}, "llguidance", False),
    ):
        found = suits_torch(lambda package, missing=missing: package != missing, lambda flags=flags: frozenset(flags))
        assert found is suits
    assert set(PACKAGES["llama"]) - set(PACKAGES["torch"]) == {"xllamacpp"}


def test_the_faster_one_for_a_base(base: bases.Base, tmp_path: Path) -> None:
    assert faster(base, lambda: True) == "torch"
    assert faster(base, lambda: False) == "llama"
    whole = tmp_path / MODEL_GGUF
    whole.write_bytes(base.gguf.read_bytes())
    assert faster(bases.resolve(str(whole)), lambda: True) == "llama"
    config = bases.hf_folder(base) / "config.json"
    config.write_text(config.read_text().replace('"llama"', '"gpt2"'))
    assert faster(base, lambda: True) == "llama"


def test_a_base_that_is_large_is_llama_cpp_s(base: bases.Base, tmp_path: Path) -> None:
    large = tmp_path / "large.gguf"
    with large.open("wb") as file:
        file.truncate((1 << 30) + 1)
    assert faster(bases.Base("large", large, "0" * 12), lambda: True) == "llama"


def test_engines_by_name(base: bases.Base) -> None:
    for name, kind in (("llama", LlamaEngine), ("torch", TorchEngine)):
        engine = local_engine(name, base, {}, slots=1, threads=1, context=64)
        assert isinstance(engine, kind)
        assert engine.generate([1, 70], grammar='root ::= "a"', max_tokens=3).text == "a"
        engine.close()
    with pytest.raises(BadInput, match=r"auto, llama, torch as the engine, not .vllm."):
        local_engine("vllm", base, {})


@pytest.mark.parametrize("name", ["llama", "torch"])
def test_slots_that_do_not_fit_into_memory_are_refused(base: bases.Base, name: str) -> None:
    with pytest.raises(BadInput, match=r"of them for what all slots read"):
        local_engine(name, base, {}, slots=1_000_000, context=1_000_000)
