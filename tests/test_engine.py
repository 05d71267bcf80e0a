"""What every engine here must do alike: the same prompt, the same words, the same log-probabilities."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tutelage.serving.engine import Engine, Sampling
from tutelage.serving.llama import LlamaEngine


@pytest.fixture(scope="module", params=["llama"])
def engine(request: pytest.FixtureRequest, tiny_gguf: Path) -> Iterator[Engine]:
    made = LlamaEngine(tiny_gguf, slots=1, threads=1, context=256)
    yield made
    made.close()


def test_greedy_is_the_default_and_repeatable(engine: Engine) -> None:
    first = engine.generate([1, 70, 71], max_tokens=6)
    assert engine.generate([1, 70, 71], max_tokens=6, sampling=Sampling()).text == first.text
    assert first.prompt_tokens == 3


def test_a_seed_makes_draws_repeatable(engine: Engine) -> None:
    drawn = [engine.generate([1, 70, 71], max_tokens=8, sampling=Sampling(2.0, seed=seed)).text for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
