"""The whole data plane in processes of its own, with real clients and raw sockets."""

import asyncio
import contextlib
import itertools
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import httpx2
import openai
import pytest

from tutelage.proxy.dataplane import check_port
from tutelage.proxy.options import DataPlaneOptions, to_environment
from tutelage.traffic.errors import BadInput
from tutelage.traffic.journal import JournalReader
from tutelage.traffic.records import CallRecord, decode
from tutelage.traffic.sse import assemble_chat, frames_of

TOOL_CALL = {"id": "call_1", "type": "function", "function": {"name": "get_order", "arguments": '{"id": "#W1"}'}}
TOOLS: Any = [{"type": "function", "function": {"name": "get_order", "parameters": {"type": "object"}}}]
USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}


def completion(message: dict[str, Any]) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": None, **message}, "finish_reason": "stop"}
    return {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": USAGE}


@dataclass
class RawTeacher:
    """A teacher on a socket. What it does is told by the last user message."""

    port: int = 0
    bodies: list[dict[str, Any]] = field(default_factory=list)
    broken_pipes: int = 0

    def start(self) -> None:
        ready = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self._serve(ready)), daemon=True).start()
        assert ready.wait(5)

    async def _serve(self, ready: threading.Event) -> None:
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await server.serve_forever()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                lengths = [
                    line.split(":")[1] for line in head.splitlines() if line.lower().startswith("content-length")
                ]
                body = json.loads(await reader.readexactly(int(lengths[0])))
                self.bodies.append(body)
                await self._answer(body, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.broken_pipes += 1
        finally:
            writer.close()

    async def _answer(self, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        task = body["messages"][-1]["content"]
        message = {"tool_calls": [TOOL_CALL]} if task == "tool" else {"content": "hello there"}
        if task == "error":
            await self._plain(
                writer, "404 Not Found", {"error": {"message": "no such model", "code": "model_not_found"}}
            )
        elif task == "hang":
            await asyncio.sleep(30)
        elif task == "break":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\nabc")
            raise ConnectionResetError
        elif body.get("stream"):
            usage = body.get("stream_options", {}).get("include_usage", False)
            frames = (
                [b"data: %d\n\n" % n for n in range(20)]
                if task.startswith("slow")
                else [*frames_of(completion(message), usage)]
            )
            await self._stream(writer, frames, 0.1 if task.startswith("slow") else 0)
        else:
            await self._plain(writer, "200 OK", completion(message))

    async def _plain(self, writer: asyncio.StreamWriter, status: str, body: dict[str, Any]) -> None:
        raw = json.dumps(body).encode()
        head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(raw)}\r\n\r\n"
        writer.write(head.encode() + raw)
        await writer.drain()

    async def _stream(self, writer: asyncio.StreamWriter, frames: list[bytes], pause_s: float) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for frame in frames:
            writer.write(b"%x\r\n%s\r\n" % (len(frame), frame))
            await writer.drain()
            await asyncio.sleep(pause_s)
        writer.write(b"0\r\n\r\n")
        await writer.drain()


@dataclass
class Running:
    """A data plane in a process of its own."""

    options: DataPlaneOptions
    process: "subprocess.Popen[bytes]"
    teacher: RawTeacher

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.options.port}"

    @contextlib.contextmanager
    def client(self) -> Iterator[openai.OpenAI]:
        with openai.OpenAI(
            base_url=f"{self.url}/v1", api_key="sk-x", max_retries=0, http_client=httpx2.Client(timeout=10)
        ) as client:
            yield client

    def socket(self, task: str) -> socket.socket:
        """A connection over which a streaming call has been sent."""
        asked = {"model": "m", "stream": True, "messages": [{"role": "user", "content": task}]}
        body = json.dumps(asked).encode()
        connection = socket.create_connection(("127.0.0.1", self.options.port), timeout=10)
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        return connection

    def records(self, task: str, count: int = 1) -> list[CallRecord]:
        """The records of the calls with this task, once there are `count`."""
        end = time.monotonic() + 5
        while time.monotonic() < end:
            batch = JournalReader(Path(self.options.data) / "journal").read({}, 1 << 30)
            found = [r for r in map(decode, batch.records) if json.dumps(task).encode() in r.request]
            if len(found) >= count:
                return found
            time.sleep(0.05)
        raise AssertionError(f"no {count} records of {task}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def launch(options: DataPlaneOptions) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "tutelage.proxy.dataplane"]
    log = Path(options.data) / "stderr.log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, env=to_environment(options), stderr=stderr)
    end = time.monotonic() + 20
    while time.monotonic() < end and process.poll() is None:
        try:
            httpx.get(f"http://127.0.0.1:{options.port}/health").raise_for_status()
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return process
    raise AssertionError(f"the data plane did not start: {log.read_text()}")


def stop(process: "subprocess.Popen[bytes]") -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(20)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    teacher = RawTeacher()
    teacher.start()
    options = DataPlaneOptions(
        data=str(tmp_path_factory.mktemp("data")),
        teacher_url=f"http://127.0.0.1:{teacher.port}/v1",
        port=free_port(),
        head_timeout_s=2,
    )
    process = launch(options)
    yield Running(options, process, teacher)
    assert stop(process) == 0


def user(task: str) -> Any:
    return [{"role": "user", "content": task}]


def test_openai_client_plain_and_tools(running: Running) -> None:
    with running.client() as client:
        plain = client.chat.completions.with_raw_response.create(model="m", messages=user("plain"))
        acted = client.chat.completions.create(model="m", messages=user("tool"), tools=TOOLS)
    assert plain.headers["x-request-id"] == plain.headers["x-tutelage-call-id"]
    assert plain.parse().choices[0].message.content == "hello there"
    calls = acted.choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].model_dump() == TOOL_CALL
    record = running.records("tool")[0]
    assert json.loads(record.response)["choices"][0]["message"]["tool_calls"] == [TOOL_CALL]


