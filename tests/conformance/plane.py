"""The started data plane in front of the teacher, a raw HTTP client for it, and its journal."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conformance.teacher import Teacher

from tutelage.proxy.options import DataPlaneOptions, to_environment
from tutelage.traffic.answers import Answer, answer_of_record
from tutelage.traffic.dialects import dialect_of
from tutelage.traffic.journal_reader import JournalReader
from tutelage.traffic.records import CallRecord, decode

KEY = "sk-conformance-0123456789abcdef-secret"
"""The agents' key, which no file may ever hold."""
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@dataclass
class Response:
    """An answer as it came over the wire."""

    status: int
    headers: list[tuple[str, str]]
    """Names in lower case."""
    body: bytes
    """Without its chunked framing."""
    raw: bytes
    """Head and body as they came."""

    def get(self, name: str) -> str:
        """The values of a header, joined; empty when it is not there."""
        return ", ".join(value for key, value in self.headers if key == name)

    @property
    def call_id(self) -> str:
        """The name of the call in the journal."""
        return self.get("x-tutelage-call-id")


class Wire:
    """A connection on which bytes are sent as they are given."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.socket.close()

    def send(self, data: bytes, size: int = 0) -> None:
        """Send all at once, or in pieces of `size` bytes."""
        for at in range(0, len(data), size or len(data)):
            self.socket.sendall(data[at : at + (size or len(data))])

    def line(self) -> bytes:
        """The next line."""
        return self._file.readline()

    def at_end(self) -> bool:
        """Whether the other side closes without a further byte; waits for either."""
        return self._file.read(1) == b""

    def read(self, method: str = "POST") -> Response:
        """The next answer, 1xx ones left out."""
        status, headers, raw = self._head()
        while status < 200:
            status, headers, raw = self._head()
        named = dict(headers)
        bodiless = method == "HEAD" or status in (204, 304)
        body, rest = (b"", b"") if bodiless else self._body(named)
        return Response(status, headers, body, raw + rest)

    def _head(self) -> tuple[int, list[tuple[str, str]], bytes]:
        raw = self._file.readline()
        assert raw, "the connection was closed before an answer"
        status, headers = int(raw.split()[1]), []
        while (line := self._file.readline()).strip():
            raw += line
            name, _, value = line.decode("latin-1").partition(":")
            headers.append((name.lower(), value.strip()))
        return status, headers, raw + line

    def _body(self, named: dict[str, str]) -> tuple[bytes, bytes]:
        if "chunked" in named.get("transfer-encoding", ""):
            return self._chunks()
        data = self._file.read(int(named["content-length"])) if "content-length" in named else self._file.read()
        return data, data

    def _chunks(self) -> tuple[bytes, bytes]:
        body = raw = b""
        while size := int((line := self._file.readline()) or b"-1", 16):
            assert size > 0, "the answer broke off"
            data = self._file.read(size + 2)
            body, raw = body + data[:-2], raw + line + data
        return body, raw + line + self._file.readline()


def post(body: bytes, *headers: tuple[str, str], path: str = "/v1/chat/completions") -> bytes:
    """The bytes of a request. A header without a value leaves out the one that would be sent otherwise."""
    lines = {"host": "agent.test", "content-type": "application/json", "authorization": f"Bearer {KEY}"}
    lines |= {"content-length": str(len(body))} | dict(headers)
    text = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
    return f"POST {path} HTTP/1.1\r\n{text}\r\n".encode("latin-1") + body


@dataclass
class Plane:
    """A running data plane; its teacher is in this process."""

    teacher: Teacher
    port: int
    data: Path

    @property
    def url(self) -> str:
        """Base URL for agents."""
        return f"http://127.0.0.1:{self.port}/v1"

    def wire(self) -> Wire:
        """A new connection."""
        return Wire(self.port)

    def ask(self, body: bytes, *headers: tuple[str, str], path: str = "/v1/chat/completions") -> Response:
        """Send one request over a connection of its own, and read the answer."""
        with self.wire() as wire:
            wire.send(post(body, *headers, path=path))
            return wire.read()

    def played(self, steps: list[Any], body: bytes, *headers: tuple[str, str]) -> Response:
        """The answer when the teacher plays these steps."""
        return self.ask(body, ("x-script", self.teacher.play(steps)), *headers)

    def records(self) -> list[CallRecord]:
        """All that is in the journal now."""
        return [decode(payload) for payload in JournalReader(self.data / "journal").read({}, 1 << 30).records]

    def record(self, wanted: str | Callable[[CallRecord], bool], seconds: float = 10.0) -> CallRecord:
        """The one record with this call id, or of which `wanted` is true; waits for it."""
        fits = wanted if callable(wanted) else lambda record: record.call_id == wanted
        ends = time.monotonic() + seconds
        while not (found := [record for record in self.records() if fits(record)]):
            assert time.monotonic() < ends, f"no record of {wanted}"
            time.sleep(0.02)
        assert len(found) == 1
        return found[0]


def answer_in(record: CallRecord) -> Answer:
    """The answer as it is taken into the store, whatever protocol the endpoint speaks."""
    dialect = dialect_of(record.method, record.endpoint)
    assert dialect is not None
    return answer_of_record(record, dialect.read, dialect.assemble)


@contextmanager
def started(data: Path, teacher: Teacher | None = None, **options: Any) -> Iterator[Plane]:
    """A data plane in processes of its own in front of a new teacher, or of this one, which is started with it."""
    with teacher or Teacher() as teacher:
        # Some tests make the teacher fail again and again, which must not stop the calls of the others.
        settings = {"breaker_failures": 1_000_000, **options}
        plane = DataPlaneOptions(data=str(data), teacher_url=teacher.url, port=free_port(), **settings)
        environment = {k: v for k, v in to_environment(plane).items() if k.lower() not in PROXIES}
        command = [sys.executable, "-m", "tutelage.proxy.dataplane"]
        log = data / "stderr.log"
        with log.open("wb") as stderr, subprocess.Popen(command, env=environment, stderr=stderr) as process:
            try:
                _wait_for(plane.port, process, log)
                yield Plane(teacher, plane.port, data)
            finally:
                process.send_signal(signal.SIGTERM)
                try:
                    code = process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    raise
        assert code == 0, log.read_text()
        # A fault is answered with 500 and a trace; neither may hide behind a test that looks at something else.
        assert "Traceback" not in log.read_text(), log.read_text()


def _wait_for(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    ends = time.monotonic() + 30
    while time.monotonic() < ends and process.poll() is None:
        try:
            with Wire(port) as wire:
                wire.send(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
                assert wire.read().status == 200
                return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"the data plane did not start: {log.read_text()}")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def developed(name: str) -> Path | None:
    """A folder of packages beside the environment (`make dev`); None where it is missing."""
    folder = Path(__file__).parents[2] / ".dev" / name
    return folder if folder.is_dir() and os.listdir(folder) else None
