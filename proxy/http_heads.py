"""Heads that repeat: an agent's next request on a connection has, as a rule, the head of the one before, but for its
length.

Such a request is not parsed again. What was read the first time holds for it, and so does what has been worked out from
the head alone since (`Request.known`), for as long as the connection lasts.

Invariant: only bytes that the parser has read as a head before, around another number, are taken for that head; and
only when the body is complete and nothing follows it. Everything else is for the parser.
"""

from .http_messages import Request

_END = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length:"
_MOST_DIGITS = 9
# They say how the message is framed.
_PARSERS_OWN = frozenset(("transfer-encoding", "expect", "upgrade"))


class RepeatedHead:
    """The head of a request that has been read, to recognise the next one with it."""

    __slots__ = ("_after", "_before", "_first", "_index")

    def __init__(self, before: bytes, after: bytes, index: int, request: Request) -> None:
        """`before` and `after` stand around the number; `index` is that of the content-length among the headers."""
        self._before, self._after, self._index = before, after, index
        self._first = request.alike(request.headers, request.named, b"")  # the body need not stay

    def match(self, data: bytes, most: int) -> Request | None:
        """The request in `data`, if it is just one with this head; its body has at most `most` bytes."""
        before, after = self._before, self._after
        if not data.startswith(before):
            return None
        start = len(before)
        stop = data.find(b"\r", start, start + _MOST_DIGITS + 1)
        body = stop + len(after)
        length = len(data) - body
        if stop < 0 or length > most or data[start:stop] != b"%d" % length or not data.startswith(after, stop):
            return None
        return self._with(str(length), data[body:])

    def _with(self, length: str, body: bytes) -> Request:
        first = self._first
        headers = first.headers.copy()
        headers[self._index] = ("content-length", length)
        return first.alike(headers, {**first.named, "content-length": length}, body)


def repeatable(data: bytes, request: Request) -> RepeatedHead | None:
    """The head of `request`, which was read from `data`; None where the next one cannot be known by it."""
    end = data.find(_END)
    head = data[: end + len(_END)].lower()
    found = head.find(_LENGTH)
    lengths = [index for index, (name, _) in enumerate(request.headers) if name == "content-length"]
    plain = request.pieces is None and not request.http10 and _PARSERS_OWN.isdisjoint(request.named)
    stays = request.named.get("connection", "keep-alive") == "keep-alive"
    if (
        not (plain and stays)
        or len(lengths) != 1
        or head.count(_LENGTH) != 1
        or len(data) - len(head) != len(request.body)
    ):
        return None
    start = found + len(_LENGTH)
    while head[start : start + 1] == b" ":
        start += 1
    stop = head.find(b"\r", start)
    if head[start:stop] != request.named["content-length"].encode("latin-1"):
        return None
    return RepeatedHead(data[:start], data[stop : len(head)], lengths[0], request)
