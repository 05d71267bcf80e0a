"""VllmAdapters: loading and unloading by vLLM's HTTP contract."""

import logging
from pathlib import Path
from typing import Any, cast

import pytest
from vllm_server import VllmServer, listening

from tutelage.serving.vllm_lora import VllmAdapters
from tutelage.traffic.errors import BadInput, TutelageError
from tutelage.traffic.students import ADAPTER, ADAPTER_GGUF


def version(root: Path) -> Path:
    """An empty version's GGUF; its adapter folder lies beside it."""
    (root / "lamp@1" / ADAPTER).mkdir(parents=True)
    return root / "lamp@1" / ADAPTER_GGUF


def server_for(folder: Path, **options: Any) -> VllmServer:
    return VllmServer(cast(Any, None), {folder: "lamp@1"}, **options)


def test_an_adapter_is_loaded_once_under_its_version_and_unloaded(tmp_path: Path) -> None:
    gguf = version(tmp_path)
    server = server_for(gguf.parent / ADAPTER)
    with listening(server) as url:
        adapters = VllmAdapters(url)
        adapters.load("lamp@1", gguf)
        adapters.load("lamp@1", gguf)
        assert server.loaded == {"lamp@1": "lamp@1"}
        adapters.unload("lamp@1")
        adapters.unload("lamp@1")
        assert server.loaded == {}


def test_a_server_elsewhere_is_told_its_own_path(tmp_path: Path) -> None:
    gguf = version(tmp_path)
    server = server_for(Path("/mnt/students/lamp@1/adapter"))
    with listening(server) as url:
        VllmAdapters(url, here=tmp_path, there="/mnt/students/").load("lamp@1", gguf)
    assert server.asked[-1][1] == {"lora_name": "lamp@1", "lora_path": "/mnt/students/lamp@1/adapter"}


def test_why_it_was_not_loaded_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    gguf = version(tmp_path)
    with listening(server_for(gguf.parent / ADAPTER, runtime_lora=False)) as url:
        with pytest.raises(TutelageError, match="VLLM_ALLOW_RUNTIME_LORA_UPDATING"):
            VllmAdapters(url).load("lamp@1", gguf)
        with pytest.raises(BadInput, match="expected one in"):
            VllmAdapters(url).load("x", tmp_path / "x.gguf")
    with caplog.at_level(logging.WARNING):
        VllmAdapters(url).unload("lamp@1")
    assert "stays loaded" in caplog.text
    with pytest.raises(TutelageError, match="does not answer"):
        VllmAdapters(url).load("lamp@1", gguf)
