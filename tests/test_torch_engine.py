"""TorchEngine where it differs from the other engines: see test_engine for what they have in common."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tiny_adapters import write_adapter

from tutelage.serving import bases
from tutelage.serving.engine import Engine, EngineError, Generation, Sampling
from tutelage.serving.hf_engine import HfEngine
from tutelage.serving.torch_engine import TorchEngine
from tutelage.traffic.errors import BadInput

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
LONG = [1, *(5 + at * 7 % 200 for at in range(600))]


@pytest.fixture(scope="module")
def folder(tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUTELAGE_MODELS", str(tmp_path_factory.mktemp("models")))
        return bases.hf_folder(bases.resolve(str(tiny_gguf)))


@pytest.fixture(scope="module")
def adapters(tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("adapters")
    return {name: write_adapter(root / name, tiny_gguf, seed) for seed, name in enumerate("abc")}


def exact(folder: Path, adapters: dict[str, Path] | None = None, slots: int = 2) -> TorchEngine:
    return TorchEngine(folder, adapters, slots=slots, threads=1, context=700, exact=True)


def told(engine: Engine, prompt: list[int], adapter: str = "") -> Generation:
    return engine.generate(prompt, adapter, 'root ::= "on and on"', max_tokens=12)


def close_to(left: Generation, right: Generation, abs: float = 5e-3) -> bool:
    scores = [[score.logprob for score in made.scores[:-1]] for made in (left, right)]
    return left.text == right.text and scores[0] == pytest.approx(scores[1], abs=abs)


def test_a_prompt_in_pieces_beside_other_answers(folder: Path, adapters: dict[str, Path]) -> None:
    plain, engine = HfEngine(folder, adapters, threads=1, context=700), exact(folder, adapters)
    wanted = {name: told(plain, LONG, name) for name in ("", *adapters)}
    with ThreadPoolExecutor(6) as pool:
        names = ["", "a", "b", "c"] * 3
        made = list(pool.map(lambda name: told(engine, LONG, name), names))
    assert all(close_to(one, wanted[name]) for name, one in zip(names, made, strict=True))
    plain.close()
    engine.close()


def test_what_was_read_is_not_read_again(folder: Path, adapters: dict[str, Path]) -> None:
    engine = exact(folder, adapters)
    first = told(engine, LONG, "a")
    again = told(engine, LONG, "a")
    assert (first.cached_tokens, again.cached_tokens) == (0, len(LONG) - 1)
    assert close_to(first, again)
    assert told(engine, LONG, "b").cached_tokens == 0
    turn = [*LONG, *engine.tokenise("on and on"), 9]
    assert told(engine, turn, "a").cached_tokens >= len(LONG)
    drawn = engine.generate_many(3, LONG[:300], "c", max_tokens=3, sampling=Sampling(1.0, seed=1))
    assert [one.cached_tokens for one in drawn] == [0, 299, 299]
    engine.close()


def test_eight_bits_say_what_full_precision_says(folder: Path, adapters: dict[str, Path]) -> None:
    engines = exact(folder, adapters), TorchEngine(folder, adapters, threads=1, context=700)
    for name in ("", "a"):
        left, right = (told(engine, LONG[:80], name) for engine in engines)
        assert close_to(left, right, abs=0.25)
    for engine in engines:
        engine.close()


def test_a_broken_adapter_leaves_the_others_loaded(
    folder: Path, tiny_gguf: Path, tmp_path: Path, adapters: dict[str, Path]
) -> None:
    engine = exact(folder, {"a": adapters["a"]})
    said = told(engine, [1, 70], "a")
    (tmp_path / "bad").mkdir()
    with pytest.raises(BadInput, match="Expected a peft adapter"):
        engine.set_adapters({"a": adapters["a"], "bad": tmp_path / "bad"})
    truncated = write_adapter(tmp_path / "cut", tiny_gguf, 2)
    weights = truncated / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])
    with pytest.raises(BadInput, match="cannot be loaded"):
        engine.set_adapters({"a": adapters["a"], "cut": truncated})
    dora = write_adapter(tmp_path / "dora", tiny_gguf, 2, use_dora=True)
    with pytest.raises(BadInput, match="Plain LoRA only"):
        engine.set_adapters({"dora": dora})
    assert engine.adapters == ["a"]
    assert close_to(told(engine, [1, 70], "a"), said)
    engine.close()


def test_calls_that_run_end_before_it_closes(folder: Path) -> None:
    engine = exact(folder)
    began, go = threading.Event(), threading.Event()

    def wait() -> bool:
        began.set()
        return not go.wait(20)

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(engine.generate, [1, 70], grammar='root ::= "x"{5}', max_tokens=9, should_stop=wait)
        assert began.wait(20)
        engine.close()
        with pytest.raises(EngineError, match="closed"):
            engine.generate([1], max_tokens=1)
        go.set()
        assert running.result(20).text == "xxxxx"


def test_a_caller_that_fails_takes_no_other_down(folder: Path) -> None:
    engine = exact(folder)

    def fail() -> bool:
        raise RuntimeError("gone")

    with pytest.raises(RuntimeError, match="gone"):
        engine.generate([1, 70], max_tokens=5, should_stop=fail)
    for _ in range(3):
        assert told(engine, [1, 70]).text == "on and on"
    engine.close()


def test_a_step_that_fails_is_told_to_its_callers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = exact(folder)
    step = engine._decoder.step

    def broken(*_: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(engine._decoder, "step", broken)
    with pytest.raises(EngineError, match="the engine failed: no room"):
        engine.generate([1, 70], max_tokens=5)
    monkeypatch.setattr(engine._decoder, "step", step)
    assert told(engine, [1, 70]).text == "on and on"
    engine.close()


def test_end_marks_come_from_all_of_the_folder_s_files(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    end = TorchEngine(folder, context=64).generate([1, 70], grammar='root ::= "a"', max_tokens=4)
    assert (end.token_count, end.finish) == (2, "stop")
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, ord("b") + 3]}))
    made = TorchEngine(tmp_path, context=64).generate([1, 70], grammar='root ::= "ab"', max_tokens=9)
    assert made.finish == "stop"
