"""LiteLLM for real: a provider with Anthropic's protocol <- LiteLLM <- bridge <- data plane <- the OpenAI client.

The provider is a small deterministic server of this file; everything between it and the client is a real process.
"""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tutelage import config, processes
from tutelage.plugins.litellm_options import BRIDGE_KEY_ENV, BridgeModel, BridgeOptions
from tutelage.proxy.options import DataPlaneOptions, TeacherOptions, to_environment
from tutelage.proxy.supervisor import answers
from tutelage.traffic.journal_reader import JournalReader
from tutelage.traffic.layout import DataDir
from tutelage.traffic.records import CallRecord, decode

ROOT = Path(__file__).parent.parent
OWN_FOLDER = ROOT / ".dev" / "litellm"
"""LiteLLM asks for other versions of some packages than the rest of the tests: it has a folder of its own."""
NAME = "anthropic/claude-sonnet-4-5"
PROVIDER_KEY, BRIDGE_KEY = "sk-ant-0123456789abcdef", "bridge-0123456789abcdef"
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a town.",
        "parameters": {"type": "object", "properties": {"town": {"type": "string"}}, "required": ["town"]},
    },
}
pytestmark = pytest.mark.skipif(
    not (OWN_FOLDER.is_dir() or find_spec("litellm")),
    reason="LiteLLM is not installed. Run: pip install --target .dev/litellm 'litellm>=1.100'",
)


