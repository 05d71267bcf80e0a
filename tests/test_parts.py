from pathlib import Path

import pytest

from tutelage.distill.parts import BaseParts


def test_training_and_serving_read_a_text_alike(tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TUTELAGE_MODELS", str(tmp_path))
    parts = BaseParts(str(tiny_gguf), threads=1, context=256)
    engine = parts.engine({})
    text = "<|im_start|>user\nthe order é 4711<|im_end|>\n"
    try:
        assert parts.tokenise(text) == engine.tokenise(text)
    finally:
        engine.close()
    assert parts.decode(parts.tokenise(text)) == text
    assert (parts.folder / "config.json").is_file()
    assert parts.name.startswith("tiny")
