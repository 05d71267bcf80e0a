"""Constraint: which tokens may come next, by llguidance."""

from pathlib import Path

import pytest

from tutelage.serving.constraint import Constraint
from tutelage.serving.engine import EngineError
from tutelage.serving.tokenizer import save_tokenizer


@pytest.fixture(scope="module")
def constraint(tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Constraint:
    folder = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(tiny_gguf, folder)
    return Constraint((folder / "tokenizer.json").read_text(), 261)


def test_only_what_the_grammar_allows_is_left(constraint: Constraint) -> None:
    import torch

    progress, written = constraint.begin('root ::= "a" [bc] "é"'), b""
    for expected in (b"a", b"bc", "é".encode()[:1], "é".encode()[1:]):
        logits = torch.zeros(1, 261)
        progress.restrict(logits)
        left = [int(token) for token in logits[0].isfinite().nonzero()]
        assert b"".join(sorted(constraint.bytes_of(token) for token in left)) == expected
        progress.take(left[0])
        written += constraint.bytes_of(left[0])
    assert written.decode() in ("abé", "acé")


def test_what_is_no_grammar_is_refused(constraint: Constraint) -> None:
    for text in ("root ::= (", "no grammar", 'root ::= missing "x"'):
        with pytest.raises(EngineError, match="grammar cannot be read"):
            constraint.begin(text)
