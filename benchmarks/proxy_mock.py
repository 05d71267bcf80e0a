"""The mock teacher of the proxy's benchmark (nginx), and the one call that everybody is measured with.

The request is shaped like an agent's: system prompt, three tools, six messages, 2.8 KB. The answers are fixed, so that
what came through a gateway can be compared byte by byte.
"""

import json
import shutil
import socket
import subprocess
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .report import ROOT

CONFIGS = ROOT / "benchmarks" / "peers"
MODEL = "gpt-mock"
WORDS = 20
"""Frames with text in a stream; one with the role comes before them, one with the finish reason after."""
TIMED_FRAMES = WORDS + 2
"""Frames of a stream that the mock sends apart from each other; what follows them comes with the last."""
_PACKAGES = "On Debian: apt-get install nginx-light libnginx-mod-http-echo wrk"
_MODULES = ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/local/lib/nginx/modules")

_POLICY = (
    "You work at the front desk of a chain of small hotels and answer guests by chat. Find the booking before you say "
    "anything about it, and read its rate rules before you promise a change. Ask the guest to agree before you move, "
    "cancel or pay anything back; one change at a time. Never give out a room number. A change of dates keeps the rate "
    "when the same kind of room is free for all nights; otherwise name the difference in euros and wait for a yes. "
    "Early arrivals are noted, not promised. If a guest is angry or asks for something that the rules do "
    "not allow, say so plainly, offer what is possible, and hand over to a colleague on request. Answer in the guest's "
    "language, in at most three sentences."
)
_BOOKING = {
    "booking": "HB-48213",
    "guest": "I. Marchetti",
    "hotel": "Porto Velho",
    "room": "double, courtyard",
    "nights": [{"date": "2026-12-04", "eur": 92}, {"date": "2026-12-05", "eur": 92}],
    "rate": {"name": "flex", "change_until": "2026-12-02", "refundable": True},
}


class NotInstalled(Exception):
    """A program that the benchmark needs is missing; the message says which and how to get it."""


def request_body(model: str = MODEL, stream: bool = False, asks_for_usage: bool = False) -> bytes:
    """The chat completion request that is sent again and again, as JSON."""
    call = {"name": "find_booking", "arguments": json.dumps({"booking": "HB-48213", "surname": "Marchetti"})}
    body: dict[str, Any] = {
        "model": model,
        "messages": [
            {"role": "system", "content": _POLICY},
            {"role": "user", "content": "Hello, I have to come a day later than planned. Can you change that?"},
            {"role": "assistant", "content": "Gladly. What is your booking number, and which name is it under?"},
            {"role": "user", "content": "HB-48213, Marchetti. From the 5th on, and then one night more if you can."},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function", "function": call}]},
            {"role": "tool", "tool_call_id": "c1", "content": json.dumps(_BOOKING)},
        ],
        "tools": [
            _tool("find_booking", "Find a booking and its rate rules.", booking="HB-…", surname="as booked"),
            _tool("free_rooms", "Rooms of a kind that are free for all nights.", hotel="", kind="", first="", last=""),
            _tool("move_booking", "Change the dates of a booking.", booking="HB-…", first="ISO date", last="ISO date"),
        ],
        "temperature": 0,
    }
    if stream:
        body["stream"] = True
    if asks_for_usage:
        body["stream_options"] = {"include_usage": True}
    return json.dumps(body).encode()


def _tool(name: str, description: str, **fields: str) -> dict[str, Any]:
    properties = {field: {"type": "string", "description": text} for field, text in fields.items()}
    parameters = {"type": "object", "properties": properties, "required": list(fields), "additionalProperties": False}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


_USAGE = {"prompt_tokens": 655, "completion_tokens": 24, "total_tokens": 679}


