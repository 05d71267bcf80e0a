"""Server-sent events of chat completions: read, put together, written.

`assemble_chat` and `frames_of` are inverse to each other: a completion cut into frames and put together again is the
same completion. What a stream adds to it (`obfuscation`, empty usage fields, the object name) is left out.
"""

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from .canonical import loads
from .errors import BadInput
from .growing import Choice, index_of
from .pieces import piece

DONE = b"[DONE]"
_PIECE = 64
"""Characters of text or arguments in one frame."""


class SSEParser:
    """Takes an event stream in any pieces and gives the data of its events.

    Lines end with CR, LF or CRLF; comments and fields other than `data` are skipped; several data lines of one event
    are joined with a newline, as the standard has it.
    """

    def __init__(self) -> None:
        self._line = bytearray()
        self._data: list[bytes] = []
        self._after_cr = False
        self._first = True

    def feed(self, chunk: bytes) -> list[bytes]:
        """Data of the events that are complete with this chunk."""
        if self._after_cr and chunk:
            # The second half of a CRLF that was cut in two.
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        if b"\n" not in chunk and b"\r" not in chunk:
            self._line += chunk
            return []
        lines = (bytes(self._line) + chunk).splitlines(keepends=True)
        self._after_cr = chunk.endswith(b"\r")
        self._line = bytearray(b"" if lines[-1].endswith((b"\n", b"\r")) else lines.pop())
        return [event for line in lines if (event := self._take(line.rstrip(b"\r\n"))) is not None]

    def finish(self) -> list[bytes]:
        """Data of the event that the end of the stream cut off, as far as it came."""
        if self._line:
            self._take(bytes(self._line))
            self._line.clear()
        event = self._take(b"")
        return [] if event is None else [event]

    def _take(self, line: bytes) -> bytes | None:
        """One line without its end; the event's data if the line ends an event."""
        if self._first:
            line = line.removeprefix(b"\xef\xbb\xbf")
            self._first = False
        if line:
            name, _, value = line.partition(b":")
            if name == b"data":
                self._data.append(value.removeprefix(b" "))
            return None
        if not self._data:
            return None
        event, self._data = b"\n".join(self._data), []
        return event


def assemble_chat(stream: bytes) -> dict[str, Any]:
    """The `chat.completion` that an event stream spells out.

    A stream that was cut off gives what had come, with `finish_reason` None (see `is_complete`). An error frame is
    found under `error`, beside the choices that came before it. Raises BadInput when no frame belongs to a chat
    completion, or one in the middle is damaged.
    """
    completion: dict[str, Any] = {}
    choices: dict[int, Choice] = {}
    events, torn = _events(stream)
    known = False
    for event in events:
        if choices and completion.get("id") and (grown := piece(event)) is not None:
            choice = choices.get(grown.index)
            if choice is not None and choice.grow(grown):
                continue
        if event.strip() not in (b"", DONE):
            known = _merge(completion, choices, _chunk(event)) or known
    for event in torn:
        if event.strip() not in (b"", DONE) and (chunk := _torn(event)):
            known = _merge(completion, choices, chunk) or known
    if not known:
        raise BadInput("Expected a stream of chat completion chunks, but it holds none. It is kept as raw bytes.")
    if choices or "error" not in completion:
        completion["object"] = "chat.completion"
        completion["choices"] = [choices[index].whole(index) for index in sorted(choices)]
    return completion


def _events(stream: bytes) -> tuple[list[bytes], list[bytes]]:
    """The data of the whole events, and of one at the end that was cut off."""
    parts = stream.split(b"\n\n")
    if b"\r" not in stream and not parts[-1]:
        data = [part[6:] for part in parts[:-1] if part.startswith(b"data: ") and b"\n" not in part]
        if len(data) == len(parts) - 1:
            return data, []  # the usual form, one line an event
    parser = SSEParser()
    return parser.feed(stream), parser.finish()


