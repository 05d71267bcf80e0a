"""Every acknowledged call is in the store, whichever process is killed, however often, under load.

An answer counts as acknowledged when the agent has all of it: the whole body, or the end of the stream.
"""

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import httpx
import psutil
import pytest

from tutelage.examples.demo_world import free_port
from tutelage.proxy.http_messages import Reply, Request
from tutelage.proxy.http_server import HttpServer

pytestmark = [pytest.mark.chaos, pytest.mark.slow]
KILLS, AGENTS, SEED = 20, 12, 20261121
COMES_BACK_S = 5.0
ANSWER = b'{"id":"c","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"ok"}}]}'
WORD = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"ok"}}]}\n\n'


class Teacher:
    """Answers at once, or in five pieces when the agent streams."""

    def wants_pieces(self, request: Request) -> bool:
        return False

    async def __call__(self, request: Request, reply: Reply) -> None:
        if b'"stream": true' not in request.body:
            reply.whole(200, [("content-type", "application/json")], ANSWER)
            return
        reply.begin(200, [("content-type", "text/event-stream")], None)
        for _ in range(5):
            await reply.write(WORD)
            await asyncio.sleep(0.002)
        await reply.write(b"data: [DONE]\n\n")
        reply.end()


@dataclass
class Agents:
    """Calls without pause; remembers the ids of the calls that were answered completely."""

    port: int
    chance: random.Random
    acknowledged: list[str] = field(default_factory=list)
    broken: int = 0
    stopped: bool = False

    async def run(self) -> None:
        await asyncio.gather(*(self._agent(number) for number in range(AGENTS)))

    async def _agent(self, number: int) -> None:
        turn = 0
        while not self.stopped:
            try:
                async with asyncio.timeout(10):
                    reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    with contextlib.closing(writer):
                        for _ in range(self.chance.randint(1, 40)):
                            turn += 1
                            await self._call(reader, writer, f"agent {number} turn {turn}")
                            if self.stopped:
                                break
            except (OSError, EOFError, TimeoutError):
                self.broken += 1
                await asyncio.sleep(0.02)

    async def _call(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, text: str) -> None:
        stream = self.chance.random() < 0.3
        body = json.dumps({"model": "m", "stream": stream, "messages": [{"role": "user", "content": text}]}).encode()
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        named = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
        if "content-length" in named:
            await reader.readexactly(int(named["content-length"]))
        else:
            await reader.readuntil(b"\r\n0\r\n\r\n")
        if head.startswith("HTTP/1.1 200"):
            self.acknowledged.append(named["x-tutelage-call-id"])


@dataclass
class System:
    """`tutelage serve` with all its processes."""

    folder: Path
    teacher: int
    port: int = field(default_factory=lambda: free_port(0))
    control: int = field(default_factory=lambda: free_port(0))
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def start(self) -> None:
        command = [sys.executable, "-m", "tutelage", "serve", "--data", str(self.data), "--workers", "2"]
        command += ["--teacher", f"http://127.0.0.1:{self.teacher}/v1"]
        command += ["--port", str(self.port), "--control-port", str(self.control)]
        with (self.folder / "serve.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    async def victim(self, kind: str) -> int:
        """The process to kill, once it has come up again."""
        assert self.process
        while kind != "serve":
            with contextlib.suppress(FileNotFoundError, psutil.NoSuchProcess, IndexError):
                pids = json.loads((self.data / "serve.json").read_text())["pids"]
                if kind == "worker":
                    return psutil.Process(pids["data plane"]).children()[0].pid
                if psutil.Process(pids[kind]).status() != psutil.STATUS_ZOMBIE:
                    return pids[kind]
            await asyncio.sleep(0.05)
        return self.process.pid

    async def back(self) -> float:
        """Seconds until agents and operators are answered again."""
        started = time.monotonic()
        urls = [f"http://127.0.0.1:{self.port}/tutelage/health", f"http://127.0.0.1:{self.control}/healthz"]
        async with httpx.AsyncClient(trust_env=False, timeout=1) as client:
            for url in urls:
                while not await self._answers(client, url):
                    assert self.process
                    if self.process.poll() is not None:
                        self.start()
                    await asyncio.sleep(0.02)
        return time.monotonic() - started

    async def _answers(self, client: httpx.AsyncClient, url: str) -> bool:
        try:
            return (await client.get(url)).status_code == 200
        except httpx.TransportError:
            return False

    def end(self) -> None:
        """End it whatever state it is in."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)

    async def stop(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(self.process.wait, 60) == 0


@contextlib.asynccontextmanager
async def teaching() -> AsyncIterator[int]:
    server = HttpServer(Teacher())
    port = await asyncio.get_running_loop().create_server(server.connection, "127.0.0.1", 0)
    try:
        yield port.sockets[0].getsockname()[1]
    finally:
        port.close()
        server.drain()
        await server.finished()


async def chaos(folder: Path, chance: random.Random) -> tuple[System, Agents, list[tuple[str, float]]]:
    """Load and kills; the system is stopped in order at the end."""
    kinds = ["worker"] * 9 + ["data plane"] * 4 + ["control plane"] * 5 + ["serve"] * 2
    chance.shuffle(kinds)
    times = []
    async with teaching() as teacher, contextlib.AsyncExitStack() as stack:
        system = System(folder, teacher)
        stack.callback(system.end)
        system.start()
        await system.back()
        agents = Agents(system.port, chance)
        load = asyncio.create_task(agents.run())
        for kind in kinds[:KILLS]:
            await asyncio.sleep(chance.uniform(0.2, 1.0))
            os.kill(await system.victim(kind), signal.SIGKILL)
            await asyncio.sleep(0.05)
            times.append((kind, await system.back()))
        await asyncio.sleep(0.5)
        agents.stopped = True
        await load
        await system.stop()
    return system, agents, times


def test_kill_nine_anything_twenty_times(tmp_path: Path) -> None:
    system, agents, times = asyncio.run(chaos(tmp_path, random.Random(SEED)))
    with duckdb.connect(str(next(system.data.glob("*.duckdb"))), read_only=True) as store:
        stored = Counter(str(row[0]) for row in store.execute("SELECT call_id FROM calls").fetchall())
    missing = [call for call in agents.acknowledged if call not in stored]
    slowest = max(seconds for _, seconds in times)
    print(f"acknowledged {len(agents.acknowledged)}, stored {len(stored)}, broken {agents.broken}, times {times}")
    assert len(agents.acknowledged) > 2000
    assert agents.broken > 0
    assert missing == []
    assert [call for call, count in stored.items() if count > 1] == []
    assert slowest < COMES_BACK_S, times