def test_openai_client_streaming_without_and_with_usage(running: Running) -> None:
    with running.client() as client:
        chunks = list(client.chat.completions.create(model="m", messages=user("words"), stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "hello there"
    assert running.teacher.bodies[-1]["stream_options"] == {"include_usage": True}
    with running.client() as client:
        asked = client.chat.completions.create(
            model="m", messages=user("words"), stream=True, stream_options={"include_usage": True}
        )
        usage = [chunk.usage for chunk in asked if chunk.usage]
    assert [u.total_tokens for u in usage] == [13]
    logged = [assemble_chat(record.response) for record in running.records("words", 2)]
    assert [whole["usage"] for whole in logged] == [USAGE, USAGE]


def test_openai_client_streamed_tool_calls(running: Running) -> None:
    with (
        running.client() as client,
        client.chat.completions.stream(model="m", messages=user("tool"), tools=TOOLS) as stream,
    ):
        calls = stream.get_final_completion().choices[0].message.tool_calls
    assert calls is not None
    assert json.loads(calls[0].function.arguments) == {"id": "#W1"}


def test_openai_client_sees_the_teachers_errors(running: Running) -> None:
    with running.client() as client, pytest.raises(openai.NotFoundError, match="no such model") as caught:
        client.chat.completions.create(model="m", messages=user("error"))
    assert caught.value.code == "model_not_found"
    with running.client() as client, pytest.raises(openai.InternalServerError) as slow:
        client.chat.completions.create(model="m", messages=user("hang"))
    assert (slow.value.status_code, slow.value.code) == (504, "upstream_timeout")
    with running.client() as client, pytest.raises(openai.InternalServerError) as broken:
        client.chat.completions.create(model="m", messages=user("break"))
    assert broken.value.status_code == 502
    assert running.records("break")[0].error == "upstream_broken_off"


def test_chunks_are_neither_merged_nor_held_back(running: Running) -> None:
    with running.socket("slow") as connection:
        arrivals = []
        while not (data := connection.recv(65536)).endswith(b"0\r\n\r\n"):
            arrivals += [time.monotonic()] * data.count(b"data: ")
    gaps = [later - sooner for sooner, later in itertools.pairwise(arrivals)]
    assert len(arrivals) == 20
    assert sum(gap > 0.05 for gap in gaps) >= 15, gaps


def test_an_agent_that_leaves_is_logged_as_cancelled_and_the_teacher_told(running: Running) -> None:
    told = running.teacher.broken_pipes
    with running.socket("slow leaving") as connection:
        assert b"200 OK" in connection.recv(65536)
    (record,) = running.records("slow leaving")
    assert record.cancelled
    end = time.monotonic() + 3
    while running.teacher.broken_pipes == told and time.monotonic() < end:
        time.sleep(0.05)
    assert running.teacher.broken_pipes > told


def test_sigterm_lets_calls_finish_and_closes_the_journal(running: Running, tmp_path: Path) -> None:
    options = replace(running.options, data=str(tmp_path), port=free_port(), workers=2)
    process = launch(options)
    other = replace_running(running, options, process)
    with other.socket("slow") as connection:
        received = connection.recv(65536)
        process.send_signal(signal.SIGTERM)
        while not received.endswith(b"0\r\n\r\n"):
            received += connection.recv(65536)
    assert received.count(b"data: ") == 20
    assert stop(process) == 0
    (record,) = other.records("slow")
    assert not record.cancelled


def replace_running(running: Running, options: DataPlaneOptions, process: "subprocess.Popen[bytes]") -> Running:
    return Running(options, process, running.teacher)


def test_a_teacher_that_is_down(running: Running, tmp_path: Path) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}/v1"
    options = replace(running.options, data=str(tmp_path), port=free_port(), teacher_url=nowhere)
    process = launch(options)
    try:
        other = replace_running(running, options, process)
        with other.client() as client, pytest.raises(openai.InternalServerError) as caught:
            client.chat.completions.create(model="m", messages=user("x"))
        assert (caught.value.status_code, caught.value.code) == (502, "upstream_unreachable")
    finally:
        assert stop(process) == 0


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"journal_sync": "sometimes"}, "journal_sync"),
        ({"teacher_key_env": "TUTELAGE_NOT_SET"}, "TUTELAGE_NOT_SET"),
        ({"data": "/proc/nothing"}, "data folder"),
        ({}, "cannot be used: Address already in use"),
    ],
)
def test_it_says_why_it_cannot_start(running: Running, change: dict[str, Any], expected: str) -> None:
    options = replace(running.options, **change)
    command = [sys.executable, "-m", "tutelage.proxy.dataplane"]
    result = subprocess.run(
        command, env=to_environment(options), capture_output=True, text=True, timeout=30, check=False
    )
    assert result.returncode == 1
    assert expected in result.stderr
    assert "Traceback" not in result.stderr


def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(BadInput, match="cannot be used"):
        check_port("127.0.0.1", taken.getsockname()[1])
