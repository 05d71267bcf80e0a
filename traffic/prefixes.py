"""Requests that begin with an earlier request of their session, found by comparing bytes.

An agent sends its whole conversation with every call. The bytes up to the last message of one request and the bytes
behind that message therefore come again in the next request, with new messages between them:

    first      {"model": …, "messages": [ m0, m1                      ], "tools": …}
    second     {"model": …, "messages": [ m0, m1  , m2, m3            ], "tools": …}
               ^------- head -------------------^ ^- middle -^ ^------ tail ------^

Head and tail are equal byte for byte, so everything they say has been read already, and only the middle is decoded.
This is exact, not a guess: the head ends behind an element of the list of messages, and `[` + the middle without its
comma + `]` is a JSON list, so the middle holds whole elements and the tail goes on as it did before.

Long requests are compared where they lie, inside the journal's payloads; copying them would take longer than that.
"""

from collections import OrderedDict
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
import pyarrow as pa

Content = TypeVar("Content")
Key = tuple[str, str]
"""Caller and session."""

BUDGET = 64 << 20
"""Bytes of requests that are remembered. Forgetting one costs time, nothing else."""
PER_KEY = 8
"""Requests that are remembered of one session: agents that open alike share it, and branches of a run do."""

_SPACE = b" \t\r\n"
_split_list = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Body(msgspec.Struct, frozen=True, gc=False):
    """The bytes from `start` to `stop` of `within`."""

    within: bytes
    start: int
    stop: int


def body_of(text: bytes | memoryview) -> Body:
    """A body without copying it; `text` may be a view into bytes."""
    if isinstance(text, memoryview):
        within = text.obj
        if type(within) is bytes:
            start = pa.py_buffer(text).address - pa.py_buffer(within).address
            return Body(within, start, start + len(text))
        text = bytes(text)
    return Body(text, 0, len(text))


class Place(NamedTuple):
    """A part of a body: the bytes from `start` to `stop` of the same `within`."""

    start: int
    stop: int


def place_of(body: Body, part: msgspec.Raw) -> Place | None:
    """Where a decoded part of a body stands; None for one that is no view into it.

    Texts that had to be spelled anew are none; their addresses have nothing to do with the body's.
    """
    text = bytes(part)
    start = pa.py_buffer(part).address - pa.py_buffer(body.within).address
    end = start + len(text)
    inside = body.start <= start and end <= body.stop and body.within.startswith(text, start)
    return Place(start, end) if inside else None


class Known(msgspec.Struct, Generic[Content], eq=False, gc=False):
    """A request that others may begin with. Neither its head nor its tail is copied out of the body."""

    within: bytes
    head: memoryview
    size: int
    """Bytes of the head."""
    tail: bytes
    content: Content


class Prefixes(Generic[Content]):
    """Remembers the latest requests of each session. Not thread-safe."""

    def __init__(self, budget: int = BUDGET) -> None:
        self._budget = budget
        self._bytes = 0
        self._known: OrderedDict[Key, list[Known[Content]]] = OrderedDict()
        self._tails: dict[bytes, bytes] = {}

    def find(self, key: Key, body: Body) -> tuple[Known[Content], list[msgspec.Raw]] | None:
        """The longest known request that `body` begins with, and the messages that come after it."""
        within, start, stop = body.within, body.start, body.stop
        best, longest = None, -1
        for known in reversed(self._known.get(key, ())):
            size = known.size
            if size <= longest:
                continue
            # Both compare in place.
            if within.startswith(known.head, start, stop):
                rest = stop - len(known.tail)
                if rest >= start + size and within.startswith(known.tail, rest, stop):
                    best, longest = known, size
        if best is None:
            return None
        messages = _between(within[start + longest : stop - len(best.tail)])
        return None if messages is None else (best, messages)

    def extend(self, key: Key, known: Known[Content], body: Body, content: Content) -> None:
        """Remember `body`, which was found to begin with `known`."""
        tail = known.tail
        end = _before_space(body, body.stop - len(tail))
        if body.stop - end > len(tail):
            tail = body.within[end : body.stop]
        if end - body.start > known.size:
            listed = self._known.setdefault(key, [])
            # The opening is kept: agents that begin alike all go on from it.
            if known in listed[1:]:
                listed.remove(known)
                self._bytes -= len(known.within)
            self._put(key, listed, _known(body, end, tail, content))

    def remember(self, key: Key, body: Body, end: int, content: Content) -> None:
        """Remember a request whose last message ends before the place `end` of `body.within`."""
        end = _before_space(body, end)
        tail = body.within[end : body.stop]
        if len(self._tails) > 1_000:
            self._tails.clear()
        known = _known(body, end, self._tails.setdefault(tail, tail), content)
        listed = self._known.setdefault(key, [])
        for one in (*listed,):
            if one.size == known.size and one.tail == tail and body.within.startswith(one.head, body.start):
                listed.remove(one)
                self._bytes -= len(one.within)
        self._put(key, listed, known)

    def _put(self, key: Key, listed: list[Known[Content]], known: Known[Content]) -> None:
        self._known.move_to_end(key)
        listed.append(known)
        self._bytes += len(known.within)
        if len(listed) > PER_KEY:
            self._bytes -= len(listed.pop(1).within)
        while self._bytes > self._budget:
            _, dropped = self._known.popitem(last=False)
            self._bytes -= sum(len(one.within) for one in dropped)


def _before_space(body: Body, end: int) -> int:
    """Where the white space begins that stands before `end`."""
    if body.within[end - 1] not in _SPACE:
        return end
    return body.start + len(body.within[body.start : end].rstrip(_SPACE))


def _known(body: Body, end: int, tail: bytes, content: Any) -> Known[Any]:
    return Known(body.within, memoryview(body.within)[body.start : end], end - body.start, tail, content)


def _between(middle: bytes) -> list[msgspec.Raw] | None:
    """The messages in the bytes between head and tail; None when they are no whole messages."""
    middle = middle.strip(_SPACE)
    if not middle:
        return []
    if not middle.startswith(b","):
        return None
    try:
        return _split_list(b"[" + middle[1:] + b"]") or None
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
