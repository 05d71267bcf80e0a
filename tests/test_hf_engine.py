"""HfEngine where it differs from the other engines: see test_engine for what they have in common."""

from pathlib import Path

import pytest
from tiny_adapters import write_adapter

from tutelage.serving import bases
from tutelage.serving.engine import EngineError
from tutelage.serving.hf_engine import HfEngine
from tutelage.traffic.errors import BadInput

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


@pytest.fixture(scope="module")
def folder(tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUTELAGE_MODELS", str(tmp_path_factory.mktemp("models")))
        return bases.hf_folder(bases.resolve(str(tiny_gguf)))


def test_a_broken_adapter_leaves_the_others_loaded(folder: Path, tiny_gguf: Path, tmp_path: Path) -> None:
    good = write_adapter(tmp_path / "good", tiny_gguf, 1)
    engine = HfEngine(folder, {"good": good}, threads=1, context=128)
    said = engine.generate([1, 70], "good", max_tokens=5).text
    (tmp_path / "bad").mkdir()
    with pytest.raises(BadInput, match="Expected a peft adapter"):
        engine.set_adapters({"good": good, "bad": tmp_path / "bad"})
    truncated = write_adapter(tmp_path / "cut", tiny_gguf, 2)
    weights = truncated / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])
    with pytest.raises(BadInput, match="cannot be loaded"):
        engine.set_adapters({"good": good, "cut": truncated})
    assert engine.adapters == ["good"]
    assert engine.generate([1, 70], "good", max_tokens=5).text == said
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.generate([1, 70], max_tokens=1)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be loaded"):
        HfEngine(tmp_path)
