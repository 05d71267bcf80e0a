"""A tiny model whose template knows no tools answers an agent of LangChain with a correct tool call.

    python -m tutelage.examples.tool_less_tiny_model

SmolLM2-135M-Instruct has no notion of tools; servers that go by its template refuse `tools`, or let it talk. Here
`tutelage serving --base` holds it to a grammar of the tools. You see the call that the agent carries out, made by the
model as it is. Which call is right is no matter of grammar: for that a student is trained.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from langchain.agents import create_agent
from langchain.agents.middleware import wrap_model_call
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from .demo_world import free_port
from .parcels.desk import run_tool

BASE = "smollm2-135m"


@tool(return_direct=True)
def track_parcel(parcel: str) -> str:
    """Say where a parcel is and how far it has come."""
    return run_tool("track_parcel", {"parcel": parcel})


@wrap_model_call
def must_call(request: Any, handler: Any) -> Any:
    """Left to itself, a model that was never taught to call would chat."""
    return handler(request.override(tool_choice="any", model_settings={"parallel_tool_calls": False}))


@contextmanager
def served(base: str) -> Iterator[str]:
    """The base URL of a student server with this base and no student; it ends with the block."""
    port = free_port(0)
    with tempfile.TemporaryDirectory() as data:
        command = [sys.executable, "-m", "tutelage", "serving", "--base", base, "--data", data, "--port", str(port)]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
            try:
                url = f"http://127.0.0.1:{port}"
                while server.poll() is None and not _loaded(url):
                    time.sleep(0.2)
                yield f"{url}/v1"
            finally:
                server.terminate()


def _loaded(url: str) -> bool:
    try:
        return bool(httpx.get(f"{url}/health").json()["students"])
    except httpx.TransportError:
        return False


def main(url: str, base: str = BASE) -> list[Any]:
    """Ask one question; the messages of the run."""
    model = ChatOpenAI(model=base, base_url=url, api_key=SecretStr("none"), timeout=600, max_retries=0)
    agent = create_agent(model, [track_parcel], middleware=[must_call], system_prompt="Say where parcels are.")
    messages = agent.invoke({"messages": [{"role": "user", "content": "Where is my parcel PA-12345?"}]})["messages"]
    for message in messages:
        calls = [f"{call['name']}({call['args']})" for call in getattr(message, "tool_calls", [])]
        print(f"{message.type}: {', '.join(calls) or message.content}")
    return messages


if __name__ == "__main__":
    with served(BASE) as found:
        main(found)
