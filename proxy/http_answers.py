"""Heads of answers that repeat: an upstream's next answer on a connection has, within the same second, as a rule the
head of the one before, but for its length.

Such an answer is not parsed again, and what has been worked out from its head stays with it; see `http_heads` for the
same on the agents' side.

Invariant: only bytes that the parser has read as a head before, around another number, are taken for that head; and
only when exactly one whole answer has come, its body of known length or in one chunk. Everything else is the parser's.
"""

from typing import NamedTuple

from .http_messages import Headers, ReceivedHeaders

_END = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length:"
_LAST = b"\r\n0\r\n\r\n"
_MOST_DIGITS = 9
_MOST_HEAD = 8192
_BODILESS = (204, 304)


class Read(NamedTuple):
    """A whole answer."""

    status: int
    headers: ReceivedHeaders
    body: bytes


class RepeatedAnswer:
    """The head of an answer that has been read, to recognise the next one with it."""

    __slots__ = ("_after", "_before", "_headers", "_number", "_status")

    def __init__(self, before: bytes, after: bytes, number: bytes, status: int, headers: ReceivedHeaders) -> None:
        """`before` and `after` stand around the number. Both are whole where the body comes in a chunk: `after` is
        empty then, and the number is not part of the head."""
        self._before, self._after, self._number = before, after, number
        self._status, self._headers = status, headers

    def match(self, data: bytes) -> Read | None:
        """The answer in `data`, if it is just one with this head."""
        before, after, headers = self._before, self._after, self._headers
        if not data.startswith(before):
            return None
        start = len(before)
        stop = data.find(b"\r", start, start + _MOST_DIGITS + 1)
        if stop < 0:
            return None
        number = data[start:stop]
        if not after:
            body, end = stop + 2, len(data) - len(_LAST)
            # The one way to write the size that counts here; all others are for the parser.
            if number != b"%x" % (end - body) or end <= body or data[stop:body] != b"\r\n" or not data.endswith(_LAST):
                return None
            return Read(self._status, headers, data[body:end])
        body = stop + len(after)
        if number != b"%d" % (len(data) - body) or not data.startswith(after, stop):
            return None
        if number != self._number:
            headers = headers.with_length(number.decode("ascii"))
        return Read(self._status, headers, data[body:])


def repeatable(data: bytes, status: int, headers: Headers, body: bytes) -> RepeatedAnswer | None:
    """The head of the answer that was read from `data`; None where the next one cannot be known by it."""
    end = data.find(_END) + len(_END)
    head = data[:end].lower()
    found = ReceivedHeaders(headers)
    lengths = sum([name == "content-length" for name, _ in headers])
    made = None
    if status < 200 or status in _BODILESS or end > _MOST_HEAD or found.named.get("connection", "") == "close":
        return None
    if not lengths and found.named.get("transfer-encoding") == "chunked":
        made = RepeatedAnswer(data[:end], b"", b"", status, found)
    elif lengths == head.count(_LENGTH) == 1 and "transfer-encoding" not in found.named:
        start = head.find(_LENGTH) + len(_LENGTH)
        while head[start : start + 1] == b" ":
            start += 1
        stop = head.find(b"\r", start)
        made = RepeatedAnswer(data[:start], data[stop:end], head[start:stop], status, found)
    # It must read the answer that it was made from as the parser did.
    again = made.match(data) if made is not None else None
    return made if again is not None and again.body == body else None
