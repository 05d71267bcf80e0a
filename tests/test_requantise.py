"""A base in Q8_0 says what its file in fewer bits says."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tutelage.serving import bases
from tutelage.serving.llama import LlamaEngine
from tutelage.serving.requantise import fast_file


@pytest.fixture(autouse=True)
def models(tmp_path: Path) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUTELAGE_MODELS", str(tmp_path / "models"))
        yield tmp_path / "models"


def in_q4_1(gguf_file: Path, target: Path) -> Path:
    """The tiny model with its matrices in Q4_1, as bases are handed out."""
    import gguf
    from gguf import GGMLQuantizationType, quants

    reader = gguf.GGUFReader(gguf_file)
    writer = gguf.GGUFWriter(target, "llama")
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name != "general.architecture":
            items = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=items)
    for tensor in reader.tensors:
        if tensor.name.startswith("blk") and "norm" not in tensor.name:
            four = quants.quantize(np.array(tensor.data), GGMLQuantizationType.Q4_1)
            writer.add_tensor(tensor.name, four, raw_dtype=GGMLQuantizationType.Q4_1)
        else:
            writer.add_tensor(tensor.name, tensor.data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def test_the_copy_says_the_same_and_is_made_once(tiny_gguf: Path, tmp_path: Path, models: Path) -> None:
    base = bases.resolve(str(in_q4_1(tiny_gguf, tmp_path / "four.gguf")))
    fast = fast_file(base)
    assert fast.parent == models
    assert fast.name == f"four-{base.digest}-q8_0.gguf"
    assert [path.name for path in models.iterdir()] == [fast.name]
    made = os.stat(fast).st_mtime_ns
    assert fast_file(base) == fast
    assert os.stat(fast).st_mtime_ns == made
    told = []
    for file in (base.gguf, fast):
        engine = LlamaEngine(file, slots=1, threads=1, context=128)
        assert engine.tokenise("<|im_start|>A1") == [1, 3 + ord("A"), 3 + ord("1")]
        text = "the same words"
        told.append([s.logprob for s in engine.generate([1, *range(60, 90)], "", f'root ::= "{text}"').scores])
        engine.close()
    # Both engines round activations to eight bits in their own way.
    assert told[1] == pytest.approx(told[0], abs=0.25)


def test_what_is_fast_already_is_served_as_it_is(tiny_gguf: Path, models: Path) -> None:
    base = bases.resolve(str(tiny_gguf))
    assert fast_file(base) == tiny_gguf
    assert not models.exists()


@pytest.mark.slow
def test_the_real_base_says_the_same() -> None:
    base = bases.resolve(bases.DEFAULT)
    text = "The capital of France is Paris."
    told = []
    for file in (base.gguf, fast_file(base)):
        engine = LlamaEngine(file, slots=1, context=256)
        prompt = engine.tokenise("<|im_start|>user\nName a capital.<|im_end|>\n<|im_start|>assistant\n")
        told.append([s.logprob for s in engine.generate(prompt, "", f'root ::= "{text}"', max_tokens=40).scores])
        engine.close()
    assert told[1] == pytest.approx(told[0], abs=0.3)
    assert np.mean(told[1]) == pytest.approx(np.mean(told[0]), abs=0.1)
