"""Requests that begin with an earlier request of their session, found by comparing bytes.

An agent sends its whole conversation with every call. The bytes up to the last message of one request and the bytes
behind that message therefore come again in the next request, with new messages between them:

    first      {"model": …, "messages": [ m0, m1                      ], "tools": …}
    second     {"model": …, "messages": [ m0, m1  , m2, m3            ], "tools": …}
               ^------- head -------------------^ ^- middle -^ ^------ tail ------^

Head and tail are equal byte for byte, so everything they say has been read already, and only the middle is decoded.
This is exact, not a guess: the head ends behind an element of the list of messages, and `[` + the middle without its
comma + `]` is a JSON list, so the middle holds whole elements and the tail goes on as it did before.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

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


@dataclass(slots=True, eq=False)
class Known(Generic[Content]):
    """A request that others may begin with. Its head is not copied out of the body."""

    body: bytes
    head: memoryview
    tail: bytes
    content: Content


class Prefixes(Generic[Content]):
    """Remembers the latest requests of each session. Not thread-safe."""

    def __init__(self, budget: int = BUDGET) -> None:
        self._budget = budget
        self._bytes = 0
        self._known: OrderedDict[Key, list[Known[Content]]] = OrderedDict()
        self._tails: dict[bytes, bytes] = {}

    def find(self, key: Key, body: bytes) -> tuple[Known[Content], list[msgspec.Raw]] | None:
        """The longest known request that `body` begins with, and the messages that come after it."""
        best, middle = None, b""
        for known in reversed(self._known.get(key, ())):
            if best is not None and len(known.head) <= len(best.head):
                continue
            # Both compare first, and copy only what is left.
            rest = body.removeprefix(known.head)
            if len(rest) < len(body):
                between = rest.removesuffix(known.tail)
                if len(between) < len(rest):
                    best, middle = known, between
        messages = _between(middle)
        return None if best is None or messages is None else (best, messages)

    def extend(self, key: Key, known: Known[Content], body: bytes, content: Content) -> None:
        """Remember `body`, which was found to begin with `known`."""
        end = len(body) - len(known.tail)
        tail = known.tail
        if body[end - 1] in _SPACE:
            end = len(body[:end].rstrip(_SPACE))
            tail = body[end:]
        if end > len(known.head):
            # The opening is kept: agents that begin alike all go on from it.
            opening = self._known[key][0] if key in self._known else None
            self._put(key, _known(body, end, tail, content), None if known is opening else known)

    def remember(self, key: Key, body: bytes, last: msgspec.Raw, content: Content) -> None:
        """Remember a request whose last message is `last`, which must be a view into `body`."""
        address = pa.py_buffer(last).address - pa.py_buffer(body).address
        end = address + len(bytes(last))
        # Texts that had to be spelled anew are no views; their addresses have nothing to do with each other.
        if address >= 0 and body[address:end] == bytes(last):
            tail = body[end:]
            if len(self._tails) > 1_000:
                self._tails.clear()
            self._put(key, _known(body, end, self._tails.setdefault(tail, tail), content), None)

    def _put(self, key: Key, known: Known[Content], instead_of: Known[Content] | None) -> None:
        listed = self._known.setdefault(key, [])
        self._known.move_to_end(key)
        for one in (*listed,):
            if one is instead_of or one.body == known.body:
                listed.remove(one)
                self._bytes -= len(one.body)
        listed.append(known)
        self._bytes += len(known.body)
        if len(listed) > PER_KEY:
            self._bytes -= len(listed.pop(1).body)
        while self._bytes > self._budget:
            _, dropped = self._known.popitem(last=False)
            self._bytes -= sum(len(one.body) for one in dropped)


def _known(body: bytes, end: int, tail: bytes, content: Content) -> Known[Content]:
    return Known(body, memoryview(body)[:end], tail, content)


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
