"""RemoteEngine against a server with vLLM's contract; test_engine has what all engines have in common."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_adapters import write_adapter
from vllm_server import BASE, VllmServer, listening

from tutelage.serving.engine import ContextTooLong, EngineError, Sampling
from tutelage.serving.gguf_lora import convert_adapter
from tutelage.serving.llama import LlamaEngine
from tutelage.serving.remote_engine import RemoteEngine
from tutelage.serving.vllm_lora import VllmAdapters
from tutelage.traffic.errors import BadInput, TutelageError, UnknownName
from tutelage.traffic.students import ADAPTER, ADAPTER_GGUF

PROMPT = [1, *range(60, 90)]


class World:
    """A server that could load two adapters, and their files as the register keeps them."""

    def __init__(self, gguf: Path, root: Path) -> None:
        self.paths: dict[str, Path] = {}
        files: dict[Path, str] = {}
        for seed, name in enumerate(("one@1", "two@2")):
            (root / name).mkdir()
            folder = write_adapter(root / name / ADAPTER, gguf, seed)
            self.paths[name] = convert_adapter(folder, gguf, root / name / ADAPTER_GGUF)
            files[folder.resolve()] = name
        self.local = LlamaEngine(gguf, self.paths, slots=3, threads=1, context=256)
        self.files = files

    def server(self, **options: Any) -> VllmServer:
        return VllmServer(self.local, self.files, **options)


@pytest.fixture(scope="module")
def world(tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tiny_gguf, tmp_path_factory.mktemp("vllm"))
    yield made
    made.local.close()


def test_answers_are_the_servers_with_every_score(world: World) -> None:
    with listening(world.server()) as url:
        engine = RemoteEngine(url, BASE, world.paths, context=9999, loader=VllmAdapters(url))
        assert engine.context == 256
        assert engine.tokenise("<|im_start|>A1") == world.local.tokenise("<|im_start|>A1")
        for adapter in ("", "one@1", "two@2"):
            grammar = "root ::= [a-z ]{9}"
            there, here = (e.generate(PROMPT, adapter, grammar, max_tokens=20) for e in (engine, world.local))
            assert (there.text, there.token_count) == (here.text, here.token_count)
            assert there.mean_logprob == pytest.approx(here.mean_logprob, abs=1e-3)
            assert there.prompt_tokens == len(PROMPT)
        engine.close()


def test_samples_come_in_one_request(world: World) -> None:
    server = world.server()
    with listening(server) as url:
        engine = RemoteEngine(url, BASE)
        grammar = "root ::= [a-z]{8}"
        made = engine.generate_many(3, PROMPT, grammar=grammar, max_tokens=9, sampling=Sampling(2.0, 0.95, seed=4))
        engine.close()
    assert len({one.text for one in made}) > 1
    asked = [body for path, body in server.asked if path == "/v1/completions"]
    assert len(asked) == 1
    assert (asked[0]["n"], asked[0]["temperature"], asked[0]["top_p"], asked[0]["seed"]) == (3, 2.0, 0.95, 4)
    assert asked[0]["structured_outputs"] == {"grammar": grammar}
    assert asked[0]["prompt"] == PROMPT


def test_a_cancelled_call_hangs_up(world: World) -> None:
    with listening(world.server()) as url:
        engine = RemoteEngine(url, BASE)
        looked: list[int] = []

        def enough() -> bool:
            looked.append(1)
            return len(looked) >= 3

        made = engine.generate(PROMPT, grammar='root ::= "x"{150}', max_tokens=160, should_stop=enough)
        engine.close()
    assert (made.finish, made.token_count) == ("cancelled", 3)


def test_refusals_keep_their_kind(world: World) -> None:
    with listening(world.server()) as url:
        engine = RemoteEngine(url, BASE)
        with pytest.raises(ContextTooLong, match="maximum context length"):
            engine.generate([70] * 300)
        with pytest.raises(EngineError, match="grammar"):
            engine.generate(PROMPT, grammar="root ::= (")
        with pytest.raises(UnknownName, match="nobody"):
            engine.generate(PROMPT, "nobody")
        engine.close()
        with pytest.raises(BadInput, match=r"has no model 'other'\. It has: tiny-base"):
            RemoteEngine(url, "other")
    with pytest.raises(TutelageError, match="does not answer"):
        RemoteEngine(url, BASE)


def test_the_key_goes_with_every_request(world: World) -> None:
    server = world.server()
    server.key = "secret"
    with listening(server) as url:
        RemoteEngine(url, BASE, world.paths, key="secret", loader=VllmAdapters(url, key="secret")).close()
        with pytest.raises(TutelageError, match="401"):
            RemoteEngine(url, BASE)


def test_a_new_version_is_loaded_beside_the_old_one_and_the_old_one_goes_after_its_last_call(world: World) -> None:
    server = world.server()
    with listening(server) as url:
        engine = RemoteEngine(url, BASE, {"one@1": world.paths["one@1"]}, loader=VllmAdapters(url))
        server.hold.clear()
        made: list[str] = []
        grammar = "root ::= [a-z]{5}"
        slow = threading.Thread(
            target=lambda: made.append(engine.generate(PROMPT, "one@1", grammar, max_tokens=9).text)
        )
        slow.start()
        while not any(path == "/v1/completions" for path, _ in server.asked):
            threading.Event().wait(0.01)
        engine.set_adapters({"two@2": world.paths["two@2"]})
        assert engine.adapters == ["two@2"]
        assert set(server.loaded) == {"one@1", "two@2"}
        with pytest.raises(UnknownName):
            engine.generate(PROMPT, "one@1")
        server.hold.set()
        slow.join(30)
        assert set(server.loaded) == {"two@2"}
        assert made == [world.local.generate(PROMPT, "one@1", grammar, max_tokens=9).text]
        engine.close()


def test_no_call_is_lost_while_adapters_change(world: World) -> None:
    server = world.server()
    with listening(server) as url:
        engine = RemoteEngine(url, BASE, world.paths, loader=VllmAdapters(url))
        over, made, failed = threading.Event(), [], []

        def ask() -> None:
            while not over.is_set():
                try:
                    made.append(engine.generate(PROMPT, "one@1", "root ::= [a-z]{5}", max_tokens=9).text)
                except Exception as error:
                    failed.append(error)
                    return

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        for adapters in ({"one@1": world.paths["one@1"]}, world.paths) * 3:
            engine.set_adapters(adapters)
            before = len(made)
            while len(made) < before + 4 and not failed:
                over.wait(0.01)
        over.set()
        for thread in threads:
            thread.join(30)
        engine.close()
    assert not failed
    assert len(set(made)) == 1
