"""Agents that go through LiteLLM's proxy: its traffic is logged, and one of its models is Tutelage.

    python -m tutelage.examples.litellm_proxy

You see two customers served through LiteLLM, whose settings are in `litellm_proxy.yaml`, and both runs in Tutelage's
log: the first was told by the logger inside of LiteLLM, the second went through Tutelage and could be a student's.
"""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from openai import OpenAI

from .demo_world import free_port
from .openai_sdk import agent
from .place import Place, opened

SETTINGS = Path(__file__).with_suffix(".yaml")
START_S = 120.0
COMMAND = (sys.executable, "-c", "from litellm.proxy.proxy_cli import run_server; run_server()")
"""What `litellm` does, with this Python."""


@contextmanager
def litellm(place: Place) -> Iterator[OpenAI]:
    """LiteLLM's proxy before the place, and a client of it."""
    port, key = free_port(0), f"sk-{secrets.token_hex(16)}"
    provider = {"PROVIDER_URL": place.world.upstream or f"{place.world.teacher}/v1", "PROVIDER_KEY": place.key}
    environment = {**os.environ, **provider, "TUTELAGE_URL": place.url, "LITELLM_MASTER_KEY": key}
    environment["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # prices from the package, not from the network
    log = place.world.root / "litellm.log"
    command = [*COMMAND, "--config", str(SETTINGS), "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        _wait(f"http://127.0.0.1:{port}/health/liveliness", process, log)
        with OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=key, max_retries=0) as client:
            yield client
    finally:
        process.terminate()
        process.wait(30)


def _wait(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(url, trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    said = log.read_text()[-2000:]
    raise RuntimeError(f"LiteLLM did not start. Where it is missing: pip install 'litellm[proxy]'\n{said}")


def show(place: Place, client: OpenAI) -> None:
    """Serve a customer by each of LiteLLM's models, and look at the log."""
    for model, wish in (("desk", "Move PA-12345 to Friday."), ("desk-taught", "Move PB-23456 to Monday.")):
        print(f"{model}: {agent(client, model, wish, f'litellm-{model}')}")
    for model in ("desk", "desk-taught"):
        calls = place.run(f"litellm-{model}")["calls"]
        print(f"The run of {model} has {len(calls)} calls; the first is logged as {calls[0]['reason']}.")


if __name__ == "__main__":
    with opened() as found, litellm(found) as asked:
        show(found, asked)