class Anthropic(BaseHTTPRequestHandler):
    """Anthropic's `/v1/messages`: what it does is said by the last user message."""

    protocol_version = "HTTP/1.1"
    seen: list[dict[str, Any]]
    gone: threading.Event

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.seen.append(body)
        content = body["messages"][-1]["content"]
        wish = content if isinstance(content, str) else content[-1].get("text") or content[-1]["type"]
        if self.headers.get("x-api-key") != PROVIDER_KEY:
            self._answer(401, _error("authentication_error", f"invalid x-api-key {self.headers.get('x-api-key')}"))
        elif wish == "too fast":
            self._answer(429, _error("rate_limit_error", "slow down"), {"retry-after": "7", "request-id": "req_7"})
        elif wish == "overload":
            self._answer(529, _error("overloaded_error", "Overloaded"))
        elif wish == "wait":
            self._wait()
        elif body.get("stream"):
            self._stream(body, _blocks(wish), broken=wish == "break off")
        else:
            self._answer(200, json.dumps(_message(body, _blocks(wish))).encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Silence."""

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"content-type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _wait(self) -> None:
        """Answer nothing until the other side hangs up."""
        self.connection.settimeout(20)
        if self.connection.recv(1) == b"":
            self.gone.set()
        self.close_connection = True

    def _stream(self, body: dict[str, Any], blocks: list[dict[str, Any]], broken: bool) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        for event in _events(_message(body, blocks), blocks, broken):
            self.wfile.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
            self.wfile.flush()
        self.close_connection = True


def _error(kind: str, message: str) -> bytes:
    return json.dumps({"type": "error", "error": {"type": kind, "message": message}}).encode()


def _blocks(wish: str) -> list[dict[str, Any]]:
    if wish in ("two towns", "break off"):
        towns = enumerate(["Oslo", "Rome"])
        calls = [{"type": "tool_use", "id": f"toolu_{n}", "name": "weather", "input": {"town": t}} for n, t in towns]
        return [{"type": "text", "text": "I look."}, *calls]
    return [{"type": "text", "text": f"You said: {wish} – grüß Gott"}]


def _message(body: dict[str, Any], blocks: list[dict[str, Any]]) -> dict[str, Any]:
    stop = "tool_use" if blocks[-1]["type"] == "tool_use" else "end_turn"
    usage = {"input_tokens": 11, "output_tokens": 5}
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": body["model"]}
    return {**head, "content": blocks, "stop_reason": stop, "stop_sequence": None, "usage": usage}


def _events(message: dict[str, Any], blocks: list[dict[str, Any]], broken: bool) -> Iterator[dict[str, Any]]:
    yield {"type": "message_start", "message": {**message, "content": [], "stop_reason": None}}
    for index, block in enumerate(blocks):
        if block["type"] == "text":
            empty, deltas = {**block, "text": ""}, [{"type": "text_delta", "text": part} for part in block["text"]]
        else:
            text = json.dumps(block["input"])
            empty = {**block, "input": {}}
            deltas = [{"type": "input_json_delta", "partial_json": part} for part in (text[:4], text[4:])]
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
        if broken:
            yield {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
            return
    yield {"type": "message_delta", "delta": {"stop_reason": message["stop_reason"]}, "usage": {"output_tokens": 5}}
    yield {"type": "message_stop"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def bridge_environment(options: BridgeOptions) -> dict[str, str]:
    """What the bridge's process gets; LiteLLM comes from its own folder where the tests' environment has none."""
    own = {"PYTHONPATH": str(OWN_FOLDER)} if find_spec("litellm") is None else {}
    return {**to_environment(options), **own, BRIDGE_KEY_ENV: BRIDGE_KEY, "ANTHROPIC_API_KEY": PROVIDER_KEY}


def start(module: str, environment: dict[str, str], ready: str, log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        command = [sys.executable, "-m", f"tutelage.{module}"]
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    deadline = time.monotonic() + 90
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(ready, timeout=2, trust_env=False).status_code == 200:
                return process
        except httpx.HTTPError:
            time.sleep(0.05)
    process.kill()
    raise AssertionError(log.read_text())


class World:
    """Provider, bridge and data plane."""

    def __init__(self, root: Path) -> None:
        self.provider = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Anthropic,), {}))
        self.handler: Any = self.provider.RequestHandlerClass
        self.handler.seen, self.handler.gone = [], threading.Event()
        threading.Thread(target=self.provider.serve_forever, daemon=True).start()
        self.data, self.logs = DataDir(root / "data").prepare(), root
        self.bridge_url = f"http://127.0.0.1:{free_port()}"
        self.plane_url = f"http://127.0.0.1:{free_port()}"
        self.processes: list[subprocess.Popen[bytes]] = []
        try:
            self.processes.append(self._bridge())
            self.processes.append(self._plane())
        except BaseException:
            self.close()
            raise

    def _bridge(self) -> subprocess.Popen[bytes]:
        url = f"http://127.0.0.1:{self.provider.server_port}"
        wrong = BridgeModel("anthropic/claude-other", url, key_env="OTHER_KEY")
        options = BridgeOptions((BridgeModel(NAME, url), wrong), port=int(self.bridge_url.rpartition(":")[2]))
        environment = {**bridge_environment(options), "OTHER_KEY": "sk-ant-wrong-key-000000"}
        log = self.logs / "bridge.log"
        return start("plugins.litellm_teacher", environment, f"{self.bridge_url}/health", log)

    def _plane(self) -> subprocess.Popen[bytes]:
        url = f"{self.bridge_url}/v1"
        other = TeacherOptions("other", ("other-*",), url, BRIDGE_KEY_ENV, "anthropic/claude-other")
        port = int(self.plane_url.rpartition(":")[2])
        options = DataPlaneOptions(str(self.data.root), url, port=port, teacher_key_env=BRIDGE_KEY_ENV)
        options = DataPlaneOptions(**{**vars(options), "teacher_model": NAME, "teachers": (other,)})
        environment = {**to_environment(options), BRIDGE_KEY_ENV: BRIDGE_KEY}
        return start("proxy.dataplane", environment, f"{self.plane_url}/tutelage/health", self.logs / "plane.log")

    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.plane_url}/v1", api_key="sk-agents-own-key-9", max_retries=0)

    def records(self, count: int) -> list[CallRecord]:
        """The journal, once it holds so many calls."""
        deadline = time.monotonic() + 20
        while True:
            found = [decode(payload) for payload in JournalReader(self.data.journal).read({}, 1 << 30).records]
            if len(found) >= count or time.monotonic() > deadline:
                return found
            time.sleep(0.05)

    def close(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
            process.wait(30)
        self.provider.shutdown()
        self.provider.server_close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("litellm"))
    yield made
    made.close()


def ask(world: World, text: str, model: str = "gpt-whatever", **more: Any) -> Any:
    """The answer; all parts of it when `stream` is asked for."""
    with world.client() as client:
        made = client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}], **more)
        return list(made) if more.get("stream") else made


def test_an_answer_with_its_counts(world: World) -> None:
    answer = ask(world, "hello", temperature=0.5, max_tokens=50)
    assert answer.choices[0].message.content == "You said: hello – grüß Gott"
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (11, 5, 16)
    assert answer.object == "chat.completion"
    asked = world.handler.seen[-1]
    assert (asked["model"], asked["temperature"], asked["max_tokens"]) == ("claude-sonnet-4-5", 0.5, 50)


def test_tools_parallel_calls_and_their_results(world: World) -> None:
    answer = ask(world, "two towns", tools=[TOOL], tool_choice="auto")
    message = answer.choices[0].message
    assert answer.choices[0].finish_reason == "tool_calls"
    assert message.content == "I look."
    asked = [(call.id, call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls]
    assert asked == [("toolu_0", "weather", {"town": "Oslo"}), ("toolu_1", "weather", {"town": "Rome"})]
    assert world.handler.seen[-1]["tools"][0]["name"] == "weather"
    results = [{"role": "tool", "tool_call_id": call.id, "content": "rain"} for call in message.tool_calls]
    turns: Any = [{"role": "user", "content": "two towns"}, message.model_dump(exclude_none=True), *results]
    with world.client() as client:
        last = client.chat.completions.create(model="gpt-whatever", messages=turns, tools=[TOOL])  # pyright: ignore
    assert last.choices[0].message.content == "You said: tool_result – grüß Gott"


def test_a_stream_word_by_word_with_tools_and_usage(world: World) -> None:
    parts = ask(world, "two towns", tools=[TOOL], stream=True, stream_options={"include_usage": True})
    assert len({part.id for part in parts}) == 1
    assert len({part.model for part in parts}) == 1
    assert "".join(part.choices[0].delta.content or "" for part in parts if part.choices) == "I look."
    calls: dict[int, list[str]] = {}
    for part in parts:
        for delta in (part.choices[0].delta.tool_calls or []) if part.choices else []:
            calls.setdefault(delta.index, []).append(delta.function.arguments or "")
            assert delta.id in (None, f"toolu_{delta.index}")
    assert [json.loads("".join(texts)) for texts in calls.values()] == [{"town": "Oslo"}, {"town": "Rome"}]
    assert parts[-1].choices == []
    assert (parts[-1].usage.prompt_tokens, parts[-1].usage.completion_tokens) == (11, 5)
    assert [part.choices[0].finish_reason for part in parts if part.choices][-1] == "tool_calls"


def test_a_stream_without_usage_for_the_agent_has_it_in_the_log(world: World) -> None:
    before = len(world.records(0))
    parts = ask(world, "hello", stream=True)
    assert all(part.choices and part.usage is None for part in parts)
    record = world.records(before + 1)[-1]
    assert b'"completion_tokens":5' in record.response
    assert record.response.rstrip().endswith(b"data: [DONE]")


def test_fields_of_the_providers_own_api_reach_it(world: World) -> None:
    ask(world, "hello", extra_body={"top_k": 3, "metadata": {"run": "7"}})
    assert world.handler.seen[-1]["top_k"] == 3
    assert "run" not in str(world.handler.seen[-1].get("metadata"))


@pytest.mark.parametrize("name", ["api_base", "api_key", "base_url", "mock_response", "extra_headers", "num_retries"])
def test_an_agent_cannot_set_what_is_litellms(world: World, name: str) -> None:
    before = len(world.handler.seen)
    with pytest.raises(openai.BadRequestError, match=name):
        ask(world, "hello", extra_body={name: "http://127.0.0.1:9/"})
    assert len(world.handler.seen) == before


def test_what_the_provider_cannot_do_is_refused_and_not_dropped(world: World) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        ask(world, "hello", logit_bias={"1": 2})
    assert "logit_bias" in refused.value.message


@pytest.mark.parametrize("stream", [False, True])
def test_errors_keep_status_and_advice(world: World, stream: bool) -> None:
    with pytest.raises(openai.RateLimitError, match="slow down") as limited:
        ask(world, "too fast", stream=stream)
    assert limited.value.code == "rate_limit_exceeded"
    assert limited.value.response.headers["retry-after"] == "7"
    with pytest.raises(openai.InternalServerError) as overloaded:
        ask(world, "overload", stream=stream)
    assert overloaded.value.status_code in (500, 503, 529)


def test_a_stream_that_breaks_says_so(world: World) -> None:
    with pytest.raises(openai.APIError, match=r"(?i)overloaded"):
        ask(world, "break off", tools=[TOOL], stream=True)


def test_the_right_key_goes_to_the_right_place_and_none_is_told(world: World) -> None:
    with pytest.raises(openai.AuthenticationError) as wrong:
        ask(world, "hello", model="other-model")
    assert "sk-ant-wrong" not in str(wrong.value.body)
    assert world.handler.seen[-1]["model"] == "claude-other"
    for log in world.logs.glob("*.log"):
        assert all(key not in log.read_text() for key in (PROVIDER_KEY, BRIDGE_KEY, "sk-ant-wrong", "sk-agents-own"))
    for path in world.data.journal.rglob("*"):
        if path.is_file():
            assert all(key.encode() not in path.read_bytes() for key in (PROVIDER_KEY, BRIDGE_KEY, "sk-agents-own"))


def test_an_agent_that_leaves_ends_the_call_to_the_provider(world: World) -> None:
    world.handler.gone.clear()
    with pytest.raises(openai.APITimeoutError):
        ask(world, "wait", timeout=1.0)
    assert world.handler.gone.wait(20)


def test_only_the_proxy_is_let_in(world: World) -> None:
    refused = httpx.get(f"{world.bridge_url}/v1/models", headers={"authorization": "Bearer guess"}, trust_env=False)
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")


def test_the_models_are_listed_through_the_proxy(world: World) -> None:
    with world.client() as client:
        assert [model.id for model in client.models.list()] == [NAME, "anthropic/claude-other"]


def test_the_bridge_stops_at_once_when_asked(tmp_path: Path) -> None:
    port = free_port()
    environment = bridge_environment(BridgeOptions((BridgeModel(NAME),), port=port))
    process = start("plugins.litellm_teacher", environment, f"http://127.0.0.1:{port}/health", tmp_path / "log")
    process.terminate()
    assert process.wait(30) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"models": [{"name": "nobody/model"}], "port": 0}, "no provider 'nobody'"),
        ({"models": [{"name": "claude"}]}, "provider/model"),
        ({"models": [{"name": NAME, "key_env": "NOT_SET_ANYWHERE"}]}, "NOT_SET_ANYWHERE"),
        ({"models": 3}, "no valid options"),
    ],
)
def test_a_bridge_that_cannot_work_says_why(options: dict[str, Any], words: str) -> None:
    environment = {**bridge_environment(BridgeOptions(())), "TUTELAGE_OPTIONS": json.dumps(options)}
    command = [sys.executable, "-m", "tutelage.plugins.litellm_teacher"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_without_the_package_the_line_to_run_is_named() -> None:
    if find_spec("litellm"):
        pytest.skip("LiteLLM is in the environment of the tests.")
    environment = bridge_environment(BridgeOptions((BridgeModel(NAME),), port=free_port()))
    command = [sys.executable, "-m", "tutelage.plugins.litellm_teacher"]
    environment = {name: value for name, value in environment.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "pip install 'tutelage[litellm]'" in done.stderr) == (1, True)


def test_the_module_itself_loads_no_litellm() -> None:
    code = "import sys, tutelage.plugins.litellm_teacher as m; print([n for n in sys.modules if 'litellm' == n])"
    environment = {**os.environ, "PYTHONPATH": str(OWN_FOLDER)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.chaos
def test_serve_starts_the_bridge_and_brings_it_back(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in bridge_environment(BridgeOptions(())).items():
        if name in ("PYTHONPATH", "ANTHROPIC_API_KEY"):
            monkeypatch.setenv(name, value)
    (tmp_path / "tutelage.toml").write_text(
        f"""
        port = {free_port()}
        control_port = {free_port()}
        bridge_port = {free_port()}
        [teachers.claude]
        models = ["claude*"]
        litellm = "{NAME}"
        url = "http://127.0.0.1:{world.provider.server_port}"
        """
    )
    chosen = config.load(tmp_path / "tutelage.toml", data=tmp_path / "data")
    supervisor = processes.supervisor(chosen, lambda text: None, installed=lambda package: True)

    def content() -> str | None:
        with openai.OpenAI(base_url=chosen.data_plane_url, api_key="agent", max_retries=0) as client:
            answer = client.chat.completions.create(model="claude", messages=[{"role": "user", "content": "hello"}])
            return answer.choices[0].message.content

    watcher = threading.Thread(target=supervisor.watch, args=(0.05,))
    try:
        supervisor.start()
        watcher.start()
        assert content() == "You said: hello – grüß Gott"
        first = supervisor.pids()[processes.BRIDGE]
        os.kill(first, 9)
        with pytest.raises(openai.InternalServerError):
            content()
        deadline = time.monotonic() + 60
        while supervisor.pids()[processes.BRIDGE] == first or not answers(f"{chosen.bridge_url[:-3]}/health"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert content() == "You said: hello – grüß Gott"
    finally:
        supervisor.request_stop()
        if watcher.is_alive():
            watcher.join()
        supervisor.stop()