def answer() -> bytes:
    """What the mock answers to a call that is not streamed."""
    wanted = {"hotel": "Porto Velho", "kind": "double, courtyard", "first": "2026-12-05", "last": "2026-12-07"}
    function = {"name": "free_rooms", "arguments": json.dumps(wanted)}
    message = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c2", "type": "function", "function": function}],
    }
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "tool_calls"}
    return json.dumps(
        {
            "id": "chatcmpl-mock",
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": MODEL,
            "choices": [choice],
            "usage": _USAGE,
        }
    ).encode()


def frames(usage: bool = True) -> list[bytes]:
    """What the mock streams, event by event; without the usage event, which a proxy may have to withhold."""
    words = [{"content": f"word{number} "} for number in range(WORDS)]
    deltas: list[dict[str, str]] = [{"role": "assistant", "content": ""}, *words, {}]
    events = [
        _event(choices=[{"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}]) for delta in deltas
    ]
    return [*events, *([_event(choices=[], usage=_USAGE)] if usage else []), b"data: [DONE]\n\n"]


def _event(**fields: Any) -> bytes:
    head = {"id": "chatcmpl-mock", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": MODEL}
    return b"data: " + json.dumps({**head, **fields}).encode() + b"\n\n"


@dataclass
class Mock:
    """The running mock."""

    port: int
    process: "subprocess.Popen[bytes]"

    def base(self, path: str = "") -> str:
        """Base URL with its `/v1`; `path` is empty, `/slow`, `/stream` or `/many`."""
        return f"http://127.0.0.1:{self.port}{path}/v1"

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


def start_mock(folder: Path) -> Mock:
    """Start nginx below `folder`. Raises NotInstalled, or RuntimeError with what it said when it does not answer."""
    check_programs()
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(nginx_config((CONFIGS / "nginx.conf").read_text(), folder, port))
    log = folder / "nginx.log"
    with log.open("wb") as output:
        command = [program("nginx"), "-p", str(folder), "-c", str(config), "-e", "stderr"]
        process = subprocess.Popen(command, stdout=output, stderr=output)
    if not answers(port, 10) or process.poll() is not None:
        process.kill()
        raise RuntimeError(f"nginx did not start:\n{log.read_text()}")
    return Mock(port, process)


def check_programs() -> None:
    """Raises NotInstalled when nginx, its echo module or wrk is missing."""
    program("nginx")
    program("wrk")
    echo_module()


def program(name: str) -> str:
    """Its path, /usr/sbin included. Raises NotInstalled."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise NotInstalled(f"The benchmark needs {name}, which is not installed. {_PACKAGES}")
    return found


def echo_module() -> Path:
    """nginx's echo module. Raises NotInstalled."""
    for folder in _MODULES:
        path = Path(folder) / "ngx_http_echo_module.so"
        if path.exists():
            return path
    raise NotInstalled(f"The benchmark needs nginx's echo module (ngx_http_echo_module.so). {_PACKAGES}")


def nginx_config(template: str, folder: Path, port: int, module: Path | None = None) -> str:
    """The configuration with the mock's answers in it."""
    values = {
        "FRAMES_10_MS": _stream(0.01),
        "FRAMES_100_MS": _stream(0.1),
        "FOLDER": str(folder),
        "MODULE": str(module or echo_module()),
        "PORT": str(port),
        "ANSWER": _quoted(answer()),
    }
    head, _, rest = template.partition("worker_processes")
    for name, value in values.items():
        rest = rest.replace(name, value)
    return head + "worker_processes" + rest


def _stream(apart_s: float) -> str:
    events = frames()
    timed = [f"echo -n {_quoted(event)}; echo_flush; echo_sleep {apart_s};" for event in events[: TIMED_FRAMES - 1]]
    return "\n      ".join([*timed, f"echo -n {_quoted(b''.join(events[TIMED_FRAMES - 1 :]))};"])


def _quoted(text: bytes) -> str:
    """As a word of nginx's configuration. There is no way to write a dollar sign."""
    return "'" + text.decode().replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"


def free_port() -> int:
    """A port on 127.0.0.1 that nobody listens on."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int, seconds: float) -> bool:
    """Whether something accepts connections on the port within that time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.05)
    return False
