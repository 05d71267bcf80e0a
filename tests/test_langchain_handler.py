"""The handler by itself: as a log source, with a server that is away, and with callbacks that make no sense."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from uuid import uuid4

import httpx
import pytest
from conformance.plane import free_port
from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langchain_desk import call, desk, opened, results, say
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from tutelage.plugins.langchain import TutelageCallbackHandler
from tutelage.plugins.langchain_runs import Threads
from tutelage.plugins.server import Server


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with opened(tmp_path_factory.mktemp("handler")) as running:
        yield running


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


def weatherman(body: dict[str, Any]) -> dict[str, Any]:
    return say("sunny") if results(body) else call(("weather", {"city": "Rome"}))


def run(model: Any, config: Any) -> None:
    agent = create_agent(model, [weather], system_prompt="You know the weather.", name="met")
    agent.invoke({"messages": [HumanMessage("weather?")]}, config)


@pytest.mark.parametrize("streaming", [False, True])
def test_calls_that_bypass_the_proxy_are_logged_as_if_they_had_not(plane: Any, streaming: bool) -> None:
    with desk(plane, weatherman, record=True) as made:
        direct: Any = ChatOpenAI(
            model="gpt-5-mini", base_url=plane.teacher.url, api_key=SecretStr(made.key), streaming=streaming
        )
        run(direct, made.config("thread 1"))
        run(made.model(), made.config("thread 1"))
        log = made.log()
    recorded, proxied = log.calls[:2], log.calls[2:]
    assert {row["reason"] for row in recorded} == {"recorded:plugin:langchain"}
    assert {row["reason"] for row in proxied} == {"unknown_pattern"}  # and no second record of them
    assert len(log.runs) == 2
    same = ("pattern_id", "toolset_id", "turn", "hint", "session", "finish_reason", "status", "prompt_tokens")
    for mine, theirs in zip(recorded, proxied, strict=True):
        assert [mine[name] for name in same] == [theirs[name] for name in same]
    # What was asked first is the same message, stored once; later ones hold ids of tool calls that differ.
    assert recorded[0]["request_tail"] == proxied[0]["request_tail"]
    assert [row["success"] for row in log.runs.values()] == [True, True]
    assert all(row["latency_ms"] > 0 for row in recorded)
    assert {row["stream"] for row in recorded} == {streaming}


def test_calls_that_fail_are_logged_too(plane: Any) -> None:
    with desk(plane, weatherman, record=True) as made:
        broken = ChatOpenAI(model="m", base_url=plane.teacher.url + "/nothing", api_key=SecretStr("x"), max_retries=0)
        with pytest.raises(Exception, match="404"):
            run(broken, made.config())
        log = made.log()
    [row] = log.calls
    assert (row["status"], row["reason"]) == (404, "recorded:plugin:langchain")
    assert (log.runs[log.only()]["success"], log.runs[log.only()]["success_source"]) == (False, "plugin:langchain")


def test_any_chat_model_can_be_recorded(plane: Any) -> None:
    with desk(plane, weatherman, record=True) as made:
        model = GenericFakeChatModel(messages=iter([AIMessage("hi")]))
        (RunnableLambda(lambda text: text) | model).invoke("hello", made.config())
        log = made.log()
    [row] = log.calls
    assert (row["status"], row["finish_reason"], row["trajectory_id"]) == (200, "stop", log.only())


def test_what_cannot_be_translated_costs_the_record_and_nothing_else(plane: Any, caplog: Any) -> None:
    with desk(plane, weatherman, record=True) as made:
        model = GenericFakeChatModel(messages=iter([AIMessage("hi")])).bind(tools=[{"googleSearch": {}}])
        assert model.invoke("hello", made.config()).content == "hi"
        assert made.handler.faults == {"Untranslatable": 1}
        assert "a tool that is no function" in caplog.text
        assert made.server.stats.put == 0


class Away:
    """A server that is down, then comes up on the same port, and keeps what it gets."""

    def __init__(self) -> None:
        self.port, self.got = free_port(), []
        got = self.got

        class Site(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                got.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(202)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._site = Site

    def come_up(self) -> HTTPServer:
        server = HTTPServer(("127.0.0.1", self.port), self._site)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return server


def fake_run(handler: TutelageCallbackHandler, number: int) -> None:
    model = GenericFakeChatModel(messages=iter([AIMessage(f"answer {number}")]))
    (RunnableLambda(lambda text: text) | model).invoke(f"hello {number}", {"callbacks": [handler]})


def test_a_server_that_is_down_for_a_while_loses_nothing() -> None:
    away = Away()
    server = Server(f"http://127.0.0.1:{away.port}", "k", first_pause_s=0.05)
    handler = TutelageCallbackHandler(server, record=True, threads=Threads())
    for number in range(40):
        fake_run(handler, number)
    assert not handler.flush(0.3)
    assert "cannot be reached" in server.stats.problem
    assert away.got == []
    site = away.come_up()
    try:
        assert handler.flush(20)
        for number in range(40, 50):
            fake_run(handler, number)
        assert handler.shutdown(20)
    finally:
        site.shutdown()
        site.server_close()
    assert (server.stats.delivered, server.stats.dropped, server.stats.refused) == (100, 0, 0)
    bodies = b"".join(body for _, body in away.got)
    assert all(b'"hello %d"' % number in bodies for number in range(50))
    assert sum(path == "/v1/feedback" for path, _ in away.got) == 50


def test_a_server_that_never_comes_back_is_no_concern_of_the_agent() -> None:
    server = Server(f"http://127.0.0.1:{free_port()}", "k", first_pause_s=0.01, limit_bytes=20_000)
    handler = TutelageCallbackHandler(server, record=True, threads=Threads())
    before = threading.active_count()
    for number in range(200):
        fake_run(handler, number)
    assert server.stats.waiting_bytes <= 20_000
    assert server.stats.dropped > 0
    assert threading.active_count() <= before + 1
    started = time.monotonic()
    assert not handler.shutdown(0.2)
    assert time.monotonic() - started < 5
    assert (len(handler.runs), handler.faults) == (0, {})


def test_a_redirecting_stranger_on_the_port_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(302, headers={"location": "http://x.test"}))
    handler = TutelageCallbackHandler(Server("http://x.test", "k", transport=transport), threads=Threads())
    fake_run(handler, 1)
    assert handler.flush()
    assert handler.server.stats.refused == 1
    assert "302" in caplog.text


EVENTS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("on_chain_start", (None, object()), {}),
    (
        "on_chain_start",
        ({}, None),
        {"metadata": {"langgraph_checkpoint_ns": 7, "thread_id": 9}, "tags": ["graph:step:x"]},
    ),
    ("on_chain_end", (object(),), {}),
    ("on_chain_error", (KeyboardInterrupt(),), {}),
    ("on_tool_start", (None, ""), {}),
    ("on_tool_end", (object(),), {}),
    ("on_tool_error", (ValueError(),), {}),
    ("on_chat_model_start", (None, [[HumanMessage("x")]]), {"invocation_params": {"tools": 7}}),
    ("on_chat_model_start", (None, [[]]), {"invocation_params": None}),
    ("on_llm_new_token", ([{"type": "text"}],), {}),
    ("on_llm_end", (LLMResult(generations=[]),), {}),
    ("on_llm_end", (LLMResult(generations=[[ChatGeneration(message=AIMessage("x"))]]),), {}),
    ("on_llm_error", (RuntimeError(),), {}),
    ("on_retriever_start", ({}, "q"), {}),
    ("on_retriever_end", ([],), {}),
    ("on_retriever_error", (ValueError(),), {}),
    ("on_retry", (None,), {}),
]


@pytest.mark.parametrize("record", [False, True])
def test_no_order_of_events_raises_or_leaks(record: bool) -> None:
    server = Server("http://x.test", "k", transport=httpx.MockTransport(lambda _: httpx.Response(202, json={})))
    handler = TutelageCallbackHandler(server, record=record, threads=Threads())
    ids = [uuid4() for _ in range(3)]
    for first, (name, arguments, more) in enumerate(EVENTS):
        for second, (other, others, again) in enumerate(EVENTS):
            run_id, above = ids[first % 3], ids[second % 3] if first % 2 else None
            parent = {"parent_run_id": above} if name.endswith("start") else {}
            getattr(handler, name)(*arguments, run_id=run_id, **parent, **more)
            getattr(handler, other)(*others, run_id=ids[second % 3], **again)
    assert set(handler.faults) <= {"Untranslatable", "TypeError"}
    assert len(handler.runs) <= 3
    assert handler.shutdown()


def test_outcomes_can_be_left_to_others() -> None:
    server = Server("http://x.test", "k", transport=httpx.MockTransport(lambda _: httpx.Response(202, json={})))
    fake_run(TutelageCallbackHandler(server, outcomes=False, threads=Threads()), 1)
    assert server.stats.put == 0


def test_handlers_of_one_address_share_a_queue_and_may_be_made_for_each_run() -> None:
    first, second = (TutelageCallbackHandler("http://desk.test", api_key="k") for _ in range(2))
    assert first.server is second.server
    assert first.server.source == "plugin:langchain"
    assert first.run_inline
    assert not first.raise_error
    with pytest.raises(ValueError, match="address of a Tutelage server"):
        TutelageCallbackHandler("desk")