def _merge(completion: dict[str, Any], choices: dict[int, Choice], chunk: dict[str, Any]) -> bool:
    """Add what a chunk says; whether it belongs to a chat completion."""
    _merge_top(completion, chunk)
    for part in chunk.get("choices") or []:
        choices.setdefault(index_of(part) or 0, Choice()).add(part)
    return "choices" in chunk or "error" in chunk


def is_complete(completion: dict[str, Any]) -> bool:
    """Whether every choice came to its end."""
    choices = completion.get("choices") or []
    return bool(choices) and all(choice.get("finish_reason") for choice in choices)


def _chunk(event: bytes) -> dict[str, Any]:
    value = loads(event)
    choices = (value.get("choices") or []) if isinstance(value, dict) else None
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        raise BadInput(f"Expected a chat completion chunk, but a frame begins with {event[:40]!r}.")
    return value


def _torn(event: bytes) -> dict[str, Any] | None:
    try:
        return _chunk(event)
    except BadInput:
        return None


def _merge_top(completion: dict[str, Any], chunk: dict[str, Any]) -> None:
    for key, value in chunk.items():
        if key in ("usage", "error"):
            # Some servers count in every frame, and the last one is the sum; or have a null error in every frame.
            if value is not None:
                completion[key] = value
        elif key not in ("choices", "object", "obfuscation") and not completion.get(key):
            # Some servers send a first frame with empty fields.
            completion[key] = value


def frames_of(completion: dict[str, Any], include_usage: bool = False) -> Iterator[bytes]:
    """The event stream of a `chat.completion`, frame by frame, closed by `[DONE]`.

    Per choice: a frame with the role, frames with pieces of text, frames with tool calls (first id, type and name,
    then pieces of the arguments), a frame with the finish reason. With `include_usage` one more frame holds the usage.
    """
    top = {key: value for key, value in completion.items() if key not in ("choices", "usage", "object")}
    top["object"] = "chat.completion.chunk"
    if include_usage:
        top["usage"] = None
    for choice in completion.get("choices", []):
        for part in _parts_of(choice):
            yield _frame(top | {"choices": [{"index": choice.get("index", 0), **part}]})
    if include_usage and completion.get("usage") is not None:
        yield _frame(top | {"choices": [], "usage": completion["usage"]})
    yield b"data: " + DONE + b"\n\n"


def _parts_of(choice: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The frames of one choice, without what all frames share."""
    message = choice.get("message", {})
    content, calls = message.get("content"), message.get("tool_calls")
    first = {key: value for key, value in message.items() if key not in ("content", "tool_calls")}
    rest = {key: value for key, value in choice.items() if key not in ("index", "message", "finish_reason")}
    opening = {"content": "" if isinstance(content, str) else content}
    yield {"delta": first | opening, "finish_reason": None, **rest}
    deltas = [{"content": text} for text in _pieces(content)] + [{"tool_calls": [d]} for d in _call_deltas(calls)]
    if calls == []:
        deltas.append({"tool_calls": []})
    yield from ({"delta": delta, "finish_reason": None} for delta in deltas)
    yield {"delta": {}, "finish_reason": choice.get("finish_reason")}


def _call_deltas(calls: Any) -> Iterator[dict[str, Any]]:
    for index, call in enumerate(calls or []):
        function = call.get("function")
        if not isinstance(function, dict):
            yield {"index": index, **call}
            continue
        yield {"index": index, **call, "function": function | {"arguments": ""}}
        for text in _pieces(function.get("arguments")):
            yield {"index": index, "function": {"arguments": text}}


def _pieces(text: Any) -> Iterator[str]:
    if isinstance(text, str):
        for start in range(0, len(text), _PIECE):
            yield text[start : start + _PIECE]


def _frame(chunk: dict[str, Any]) -> bytes:
    try:
        body = msgspec.json.encode(chunk)
    except (UnicodeEncodeError, OverflowError):
        # Lone surrogates and very large numbers, which have no other way to be written.
        body = json.dumps(chunk).encode()
    return b"data: " + body + b"\n\n"
