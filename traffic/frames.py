"""Requests that are spelt like an earlier one but for their messages, found by comparing bytes.

An agent that opens one conversation after another sends what stands before the messages (the model) and what stands
behind them (tools, parameters) byte for byte as before, and often that is most of the request:

    {"model": …, "messages": [  m0, m1  ], "tools": …, "temperature": 0}
    ^--------- head ---------^          ^------------ tail ------------^

So all that is known about head and tail stays true, and only the messages are read. This is exact, not a guess: the
head ends behind the bracket that opens the list, and `[` + the middle + `]` is a JSON list, so the tail goes on where
it did before. Two members named `messages` change nothing about that: the last one counts, here as there.

One caller may have hundreds of tool sets. So a frame is looked up by a few bytes of its tail, taken at equal distances
from the end on, and then compared whole.
"""

from collections import OrderedDict
from typing import Generic, TypeVar

import msgspec

from .prefixes import Body, Place

Content = TypeVar("Content")

BUDGET = 16 << 20
"""Bytes of heads and tails that are remembered. Forgetting one costs time, nothing else."""
PER_SAMPLE = 64
"""Frames that are remembered of those whose tails look alike."""

_REACHES = (*(1 << power for power in range(15, 6, -1)), 0)
"""Bytes from the end on that a sample is taken of: as many as the tail has, and no more."""
_SAMPLES = 64
_split_list = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Frame(msgspec.Struct, Generic[Content], frozen=True, gc=False):
    """What a request says beside its messages."""

    head: bytes
    tail: bytes
    content: Content


class Frames(Generic[Content]):
    """Remembers the frames that were used lately. Not thread-safe."""

    def __init__(self, budget: int = BUDGET) -> None:
        self._budget = budget
        self._bytes = 0
        self._frames: OrderedDict[tuple[str, bytes], list[Frame[Content]]] = OrderedDict()

    def find(self, caller: str, body: Body) -> tuple[Frame[Content], list[msgspec.Raw]] | None:
        """The frame of a request and its messages, at least one."""
        within, start, stop = body.within, body.start, body.stop
        for reach in _REACHES:
            key = caller, _sample(within, start, stop, reach)
            for frame in self._frames.get(key, ()):
                first = start + len(frame.head)
                if within.startswith(frame.head, start, stop) and within.endswith(frame.tail, first, stop):
                    self._frames.move_to_end(key)
                    messages = _split(within[first : stop - len(frame.tail)])
                    return (frame, messages) if messages else None
        return None

    def remember(self, caller: str, body: Body, messages: Place, content: Content) -> None:
        """Remember the frame of a request whose list of messages, with its brackets, stands at `messages`."""
        head, tail = body.within[body.start : messages.start + 1], body.within[messages.stop - 1 : body.stop]
        reach = next(reach for reach in _REACHES if reach <= len(tail))
        key = caller, _sample(tail, 0, len(tail), reach)
        frames = self._frames.setdefault(key, [])
        self._frames.move_to_end(key)
        frames.insert(0, Frame(head, tail, content))
        self._bytes += len(head) + len(tail)
        if len(frames) > PER_SAMPLE:
            self._forget(frames.pop())
        while self._bytes > self._budget:
            for frame in self._frames.popitem(last=False)[1]:
                self._forget(frame)

    def _forget(self, frame: Frame[Content]) -> None:
        self._bytes -= len(frame.head) + len(frame.tail)


def _sample(within: bytes, start: int, stop: int, reach: int) -> bytes:
    """Bytes at equal distances; none where there are not so many."""
    return within[stop - reach : stop : reach // _SAMPLES] if 0 < reach <= stop - start else b""


def _split(middle: bytes) -> list[msgspec.Raw] | None:
    try:
        return _split_list(b"[%b]" % middle)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
