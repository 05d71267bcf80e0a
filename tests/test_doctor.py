"""The check-up: each thing that can be wrong is found, with what to do about it."""

import json
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from tutelage import config
from tutelage.config import Config
from tutelage.doctor import Finding, World, examine

MODELS = {"object": "list", "data": [{"id": "big"}, {"id": "small"}]}


def answering(status: int = 200, body: Any = MODELS, key: str | None = None) -> httpx.MockTransport:
    def handle(request: httpx.Request) -> httpx.Response:
        if key is not None and request.headers.get("authorization") != f"Bearer {key}":
            return httpx.Response(401)
        return httpx.Response(status, json=body)

    return httpx.MockTransport(handle)


WORLD = World(
    environ={"OPENAI_API_KEY": "k"},
    installed=lambda package: True,
    free_bytes=lambda path: 50 << 30,
    memory_bytes=lambda: 8 << 30,
    transport=answering(),
    unused=lambda: [],
    flags=lambda: frozenset(),
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def chosen(tmp_path: Path) -> Config:
    ports = {name: free_port() for name in ("port", "control_port", "student_port")}
    return config.load(None, teacher="http://teacher.test/v1", data=tmp_path / "data", **ports)


def examined(config: Config, world: World = WORLD) -> dict[str, Finding]:
    return {finding.check: finding for finding in examine(config, world)}


def test_where_all_is_well_nothing_is_advised(chosen: Config) -> None:
    found = examined(chosen)
    assert {finding.verdict for finding in found.values()} == {"ok"}
    assert found["teacher default"].found == "http://teacher.test/v1 answers, 2 models"
    assert not chosen.data.root.exists()


@pytest.mark.parametrize(
    ("transport", "environ", "verdict", "words"),
    [
        (answering(key="other"), {"OPENAI_API_KEY": "k"}, "problem", "refuses the key"),
        (answering(key="other"), {}, "ok", "agents' own keys pass through"),
        (answering(404), {}, "warning", "answers 404"),
        (answering(body={"hello": 1}), {}, "warning", "no list of models"),
    ],
)
def test_a_teacher_that_does_not_serve_as_expected(
    chosen: Config, transport: httpx.BaseTransport, environ: dict[str, str], verdict: str, words: str
) -> None:
    finding = examined(chosen, replace(WORLD, transport=transport, environ=environ))["teacher default"]
    assert finding.verdict == verdict
    assert words in finding.found


def test_a_teacher_that_cannot_be_reached(chosen: Config) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("Connection refused")

    finding = examined(chosen, replace(WORLD, transport=httpx.MockTransport(refuse)))["teacher default"]
    assert finding.verdict == "problem"
    assert "Connection refused" in finding.found


def test_models_and_keys_of_further_teachers(chosen: Config, tmp_path: Path) -> None:
    file = tmp_path / "t.toml"
    file.write_text(
        '[teachers.one]\nurl = "http://one.test/v1"\nmodels = ["big", "huge"]\n'
        '[teachers.two]\nurl = "http://two.test/v1"\nmodels = ["b*"]\nkey_env = "TWO_KEY"\n'
        '[teachers.three]\nlitellm = "anthropic/claude-x"\nmodels = ["c*"]\n'
    )
    found = examined(
        config.load(file, teacher="http://teacher.test/v1", data=tmp_path / "data"),
        replace(WORLD, installed=lambda package: package != "litellm"),
    )
    assert found["teacher one"].verdict == "problem"
    assert "'huge'" in found["teacher one"].found
    assert "big, small" in found["teacher one"].advice
    assert found["teacher two"].found == "TWO_KEY is not set"
    assert "tutelage[litellm]" in found["teacher three"].advice


def test_a_port_in_use_and_a_disk_that_is_nearly_full(chosen: Config) -> None:
    with socket.create_server(("127.0.0.1", chosen.settings.port)):
        found = examined(chosen, replace(WORLD, free_bytes=lambda path: 1 << 30, memory_bytes=lambda: 1 << 30))
    assert found["agents' port"].verdict == "problem"
    assert "set port" in found["agents' port"].advice
    assert found["disk"].verdict == "problem"
    assert found["memory"].verdict == "warning"


@pytest.mark.parametrize(
    ("alive", "url", "verdict", "words"),
    [
        ({7, 8}, "", "ok", "processes: data plane 7, control plane 8"),
        ({8}, "", "warning", "gone: data plane (process 7)"),
        (set(), "", "ok", "not now"),
        ({7, 8}, "http://127.0.0.1:9/v1", "warning", "at http://127.0.0.1:9/v1, not http://"),
    ],
)
def test_an_instance_tells_what_it_runs(chosen: Config, alive: set[int], url: str, verdict: str, words: str) -> None:
    said = {
        "url": url or chosen.data_plane_url,
        "control_url": "http://c",
        "pids": {"data plane": 7, "control plane": 8},
    }
    chosen.data.prepare().serve.write_text(json.dumps(said))
    finding = examined(chosen, replace(WORLD, alive=alive.__contains__))["running"]
    assert finding.verdict == verdict
    assert words in finding.found


def test_an_instance_that_cannot_be_read_and_none(chosen: Config) -> None:
    assert "running" not in examined(chosen)
    for broken in ("{", "[]", '{"pids": {"data plane": "x"}}', '{"pids": 5}'):
        chosen.data.prepare().serve.write_text(broken)
        assert examined(chosen)["running"].verdict == "warning"


def test_a_data_folder_that_cannot_be(chosen: Config, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = examined(config.load(None, teacher="http://teacher.test/v1", data=tmp_path / "file" / "data"))
    assert found["data folder"].verdict == "problem"


def test_extras_and_a_base_that_are_not_there(chosen: Config, tmp_path: Path) -> None:
    file = tmp_path / "t.toml"
    file.write_text('[distill]\nbase = "no-such-base"\n')
    found = examined(
        config.load(file, teacher="http://teacher.test/v1", data=tmp_path / "data"),
        replace(WORLD, installed=lambda package: package != "xllamacpp"),
    )
    assert found["extra serving"].advice == "For serving students: pip install 'tutelage[serving]'"
    assert found["extra distill"].verdict == "ok"
    assert found["base model"].verdict == "warning"
    assert "no-such-base" in found["base model"].advice


def test_a_llama_cpp_that_was_not_built_for_this_processor(chosen: Config, tmp_path: Path) -> None:
    world = replace(WORLD, unused=lambda: ["AVX512_VNNI"])
    found = examined(chosen, world)["engine's build"]
    assert (found.verdict, "AVX512_VNNI" in found.found, "serving.md" in found.advice) == ("ok", True, True)
    assert "engine's build" not in examined(chosen)
    file = tmp_path / "t.toml"
    file.write_text('[serving]\nengine = "transformers"\n')
    other = config.load(file, teacher="http://teacher.test/v1", data=tmp_path / "data")
    assert "engine's build" not in examined(other, world)


def test_an_engine_without_its_server_is_told(chosen: Config, tmp_path: Path) -> None:
    file = tmp_path / "t.toml"
    file.write_text('[serving]\nengine = "remote"\n')
    found = examined(config.load(file, teacher="http://teacher.test/v1", data=tmp_path / "data"))["engine"]
    assert (found.verdict, "serving.engine_url" in found.advice) == ("problem", True)
    assert examined(chosen)["engine"].found == "llama, the faster one here"


def test_torch_serves_where_it_is_faster_and_is_named_where_it_would_be(chosen: Config, tmp_path: Path) -> None:
    quick = replace(WORLD, flags=lambda: frozenset({"avx2", "avx512_vnni"}), unused=lambda: ["AVX512_VNNI"])
    file = tmp_path / "t.toml"
    file.write_text('[serving]\nengine = "llama"\n')
    told = config.load(file, teacher="http://teacher.test/v1", data=tmp_path / "data")
    assert "serving.engine to auto" in examined(told, quick)["faster engine"].advice
    assert "faster engine" not in examined(told)
    found = examined(chosen, quick)
    assert found["engine"].found == "torch, the faster one here"
    assert not {"faster engine", "engine's build"} & set(found)
    without = replace(quick, installed=lambda package: package != "torch")
    assert examined(chosen, without)["engine"].found == "llama, the faster one here"
