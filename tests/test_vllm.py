"""vLLM itself, where a command for it is named (`TUTELAGE_VLLM`): what `vllm_server` only imitates for all other tests.

`make vllm` installs vLLM's build for processors and runs this; it takes minutes and some GB, so CI does not.
"""

import json
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tiny_adapters import write_adapter

from tutelage.serving import bases
from tutelage.serving.engine import ContextTooLong, EngineError, Sampling
from tutelage.serving.engines import engines_for
from tutelage.serving.grammar import grammar_for
from tutelage.serving.hf_engine import HfEngine
from tutelage.serving.options import ServingOptions
from tutelage.serving.remote_engine import RemoteEngine
from tutelage.serving.student import Student
from tutelage.serving.vllm_process import VllmProcess
from tutelage.traffic.errors import BadInput, TutelageError, UnknownName
from tutelage.traffic.students import ADAPTER, ADAPTER_GGUF, PromptSpec

COMMAND = os.environ.get("TUTELAGE_VLLM", "")
pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not COMMAND, reason="set TUTELAGE_VLLM to the command vllm, or run: make vllm"),
    # peft 0.21 asks transformers 5.23 for an attribute that has been renamed.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
]
CONTEXT = 1024
CHAT = "<|im_start|>user\nWhere is parcel 4711?<|im_end|>\n<|im_start|>assistant\n"
TOOL = {
    "type": "function",
    "function": {
        "name": "track_parcel",
        "parameters": {
            "type": "object",
            "properties": {
                "parcel": {"type": "string", "pattern": "^[0-9]{4}$"},
                "note": {"type": "string"},
                "depots": {"type": "array", "items": {"enum": ["north", "south"]}, "maxItems": 2},
                "urgent": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
                "weight": {"type": "number"},
            },
            "required": ["parcel", "depots", "urgent"],
        },
    },
}


class World:
    """One vLLM, two adapters of its base, and the reference on the same weights."""

    def __init__(self, root: Path) -> None:
        self.base = bases.resolve(bases.DEFAULT)
        self.folder = bases.hf_folder(self.base)
        self.paths: dict[str, Path] = {}
        for seed, name in enumerate(("one@0123456789ab", "two@0123456789ab")):
            (root / "data/students" / name).mkdir(parents=True)
            write_adapter(root / "data/students" / name / ADAPTER, self.base.gguf, seed)
            self.paths[name] = root / "data/students" / name / ADAPTER_GGUF
        # vLLM takes nearly all memory for its cache when it is not told.
        command = (COMMAND, "serve", "--dtype", "float32", "--enforce-eager", "--gpu-memory-utilization", "0.2")
        sizes = {"context": CONTEXT, "adapters": 2}
        self.process = VllmProcess(command, self.folder, self.base.name, log=root / "vllm.log", **sizes)
        self.url, self.data = self.process.url, root / "data"
        self.engine = self.connected(self.paths)
        self.reference = HfEngine(self.folder, {n: p.parent / ADAPTER for n, p in self.paths.items()}, context=CONTEXT)
        self.prompt = self.reference.tokenise(CHAT)

    def connected(self, adapters: dict[str, Path]) -> RemoteEngine:
        """As the settings build it for a vLLM that runs."""
        options = ServingOptions(data=str(self.data), engine="vllm", engine_url=self.url, context=4 * CONTEXT)
        made = engines_for(options)(self.base.name, adapters)
        assert isinstance(made, RemoteEngine)
        return made

    def running(self) -> float:
        """Calls that the server is writing or has waiting, by its own metrics."""
        told = httpx.get(self.url.replace("/v1", "/metrics"), trust_env=False).text
        found = re.findall(r"^vllm:num_requests_(?:running|waiting)\{.*\} (\S+)$", told, re.M)
        assert found
        return sum(map(float, found))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("vllm"))
    yield made
    made.engine.close()
    made.reference.close()
    made.process.stop()


@pytest.mark.parametrize("adapter", ["", "one@0123456789ab", "two@0123456789ab"])
def test_answers_are_the_references_with_every_score(world: World, adapter: str) -> None:
    there, here = (e.generate(world.prompt, adapter, max_tokens=24) for e in (world.engine, world.reference))
    assert (there.text, there.token_count, there.finish) == (here.text, here.token_count, here.finish)
    assert there.prompt_tokens == len(world.prompt)
    scores = [[score.logprob for score in made.scores] for made in (there, here)]
    assert scores[0] == pytest.approx(scores[1], abs=0.02)
    assert b"".join(score.text for score in there.scores).decode().startswith(there.text)


def test_ids_and_room_are_the_servers(world: World) -> None:
    assert world.engine.context == CONTEXT
    for text in (CHAT, "  two spaces, café 🙂\n", "<tool_call>\n{}"):
        assert world.engine.tokenise(text) == world.reference.tokenise(text)


