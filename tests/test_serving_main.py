"""`python -m tutelage.serving` as a process: a version that appears is served, a hang-up stops it, SIGTERM ends it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tutelage.serving.gguf_lora import convert_adapter
from tutelage.traffic.layout import DataDir
from tutelage.traffic.students import ADAPTER, ADAPTER_GGUF, Manifest, PromptSpec, StudentRegister

BODY: dict[str, Any] = {"model": "tiny@1", "messages": [{"role": "user", "content": "hi"}]}


def publish(data: DataDir, gguf_file: Path) -> None:
    """A version on the tiny base whose adapter changes one matrix."""
    from safetensors.numpy import save_file

    draft = data.root / "draft"
    source = draft / ADAPTER
    source.mkdir(parents=True)
    name = "base_model.model.model.layers.0.self_attn.q_proj"
    save_file(
        {
            f"{name}.lora_{letter}.weight": np.ones(shape, "float32")
            for letter, shape in {"A": (1, 64), "B": (64, 1)}.items()
        },
        source / "adapter_model.safetensors",
    )
    (source / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 1, "lora_alpha": 1}))
    convert_adapter(source, gguf_file, draft / ADAPTER_GGUF)
    manifest = Manifest(
        version="tiny@1",
        name="tiny",
        status="candidate",
        created_at=1.0,
        agent_id="a",
        pattern_ids=["p"],
        base=str(gguf_file),
        base_digest="",
        prompt=PromptSpec(),
        snapshot_at=0.0,
        data_digest="",
    )
    StudentRegister(data).publish(draft, manifest)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str, DataDir]]:
    data = DataDir(tmp_path / "data").prepare()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {"data": str(data.root), "port": port, "threads": 1, "slots": 1, "context": 1024, "max_tokens": 900}
    env = {**os.environ, "TUTELAGE_OPTIONS": json.dumps(options)}
    process = subprocess.Popen([sys.executable, "-m", "tutelage.serving"], env=env, stderr=subprocess.DEVNULL)
    try:
        yield process, f"http://127.0.0.1:{port}", data
    finally:
        process.kill()
        process.wait()


def up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").status_code == 200
    except httpx.TransportError:
        return False


def test_the_life_of_a_student_server(running: tuple[subprocess.Popen[bytes], str, DataDir], tiny_gguf: Path) -> None:
    process, url, data = running
    wait_for(lambda: up(url))
    assert httpx.post(f"{url}/v1/chat/completions", json=BODY).status_code == 404
    publish(data, tiny_gguf)
    wait_for(lambda: httpx.get(f"{url}/health").json()["students"] == ["tiny@1"])
    answer = httpx.post(f"{url}/v1/chat/completions", json={**BODY, "stop": ["a", "e"]}, timeout=60)
    assert answer.status_code in (200, 422)
    assert ("x-tutelage-confidence" in answer.headers) is (answer.status_code == 200)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{url}/v1/chat/completions", json=endless(), timeout=0.3)
    wait_for(lambda: 'code="cancelled"' in httpx.get(f"{url}/metrics").text)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def endless() -> dict[str, Any]:
    """A request whose only valid answer is hundreds of characters long."""
    schema = {"type": "object", "properties": {"x": {"type": "string", "minLength": 850}}, "required": ["x"]}
    tool = {"type": "function", "function": {"name": "write", "parameters": schema}}
    return {**BODY, "tools": [tool], "tool_choice": "required"}


@pytest.mark.parametrize("text", [None, "{", '{"port": 1}'])
def test_wrong_options_are_explained(text: str | None) -> None:
    env = {key: value for key, value in os.environ.items() if key != "TUTELAGE_OPTIONS"}
    env |= {} if text is None else {"TUTELAGE_OPTIONS": text}
    done = subprocess.run([sys.executable, "-m", "tutelage.serving"], env=env, capture_output=True, text=True)
    assert done.returncode == 1
    assert "TUTELAGE_OPTIONS" in done.stderr
    assert "Traceback" not in done.stderr
