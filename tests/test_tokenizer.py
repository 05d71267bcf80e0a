"""The Hugging Face tokenizer of a base gives the engine's ids, for any text."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.serving import bases
from tutelage.serving.llama import LlamaEngine
from tutelage.serving.tokenizer import save_tokenizer

Pair = tuple[Callable[[str], list[int]], Callable[[str], list[int]]]

TEXTS = [
    "<|im_start|>user\nHi 123<|im_end|>\n",
    "\n",
    "a\n\n\nb  x   y\t\tz  ",
    '{"name":"set","arguments":{"a":1.5,"b":[1,22,-3],"c":"é"}}',
    "日本語 テスト １２３ ٣٤ ½ ² Ⅷ ①",
    "🏳️‍🌈👨‍👩‍👧 ok naïve\u00a0x\u2003y",
    "\r\n\r\n it's we'LL don't <tool_call>x</tool_call>",
    "<repo_name>a<file_sep> \x00a\x01 \u200b\ufeff \x85a\u2028b",
    "e\u0301 é x=1;y=22//3 नमस्ते १२३ مرحبا",
]


def pair(base: bases.Base, folder: Path) -> tuple[LlamaEngine, Pair]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    engine = LlamaEngine(base.gguf, slots=1, threads=1, context=256)
    return engine, (lambda text: tokenizer(text, add_special_tokens=False)["input_ids"], engine.tokenise)


@pytest.fixture(scope="module")
def tiny(tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("tokenizer")
    base = bases.resolve(str(tiny_gguf))
    save_tokenizer(base.gguf, folder)
    engine, both = pair(base, folder)
    yield both
    engine.close()


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60))
def test_any_text_gives_equal_ids(tiny: Pair, text: str) -> None:
    theirs, ours = tiny
    assert theirs(text) == ours(text)


@pytest.mark.slow
@pytest.mark.parametrize("text", TEXTS)
def test_the_real_base_gives_equal_ids(real: Pair, text: str) -> None:
    theirs, ours = real
    assert theirs(text) == ours(text)


@pytest.fixture(scope="module")
def real() -> Iterator[Pair]:
    base = bases.resolve(bases.DEFAULT)
    engine, both = pair(base, bases.hf_folder(base))
    yield both
    engine.close()
