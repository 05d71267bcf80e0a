"""The logger inside of the real LiteLLM: its proxy with the example's settings, and its library in another process.

The proxy stands between an agent and two models: the provider, of which only the logger tells, and Tutelage itself.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any, NamedTuple

import openai
import pytest
from conformance.plane import developed, free_port

from tutelage.examples.litellm_proxy import litellm, show
from tutelage.examples.openai_sdk import CHANGE_DAY
from tutelage.examples.parcels.desk import run_tool
from tutelage.examples.place import Place, opened

OWN_FOLDER = developed("litellm")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not ((OWN_FOLDER and (OWN_FOLDER / "fastapi").is_dir()) or find_spec("litellm")),
        reason="LiteLLM's proxy is not installed: `make dev` installs it into .dev/litellm",
    ),
]


class Both(NamedTuple):
    place: Place
    client: openai.OpenAI


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    with pytest.MonkeyPatch.context() as environment, opened() as place:
        environment.delenv("OPENAI_API_KEY", raising=False)
        if OWN_FOLDER:
            environment.setenv("PYTHONPATH", str(OWN_FOLDER))
        with litellm(place) as client:
            yield Both(place, client)


def calls(place: Place, word: str, count: int) -> list[dict[str, Any]]:
    """The calls of the one run in which this word was said, once it has so many; oldest first."""

    def found(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        details = [place.ask(f"/api/trajectories/{row['trajectory_id']}") for row in rows if row["calls"] == count]
        return [one for one in details if word in json.dumps(one["messages"])]

    path = "/api/trajectories?limit=1000"
    [run] = found(place.wait(path, found))
    return run["calls"]


def work(client: openai.OpenAI, text: str, **more: Any) -> None:
    """An agent that names nothing: a question, its tool, the answer."""
    messages: list[Any] = [{"role": "system", "content": "A desk."}, {"role": "user", "content": text}]
    for _ in range(2):
        if more.get("stream"):
            with client.chat.completions.stream(model="desk", messages=messages, tools=CHANGE_DAY) as stream:
                message: Any = stream.get_final_completion().choices[0].message
        else:
            answer: Any = client.chat.completions.create(model="desk", messages=messages, tools=CHANGE_DAY, **more)
            message = answer.choices[0].message
        messages.append(message.model_dump(exclude_none=True, exclude={"parsed"}))
        for call in message.tool_calls or ():
            result = run_tool(call.function.name, json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    assert messages[-1]["role"] == "assistant"


def test_the_example_shows_both_ways(both: Both, capsys: pytest.CaptureFixture[str]) -> None:
    show(*both)
    assert capsys.readouterr().out.splitlines() == [
        "desk: Parcel PA-12345 now comes on Friday.",
        "desk-taught: Parcel PB-23456 now comes on Monday.",
        "The run of desk has 2 calls; the first is logged as recorded:plugin:litellm.",
        "The run of desk-taught has 2 calls; the first is logged as unknown_pattern.",
    ]


def test_the_header_that_says_who_answered_comes_through(both: Both) -> None:
    asked: Any = [{"role": "user", "content": "Who are you?"}]
    answer = both.client.chat.completions.with_raw_response.create(model="desk-taught", messages=asked)
    assert answer.headers["llm_provider-x-tutelage-route"] == "teacher"


@pytest.mark.parametrize("stream", [False, True])
def test_a_run_that_nobody_named_is_found_by_its_messages(both: Both, stream: bool) -> None:
    parcel = "PC-11111" if stream else "PC-22222"
    work(both.client, f"Move {parcel} to Friday.", stream=stream)
    first, second = calls(both.place, parcel, 2)
    assert [first["turn"], second["turn"]] == [0, 1]
    assert {call["reason"] for call in (first, second)} == {"recorded:plugin:litellm"}
    assert first["prompt_tokens"] > 0
    assert first["latency_ms"] > 0
    detail = both.place.ask(f"/api/calls/{first['call_id']}")
    assert json.dumps(CHANGE_DAY[0]["function"]["name"]) in json.dumps(detail)


def test_what_the_agent_said_is_kept_and_what_litellm_added_is_not(both: Both) -> None:
    work(both.client, "Move PC-33333 to Friday.", user="u7", extra_body={"metadata": {"order": "17"}})
    first, _ = calls(both.place, "PC-33333", 2)
    detail = json.dumps(both.place.ask(f"/api/calls/{first['call_id']}"))
    assert "x-stainless" not in detail
    assert "user_api_key" not in detail
    assert both.client.api_key not in detail


LIBRARY = """
import asyncio, json, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import litellm
from tutelage.plugins import litellm_logger
from tutelage.plugins.server import Server

