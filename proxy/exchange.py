"""One call in progress: what is sent to the agent, and the record of it for the journal.

Invariant: the record is appended exactly once, and before the agent gets the end of its answer, so that a call whose
answer is complete is in the journal.
"""

import time
from collections.abc import Callable
from functools import lru_cache
from operator import attrgetter
from typing import Any

import msgspec

from ..traffic import records
from .headers import relayed
from .http_messages import Headers, ReceivedHeaders, Reply
from .identify import Names
from .keys import Admission
from .openai_errors import Problem

Append = Callable[[bytes], bool]

# Field by field, a record takes several times as long to build.
_fields = attrgetter(*("path" if name == "endpoint" else name for name in records.FIELDS))
_TEXT_TYPES = ("json", "text/", "event-stream", "xml", "x-www-form-urlencoded")


@lru_cache(maxsize=256)
def is_text(content_type: str) -> bool:
    """Whether bodies of this type are kept in the log; an unnamed type is."""
    return not content_type or any(kind in content_type for kind in _TEXT_TYPES)


class Exchange(msgspec.Struct):
    """The agent's side of one call. The data plane fills in the notes as it learns them."""

    reply: Reply
    append: Append
    method: str
    path: str
    """Path without the query, as the agent spelt it."""
    headers: Headers
    named: dict[str, str]
    """The headers by name; of repeated ones the last."""
    keep_bytes: int
    """Longer answers go to the agent, but their bytes are not kept."""
    known: dict[Any, Any] = msgspec.field(default_factory=dict)
    """See `Request.known`."""
    started_at: float = msgspec.field(default_factory=time.time)
    clock_start: float = msgspec.field(default_factory=time.perf_counter)
    call_id: str = ""
    admission: Admission = Admission("")
    """What is known of its key."""
    caller: str = ""
    route: str = "teacher"
    reason: str = ""
    fallback: str = ""
    student: str = ""
    teacher: str = ""
    model: str = ""
    pattern: str = ""
    session: str = ""
    names: Names = Names()
    """What the agent's headers say about the call."""
    trajectory: str = ""
    hint: str = ""
    parent: str = ""
    retry: int = 0
    stream: bool = False
    cancelled: bool = False
    error: str = ""
    status: int = 0
    request: bytes = b""
    response_type: str = ""
    response_encoding: str = ""
    request_id: str = ""
    threshold: float | None = None
    """Lowest score of an answer that the student may give; None: any."""
    confidence: float | None = None
    """Score of the student's answer, also of one that was not served for it."""
    first_byte_ms: float = 0.0
    own_s: float = 0.0
    """Our own part of the time: until an upstream was first asked, and for an answer in one piece from its arrival
    until it is with the socket, its record with the journal. 0.0: no upstream was asked."""
    logged: bool = False
    latency_ms: float = 0.0
    response: bytes = b""
    """What the agent got, once it is known and where it is kept."""
    _pieces: list[bytes] = msgspec.field(default_factory=list)
    _kept: int = 0

    def __post_init__(self) -> None:
        self.call_id = self.call_id or records.new_call_id(self.started_at)

    def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """Answer at once, with a complete body."""
        self.keep(body)
        out = self._head(status, headers)
        self.log()
        self.reply.whole(status, out, body)
        if self.own_s:
            self.own_s += time.perf_counter() - self.clock_start - self.first_byte_ms / 1000

    def begin(self, status: int, headers: Headers, length: int | None = None) -> None:
        """Send the head. `length` is given when the body will have exactly that many bytes."""
        self.reply.begin(status, self._head(status, headers), length)

    def _head(self, status: int, headers: Headers) -> str:
        found = headers.named if isinstance(headers, ReceivedHeaders) else dict(headers)
        self.status = status
        self.response_type = found.get("content-type", "")
        self.response_encoding = found.get("content-encoding", "")
        self.request_id = found.get("x-request-id") or self.call_id
        if self.stream and "json" in self.response_type:
            self.stream = False
        return relayed(headers) + self._own_lines()

    def _own_lines(self) -> str:
        own = (
            f"x-request-id: {self.request_id}\r\nx-tutelage-call-id: {self.call_id}\r\n"
            f"x-tutelage-route: {self.route}\r\nx-tutelage-reason: {self.fallback or self.reason}\r\n"
        )
        model = self.student if self.route == "student" else self.model
        if model and model.isascii() and model.isprintable():
            own += f"x-tutelage-model: {model}\r\n"
        if self.confidence is not None:
            own += f"x-tutelage-confidence: {self.confidence:.4f}\r\n"
        return own

    def asking(self) -> None:
        """An upstream is asked now. Of several the first counts: what follows, up to the answer, is waiting."""
        if not self.own_s:
            self.own_s = time.perf_counter() - self.clock_start

    def keep(self, piece: bytes) -> None:
        """Remember a piece of the answer for the record."""
        if not self.first_byte_ms:
            self.first_byte_ms = self._elapsed_ms()
        self._kept += len(piece)
        if self._kept <= self.keep_bytes:
            self._pieces.append(piece)

    def refuse(self, problem: Problem, route: str = "none") -> None:
        """Answer with an error of our own."""
        self.error, self.route, self.stream = problem.code, route, False
        if not self.reason:
            self.reason = problem.code
        self.whole(problem.status, [("content-type", "application/json"), *problem.headers], problem.body())

    def log(self) -> None:
        """Append the record, the first time it is called."""
        if not self.logged:
            self.logged = True
            self.latency_ms = self._elapsed_ms()
            if self._kept <= self.keep_bytes and is_text(self.response_type):
                self.response = b"".join(self._pieces)
            self.append(records.encode_fields(_fields(self)))

    def _elapsed_ms(self) -> float:
        return (time.perf_counter() - self.clock_start) * 1000
