"""A teacher that answers with what a recorded one answered: `tutelage teacher FILE`.

A request is found by its canonical message chain and its tools, so that it need not be byte for byte the recorded one.
Of several answers to one request those of the model asked for come first; they are given in turn.
"""

import asyncio
import sys
import time
import zlib
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ..traffic.canonical import ROOT, loads, message_id, toolset_id
from ..traffic.errors import BadInput
from ..traffic.sse import frames_of
from .dataplane import check_port
from .openai_errors import Problem, bad_json, unknown_path
from .recorded import Message, RecordedTrajectory, read_all
from .relay import CHAT
from .standalone import serve_app
from .usage import asks_for_usage

Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]


class Recorded(NamedTuple):
    """One recorded answer."""

    model: str
    message: Message
    usage: tuple[int, int] | None


class _Turns:
    """The answers to one request, given in turn."""

    def __init__(self) -> None:
        self._answers: list[Recorded] = []
        self._given: dict[str, int] = {}

    def add(self, answer: Recorded) -> None:
        self._answers.append(answer)

    def next(self, model: str) -> Recorded:
        fitting = [answer for answer in self._answers if answer.model == model] or self._answers
        turn = self._given.get(model, 0)
        self._given[model] = turn + 1
        return fitting[turn % len(fitting)]


class RecordedTeacher:
    """An ASGI application with OpenAI's chat completions over recorded traffic."""

    def __init__(self, trajectories: list[RecordedTrajectory], latency_ms: float = 0.0) -> None:
        """`latency_ms` is waited before each answer."""
        self._answers: dict[tuple[str, str], _Turns] = {}
        self._models: dict[str, None] = {}
        self._latency_s = latency_ms / 1000
        self.calls = 0
        """Recorded calls that it can answer."""
        for trajectory in trajectories:
            self._add(trajectory)

    def _add(self, trajectory: RecordedTrajectory) -> None:
        self._models[trajectory.teacher] = None
        tools, names = toolset_id(trajectory.tools), [ROOT]
        for message in trajectory.messages:
            names.append(message_id(names[-1], message))
        for call in trajectory.calls:
            recorded = Recorded(trajectory.teacher, trajectory.answer(call), call.usage)
            self._answers.setdefault((names[call.i], tools), _Turns()).add(recorded)
            self.calls += 1

    async def __call__(self, scope: Event, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        method, path = scope["method"], scope["path"]
        if (method, path) == ("POST", CHAT):
            await self._chat(await _body(receive), send)
        elif (method, path) == ("GET", "/v1/models"):
            await _reply(send, 200, self._list())
        elif (method, path) == ("GET", "/health"):
            await _reply(send, 200, msgspec.json.encode({"status": "ok", "calls": self.calls}))
        else:
            await _refuse(send, unknown_path(method, path))

    async def _chat(self, raw: bytes, send: Send) -> None:
        try:
            body = loads(raw)
            if not isinstance(body, dict) or not isinstance(body.get("messages"), list):
                raise BadInput("An object with 'messages' is needed.")
        except BadInput as error:
            await _refuse(send, bad_json(str(error)))
            return
        recorded = self.find(body)
        if self._latency_s:
            await asyncio.sleep(self._latency_s)
        if recorded is None:
            await _refuse(send, _unknown_chain(len(body["messages"])))
        elif body.get("stream") is True:
            await _stream(send, frames_of(completion(recorded), asks_for_usage(body)))
        else:
            await _reply(send, 200, msgspec.json.encode(completion(recorded)))

    def find(self, body: dict[str, Any]) -> Recorded | None:
        """The recorded answer whose turn it is, None when this conversation was not recorded."""
        name = ROOT
        for message in body["messages"]:
            name = message_id(name, message)
        turns = self._answers.get((name, toolset_id(body.get("tools"))))
        return None if turns is None else turns.next(str(body.get("model", "")))

    def _list(self) -> bytes:
        models = [{"id": name, "object": "model", "created": 0, "owned_by": "recorded"} for name in self._models]
        return msgspec.json.encode({"object": "list", "data": models})


def completion(recorded: Recorded) -> dict[str, Any]:
    """The `chat.completion` object. The id says what it answers, so equal answers have equal ids."""
    message = {"role": "assistant", "content": None, "refusal": None, **recorded.message}
    finish = "tool_calls" if message.get("tool_calls") else "stop"
    made: dict[str, Any] = {
        "id": f"chatcmpl-recorded-{zlib.crc32(msgspec.json.encode(message)):08x}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": recorded.model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
    }
    if recorded.usage is not None:
        prompt, answer = recorded.usage
        made["usage"] = {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}
    return made


def serve_recorded(files: list[Path], host: str = "127.0.0.1", port: int = 8410, latency_ms: float = 0.0) -> None:
    """Serve until SIGTERM or Ctrl-C. Raises BadInput for unreadable files and for a port in use."""
    teacher = RecordedTeacher(read_all(files), latency_ms)
    check_port(host, port)
    print(f"{teacher.calls} recorded calls at http://{host}:{port}/v1", file=sys.stderr, flush=True)
    serve_app(teacher, host, port)


def _unknown_chain(messages: int) -> Problem:
    text = f"This conversation of {messages} messages with these tools is not in the recorded traffic."
    return Problem(404, "unknown_chain", text + " A recorded teacher knows only the conversations in its files.")


async def _body(receive: Receive) -> bytes:
    parts, more = [], True
    while more:
        event = await receive()
        parts.append(event.get("body", b""))
        more = event.get("more_body", False)
    return b"".join(parts)


async def _refuse(send: Send, problem: Problem) -> None:
    await _reply(send, problem.status, problem.body())


async def _reply(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def _stream(send: Send, frames: Iterator[bytes]) -> None:
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for frame in frames:
        await send({"type": "http.response.body", "body": frame, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _lifespan(receive: Receive, send: Send) -> None:
    while (await receive())["type"] != "lifespan.shutdown":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})
