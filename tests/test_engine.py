"""What every engine here must do alike: the same prompt, the same words, the same log-probabilities."""

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_adapters import write_adapter

from tutelage.serving import bases
from tutelage.serving.engine import ContextTooLong, Engine, EngineError, Generation, Sampling, SharedPrompt
from tutelage.serving.gguf_lora import convert_adapter
from tutelage.serving.grammar import grammar_for
from tutelage.serving.hf_engine import HfEngine
from tutelage.serving.llama import LlamaEngine
from tutelage.serving.render import parse_action
from tutelage.serving.torch_engine import TorchEngine
from tutelage.traffic.errors import UnknownName
from tutelage.traffic.students import ADAPTER, ADAPTER_GGUF

# peft 0.21 asks transformers 5.23 for an attribute that has been renamed.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
PROMPT = [1, *range(60, 100)]
TOOL = {
    "type": "function",
    "function": {
        "name": "set_light",
        "parameters": {
            "type": "object",
            "properties": {"room": {"enum": ["kitchen", "hall"]}, "level": {"type": "integer", "minimum": 0}},
            "required": ["room"],
        },
    },
}


class World:
    """The engines on the same base with the same adapters."""

    def __init__(self, gguf: Path, root: Path) -> None:
        self.adapters: dict[str, Path] = {}
        for seed, name in enumerate(("one@0.1", "two@0.2")):
            version = root / name
            version.mkdir()
            write_adapter(version / ADAPTER, gguf, seed)
            self.adapters[name] = convert_adapter(version / ADAPTER, gguf, version / ADAPTER_GGUF)
        folder = bases.hf_folder(bases.resolve(str(gguf)))
        self.engines: dict[str, Any] = {
            "llama": LlamaEngine(gguf, self.adapters, slots=2, threads=1, context=256),
            "transformers": HfEngine(folder, self.adapters, threads=1, context=256),
            "torch": TorchEngine(folder, self.adapters, slots=2, threads=1, context=256, exact=True),
        }


@pytest.fixture(scope="module")
def world(tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root = tmp_path_factory.mktemp("engines")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUTELAGE_MODELS", str(root / "models"))
        made = World(tiny_gguf, root)
        yield made
    for engine in made.engines.values():
        engine.close()


@pytest.fixture(params=["llama", "transformers", "torch"])
def engine(request: pytest.FixtureRequest, world: World) -> Engine:
    return world.engines[request.param]


def same(left: Generation, right: Generation) -> None:
    assert left.text == right.text
    assert left.token_count == right.token_count
    assert [s.text for s in left.scores] == [s.text for s in right.scores]
    # Without the end: an engine may end by any of the model's end marks, and each takes the likelier.
    scores = [[s.logprob for s in made.scores[:-1]] for made in (left, right)]
    assert scores[0] == pytest.approx(scores[1], rel=5e-3, abs=0.02)


@pytest.mark.parametrize("adapter", ["", "one@0.1", "two@0.2"])
def test_the_same_words_with_the_same_scores(world: World, adapter: str) -> None:
    # A given text: a random model is so undecided that rounding would choose other words.
    grammar = 'root ::= "on and on and on"'
    made = [engine.generate(PROMPT, adapter, grammar, max_tokens=20) for engine in world.engines.values()]
    for other in made[1:]:
        same(made[0], other)


def test_the_same_ids(world: World) -> None:
    text = "<|im_start|>user\nLamp 12, please: the café.<|im_end|>\n"
    ids = [engine.tokenise(text) for engine in world.engines.values()]
    assert ids[0] == ids[1] == ids[2]


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "set_light"}}])
def test_all_are_held_to_the_same_grammar(world: World, choice: Any) -> None:
    # Without the thought before it, on which a random model spends all its tokens.
    grammar = re.sub("root ::= .*", "root ::= calls", grammar_for([TOOL], choice, parallel=False) or "")
    made = [engine.generate(PROMPT, "one@0.1", grammar, max_tokens=200) for engine in world.engines.values()]
    assert made[0].text == made[1].text == made[2].text
    assert parse_action(made[0].text, [TOOL])["tool_calls"][0]["function"]["name"] == "set_light"


def test_a_grammar_that_is_none_is_refused(engine: Engine) -> None:
    with pytest.raises(EngineError, match="rammar"):
        engine.generate(PROMPT, grammar="root ::= (", max_tokens=3)


def test_a_prompt_beyond_the_context_is_refused(engine: Engine) -> None:
    with pytest.raises(ContextTooLong, match="context"):
        engine.generate([70] * 300)


def test_an_unknown_adapter_is_named(engine: Engine) -> None:
    with pytest.raises(UnknownName, match="three"):
        engine.generate(PROMPT, "three")


def test_a_seed_makes_draws_repeatable(engine: Engine) -> None:
    drawn = [engine.generate(PROMPT, max_tokens=8, sampling=Sampling(2.0, seed=seed)).text for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_small_top_p_is_greedy(engine: Engine) -> None:
    greedy = engine.generate(PROMPT, max_tokens=8)
    assert engine.generate(PROMPT, max_tokens=8, sampling=Sampling(0.7, top_p=1e-6)).text == greedy.text


def test_several_continuations(engine: Engine) -> None:
    assert isinstance(engine, SharedPrompt)
    made = engine.generate_many(3, PROMPT, "two@0.2", max_tokens=8, sampling=Sampling(1.5, seed=1))
    assert len({one.text for one in made}) > 1
    assert [one.prompt_tokens for one in made] == [len(PROMPT)] * 3
    same(*engine.generate_many(2, PROMPT, "two@0.2", max_tokens=8))


def test_writing_ends_at_a_stop_text_and_when_told(engine: Engine) -> None:
    grammar = 'root ::= "x"{9} "END" "x"{9}'
    made = engine.generate(PROMPT, grammar=grammar, max_tokens=40, stop=["END"])
    assert (made.text, made.finish) == ("x" * 9, "stop")
    assert engine.generate(PROMPT, grammar=grammar, max_tokens=4).finish == "length"
    looked: list[int] = []

    def enough() -> bool:
        looked.append(1)
        return len(looked) >= 3

    made = engine.generate(PROMPT, grammar=grammar, max_tokens=40, should_stop=enough)
    assert (made.finish, made.token_count <= 4) == ("cancelled", True)


def test_adapters_come_and_go_while_calls_run(world: World, engine: Engine) -> None:
    before = engine.generate(PROMPT, "one@0.1", max_tokens=6).text
    said: list[str] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            said.append(engine.generate(PROMPT, "one@0.1", max_tokens=6).text)

    thread = threading.Thread(target=ask)
    thread.start()
    engine.set_adapters({"one@0.1": world.adapters["one@0.1"]})
    with pytest.raises(UnknownName):
        engine.generate(PROMPT, "two@0.2")
    engine.set_adapters(world.adapters)
    over.set()
    thread.join(30)
    assert set(said) == {before}
