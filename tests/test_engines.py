"""Which engine the settings choose, and what is said about a choice that cannot work."""

from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from tiny_adapters import write_adapter
from vllm_server import BASE, VllmServer, listening

from tutelage.serving.engines import check, engines_for, reached
from tutelage.serving.gguf_lora import convert_adapter
from tutelage.serving.hf_engine import HfEngine
from tutelage.serving.llama import LlamaEngine
from tutelage.serving.options import ServingOptions
from tutelage.serving.remote_engine import RemoteEngine
from tutelage.serving.torch_engine import TorchEngine
from tutelage.traffic.errors import BadInput
from tutelage.traffic.layout import DataDir
from tutelage.traffic.students import ADAPTER, ADAPTER_GGUF

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


def test_engines_of_this_process(tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUTELAGE_MODELS", str(tmp_path))
    options = {"data": str(tmp_path), "slots": 1, "threads": 1, "context": 128}
    names = ("llama", "transformers", "torch")
    engines = [engines_for(ServingOptions(engine=name, **options))(str(tiny_gguf), {}) for name in names]
    assert [type(engine) for engine in engines] == [LlamaEngine, HfEngine, TorchEngine]
    made = [engine.generate([1, 70, 71], "", 'root ::= "lamp"').mean_logprob for engine in engines]
    assert made[0] == pytest.approx(made[1], abs=0.02)
    assert made[0] == pytest.approx(made[2], abs=0.1)
    for engine in engines:
        engine.close()


def test_a_version_is_served_by_vllm_under_its_name(tiny_gguf: Path, tmp_path: Path) -> None:
    data = DataDir(tmp_path / "data").prepare()
    version = data.students / "lamp@0123456789ab"
    version.mkdir()
    folder = write_adapter(version / ADAPTER, tiny_gguf, 1)
    gguf = convert_adapter(folder, tiny_gguf, version / ADAPTER_GGUF)
    local = LlamaEngine(tiny_gguf, {version.name: gguf}, slots=1, threads=1, context=128)
    server = VllmServer(local, {Path("/there/lamp@0123456789ab/adapter"): version.name})
    with listening(server) as url:
        options = ServingOptions(data=str(data.root), engine="vllm", engine_url=url, engine_students="/there")
        engine = engines_for(options)(BASE, {version.name: gguf})
        assert isinstance(engine, RemoteEngine)
        made = engine.generate([1, 70, 71], version.name, "root ::= [a-z]{5}", max_tokens=9)
        engine.close()
    assert made.text == local.generate([1, 70, 71], version.name, "root ::= [a-z]{5}", max_tokens=9).text
    assert server.loaded == {version.name: version.name}
    local.close()


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        (
            {"engine": "vlm"},
            "no engine 'vlm'. Set serving.engine to auto or llama or torch or transformers or vllm",
        ),
        (
            {"engine": "vllm"},
            "no command 'vllm serve'. Install vLLM, set serving.engine_command, or serving.engine_url",
        ),
        ({"engine": "remote"}, "needs an address. Set serving.engine_url"),
        ({"engine": "remote", "engine_url": "gpu:8000/v1"}, "needs an address"),
        ({"engine_url": "http://gpu:8000/v1"}, "auto runs here and uses no serving.engine_url"),
        (
            {"engine": "vllm", "engine_url": "http://gpu/v1", "engine_key_env": "NOT_SET_ANYWHERE"},
            "NOT_SET_ANYWHERE, named by serving.engine_key_env, is not set",
        ),
    ],
)
def test_a_choice_that_cannot_work_is_told(chosen: dict[str, str], said: str) -> None:
    with pytest.raises(BadInput, match=said.replace(".", r"\.")):
        engines_for(ServingOptions(data="unused", **chosen))  # pyright: ignore[reportArgumentType]


def test_a_chat_server_is_asked_for_the_models_that_it_is_to_serve() -> None:
    def answers(status: int) -> httpx.MockTransport:
        return httpx.MockTransport(lambda request: httpx.Response(status, json={"data": [{"id": "qwen:latest"}]}))

    options = ServingOptions(data="unused", engine="chat", engine_url="http://chat.test/v1", bases=("qwen",))
    assert reached(options, answers(200)) == []
    assert "refuses: 401" in reached(options, answers(401))[0].what
    [missing] = reached(replace(options, bases=("llama",)), answers(200))
    assert missing.what.startswith("http://chat.test/v1 has no model 'llama'. It has: qwen:latest.")
    assert reached(ServingOptions(data="unused"), answers(401)) == []


def test_missing_packages_are_named_with_their_extra() -> None:
    found = check(ServingOptions(data="unused", engine="transformers"), lambda package: package != "llguidance")
    assert [(one.what, one.advice) for one in found] == [
        ("The engine transformers needs llguidance", "Run: pip install 'tutelage[distill]'")
    ]
    assert check(ServingOptions(data="unused"), lambda package: True) == []
    auto = ServingOptions(data="unused", engine="auto")
    # Without torch, llama.cpp serves; without that too, it is what is asked for.
    assert check(auto, lambda package: package != "torch") == []
    [neither] = check(auto, lambda package: package not in ("torch", "xllamacpp"))
    assert (neither.what, neither.advice) == ("The engine auto needs xllamacpp", "Run: pip install 'tutelage[serving]'")


def test_a_base_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no base model"):
        engines_for(ServingOptions(data=str(tmp_path)))("./none.gguf", {})
