"""Students leave as merged weights or as one GGUF, checked against what they were."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from tutelage.distill.parts import BaseParts
from tutelage.distill.student_export import GGUF_NAME, export
from tutelage.serving.gguf_lora import convert_adapter
from tutelage.serving.llama import LlamaEngine
from tutelage.traffic.errors import BadInput
from tutelage.traffic.layout import DataDir
from tutelage.traffic.students import Manifest, PromptSpec, StudentRegister

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
VERSION = "desk@1"


@pytest.fixture
def parts(tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BaseParts:
    monkeypatch.setenv("TUTELAGE_MODELS", str(tmp_path / "models"))
    return BaseParts(str(tiny_gguf), threads=1, engine="llama")


@pytest.fixture
def register(parts: BaseParts, tmp_path: Path) -> StudentRegister:
    torch.manual_seed(1)
    model: Any = AutoModelForCausalLM.from_pretrained(parts.folder, dtype=torch.float32)
    adapted: Any = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    draft = tmp_path / "draft"
    adapted.save_pretrained(draft / "adapter")
    convert_adapter(draft / "adapter", parts.gguf, draft / "adapter.gguf")
    manifest = Manifest(
        version=VERSION,
        name="desk",
        status="candidate",
        created_at=1.0,
        agent_id="a",
        pattern_ids=["p"],
        base=parts.name,
        base_digest=parts.digest,
        prompt=PromptSpec(mode="full"),
        snapshot_at=1.0,
        data_digest="d",
    )
    found = StudentRegister(DataDir(tmp_path / "data").prepare())
    found.publish(draft, manifest)
    return found


def test_merged_weights_load_and_give_the_same_logits(
    register: StudentRegister, parts: BaseParts, tmp_path: Path
) -> None:
    found = export(register, VERSION, tmp_path / "out", "merged", parts)
    assert found.difference < 1e-4
    model: Any = AutoModelForCausalLM.from_pretrained(found.path)
    ids = AutoTokenizer.from_pretrained(found.path)("hello", return_tensors="pt")["input_ids"]
    plain: Any = AutoModelForCausalLM.from_pretrained(parts.folder)
    assert not torch.allclose(model(input_ids=ids).logits, plain(input_ids=ids).logits, atol=1e-2)
    assert msgspec.json.decode((found.path / "manifest.json").read_bytes(), type=Manifest).version == VERSION


def test_one_gguf_answers_as_the_student_does(register: StudentRegister, parts: BaseParts, tmp_path: Path) -> None:
    found = export(register, VERSION, tmp_path / "out", "gguf", parts)
    assert found.difference < 1e-3
    assert sorted(path.name for path in found.path.iterdir()) == ["Modelfile", "README.md", "manifest.json", GGUF_NAME]
    engine = LlamaEngine(found.path / GGUF_NAME, slots=1, threads=1, context=256)
    assert engine.generate(engine.tokenise("hello"), max_tokens=4).token_count == 4
    engine.close()
    modelfile = (found.path / "Modelfile").read_text()
    assert modelfile.startswith(f"# {VERSION}\nFROM ./{GGUF_NAME}\n")
    assert 'PARAMETER stop "<|im_end|>"' in modelfile
    assert modelfile.count("{{ end }}") == len(re.findall(r"\{\{ (?:if|range) ", modelfile))
    readme = (found.path / "README.md").read_text()
    assert f"llama-server -m {GGUF_NAME}" in readme
    assert json.loads(readme.split("```json\n")[1].split("```")[0])["mode"] == "full"


class WrongMerge(BaseParts):
    """Gives the plain base where the merged model is asked for."""

    def whole(self, model: Path) -> Any:
        return self.engine({})


def test_what_answers_otherwise_is_not_handed_out(register: StudentRegister, parts: BaseParts, tmp_path: Path) -> None:
    wrong = WrongMerge(str(parts.gguf), threads=1)
    with pytest.raises(BadInput, match="does not answer as the student does"):
        export(register, VERSION, tmp_path / "out", "gguf", wrong)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / ".out.draft").exists()


def test_mistakes_are_told(register: StudentRegister, parts: BaseParts, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="merged, gguf"):
        export(register, VERSION, tmp_path / "out", "onnx", parts)
    (tmp_path / "there").mkdir()
    with pytest.raises(BadInput, match="exists already"):
        export(register, VERSION, tmp_path / "there", "gguf", parts)


def test_another_base_under_the_same_name_is_refused(
    register: StudentRegister, tmp_path: Path, parts: BaseParts
) -> None:
    from conftest import write_tiny_llama

    other = BaseParts(str(write_tiny_llama(tmp_path / "tiny.gguf", seed=9)), threads=1, engine="llama")
    with pytest.raises(BadInput, match="was trained on tiny with the digest"):
        export(register, VERSION, tmp_path / "out", "merged", other)