def test_calls_are_held_to_their_schemas(world: World) -> None:
    request: dict[str, Any] = {"messages": [{"role": "user", "content": "Where is parcel 4711?"}], "tools": [TOOL]}
    # One call: an untrained base never ends a list of them.
    request |= {"tool_choice": "required", "parallel_tool_calls": False}
    answer = Student(PromptSpec(mode="full"), world.engine, max_tokens=500).answer(request)
    [call] = answer.message["tool_calls"]
    arguments = json.loads(call["function"]["arguments"])
    assert re.fullmatch("[0-9]{4}", arguments["parcel"])
    assert {"parcel", "depots", "urgent"} <= set(arguments)
    assert answer.mean_logprob < 0


@pytest.mark.parametrize("choice", ["auto", "required"])
@pytest.mark.parametrize("parallel", [True, False])
def test_the_server_compiles_our_grammars(world: World, choice: str, parallel: bool) -> None:
    grammar = grammar_for([TOOL], choice, parallel=parallel)
    if grammar is not None:
        assert world.engine.generate(world.prompt, grammar=grammar, max_tokens=3).token_count


def test_samples_come_in_one_request_and_seeds_repeat_them(world: World) -> None:
    draws = [
        [one.text for one in world.engine.generate_many(3, world.prompt, max_tokens=12, sampling=Sampling(1.2, 0.9, 4))]
        for _ in range(2)
    ]
    assert draws[0] == draws[1]
    assert len(set(draws[0])) > 1


def test_writing_ends_at_a_stop_text(world: World) -> None:
    made = world.engine.generate(world.prompt, grammar='root ::= "x"{9} "END" "x"{9}', max_tokens=40, stop=["END"])
    assert (made.text, made.finish) == ("x" * 9, "stop")
    assert world.engine.generate(world.prompt, grammar='root ::= "x"{99}', max_tokens=2).finish == "length"


def test_a_cancelled_call_stops_the_server_writing(world: World) -> None:
    looked: list[int] = []

    def enough() -> bool:
        looked.append(1)
        return len(looked) >= 3

    endless = 'root ::= ("x" | "y")*'
    made = world.engine.generate(world.prompt, grammar=endless, max_tokens=CONTEXT, should_stop=enough)
    assert (made.finish, made.token_count) == ("cancelled", 3)
    until = time.monotonic() + 10
    while world.running():
        assert time.monotonic() < until, "it writes on for nobody"
        time.sleep(0.1)


def test_refusals_keep_their_kind(world: World) -> None:
    with pytest.raises(ContextTooLong):
        world.engine.generate(world.prompt * 60)
    with pytest.raises(EngineError, match="rammar"):
        world.engine.generate(world.prompt, grammar="root ::= (")
    with pytest.raises(UnknownName, match="nobody"):
        world.engine.generate(world.prompt, "nobody")
    with pytest.raises(BadInput, match=rf"has no model 'other'\. It has: {world.base.name}"):
        RemoteEngine(world.url, "other")


def test_a_torn_adapter_is_refused_and_the_others_answer_on(world: World, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / ADAPTER, world.base.gguf, 5)
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(TutelageError, match="did not load torn@1"):
        world.engine.set_adapters({**world.paths, "torn@1": tmp_path / ADAPTER_GGUF})
    assert world.engine.generate(world.prompt, "one@0123456789ab", max_tokens=3).token_count == 3


def test_no_call_is_lost_while_adapters_change(world: World, tmp_path: Path) -> None:
    write_adapter(tmp_path / ADAPTER, world.base.gguf, 6)
    others = {"one@0123456789ab": world.paths["one@0123456789ab"], "six@0123456789ab": tmp_path / ADAPTER_GGUF}
    wanted = world.engine.generate(world.prompt, "one@0123456789ab", max_tokens=8).text
    over, said = threading.Event(), []

    def ask() -> None:
        while not over.is_set():
            said.append(world.engine.generate(world.prompt, "one@0123456789ab", max_tokens=8).text)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for adapters in (others, world.paths, others, world.paths):
        world.engine.set_adapters(adapters)
        assert world.engine.generate(world.prompt, list(adapters)[1], max_tokens=4).token_count == 4
    over.set()
    for thread in threads:
        thread.join(60)
    assert set(said) == {wanted}
    listed = {m["id"] for m in httpx.get(f"{world.url}/models", trust_env=False).json()["data"]}
    assert listed == {world.base.name, *world.paths}


def test_what_does_not_start_is_told_with_the_end_of_its_log(world: World, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "no such"}')
    with pytest.raises(BadInput, match=r"ended with 1 while it started\. .*vllm\.log says: .*no such"):
        VllmProcess((COMMAND, "serve"), tmp_path, "none", context=64, adapters=1, log=tmp_path / "vllm.log")


def test_a_server_that_dies_is_an_error_of_the_engine(world: World) -> None:
    """The last one: there is no server after it."""
    failed: list[Exception] = []

    def ask() -> None:
        try:
            world.engine.generate(world.prompt, grammar='root ::= ("x" | "y")*', max_tokens=CONTEXT)
        except EngineError as error:
            failed.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    while not world.running():
        time.sleep(0.05)
    world.process.stop()
    thread.join(60)
    assert len(failed) == 1
    with pytest.raises(EngineError):
        world.engine.generate(world.prompt, max_tokens=2)