port = int(sys.argv[1])
server = Server(f"http://127.0.0.1:{port}", "k", source="plugin:litellm", first_pause_s=0.05)
logger = litellm_logger.TutelageLogger(server)
assert litellm_logger.logger is litellm_logger.logger
litellm.callbacks = [logger]
asked = [{"role": "user", "content": "hello"}]
tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
known = {"model": "openai/gpt-4o-mini", "messages": asked, "api_key": "sk-provider-secret"}

async def run():
    for number in range(20):
        await litellm.acompletion(**known, mock_response=f"async {number}", tools=tools, temperature=0.5)
    parts = await litellm.acompletion(**known, mock_response="in parts", stream=True)
    assert "".join([part.choices[0].delta.content or "" async for part in parts]) == "in parts"
    try:
        await litellm.acompletion(**known, mock_response=litellm.RateLimitError("slow down", "openai", "gpt-4o-mini"))
    except litellm.RateLimitError:
        pass
    await litellm.aembedding(model="openai/text-embedding-3-small", input=["x"], mock_response=[1.0], api_key="x")
    litellm.turn_off_message_logging = True
    await litellm.acompletion(**known, mock_response="a secret")
    litellm.turn_off_message_logging = False
    await asyncio.sleep(2)

litellm.completion(**known, mock_response="sync")
asyncio.run(run())
assert logger.server.stats.waiting, logger.server.stats

class Late(BaseHTTPRequestHandler):
    got = []
    def do_POST(self):
        self.got += json.loads(self.rfile.read(int(self.headers["content-length"])))["records"]
        self.send_response(202); self.send_header("content-length", "2"); self.end_headers(); self.wfile.write(b"{}")
    def log_message(self, *_): pass

server = ThreadingHTTPServer(("127.0.0.1", port), Late)
threading.Thread(target=server.serve_forever, daemon=True).start()
done = logger.shutdown(20)
print(json.dumps([done, Late.got, logger.skipped, logger.server.stats.dropped]))
"""


def test_the_library_s_calls_wait_for_a_server_that_comes_later() -> None:
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    environment |= {"PYTHONPATH": str(OWN_FOLDER)} if OWN_FOLDER else {}
    command = [sys.executable, "-c", LIBRARY, str(free_port())]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    done, got, skipped, dropped = json.loads(ran.stdout.splitlines()[-1])
    assert (done, dropped) == (True, 0)
    said = [(one.get("response") or {"choices": [{"message": {"content": None}}]}) for one in got]
    texts = [one["choices"][0]["message"]["content"] for one in said]
    assert len(texts) == len(set(texts))
    assert set(texts) == {*(f"async {number}" for number in range(20)), "sync", "in parts", None}
    assert "secret" not in json.dumps(got)
    assert set(skipped) == {"a aembedding, which is no chat completion", "its messages were redacted by LiteLLM"}
    by_text = dict(zip(texts, got, strict=True))
    assert by_text["async 3"]["request"]["tools"][0]["function"]["name"] == "f"
    assert by_text["async 3"]["request"]["temperature"] == 0.5
    assert by_text["in parts"]["stream"] is True
    assert (by_text[None]["status"], "slow down" in by_text[None]["error"]) == (429, True)


def test_without_litellm_the_line_to_run_is_named() -> None:
    code = "import sys; sys.modules['litellm'] = None; import tutelage.plugins.litellm_logger"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert "pip install 'tutelage[litellm]'" in ran.stderr
