"""Who is calling: a keyed hash of the key, and which callers the teacher has accepted of late.

The agent's key itself is never kept: it passes through to the teacher. A caller may be served by the student only
while the teacher has recently accepted its key; otherwise the proxy would be a free model for anyone who can reach it.

What one worker has learnt the others know too: a table in a file that all of them map. A caller lies in one of the four
places of the row that its hash points to, with 128 bits of that hash and the time of its last acceptance. All 128 bits
are compared, so another caller that falls into the same row is told apart: a row that is full forgets its oldest
caller, which then goes to the teacher once more, and nobody inherits an acceptance.

No lock: an entry is written as "never", hash, time, so a reader in between finds no acceptance or a whole one; and two
workers that take the same place at once can only lose an acceptance, or mix two hashes into one that nobody has.
"""

import struct
import time
from collections.abc import Callable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from .shared_file import SharedFile

ROWS = 32_768
PLACES = 4
LIMIT = ROWS * PLACES
"""Callers remembered at most."""
_WORDS = 3
"""Words of 8 bytes in an entry: two of the hash, one of the time."""
_ROW_WORDS = PLACES * _WORDS
_RENEWED_S = 1.0
_NOTED = 10_000
_split = struct.Struct("<IQQ").unpack


def caller_of(headers: Mapping[str, str], secret: bytes) -> str:
    """16 hex digits: BLAKE2b keyed with the data folder's secret, over the agent's key. Empty when it sent none."""
    token = headers.get("authorization") or headers.get("x-api-key") or headers.get("api-key")
    if not token:
        return ""
    if token[:7].lower() == "bearer ":
        token = token[7:]
    return blake2b(token.strip().encode("utf-8", "surrogateescape"), key=secret[:64], digest_size=8).hexdigest()


def caller_of_key(key_id: str, secret: bytes) -> str:
    """The caller of a key of this proxy: from its id, so that it stays the same whatever happens to the key.

    The hash is personalised: no text that an agent could send as its own key gives the same caller.
    """
    return blake2b(key_id.encode(), key=secret[:64], digest_size=8, person=b"proxy key").hexdigest()


class _Place(NamedTuple):
    """Where a caller belongs."""

    row: int
    """Index of the row's first word."""
    high: int
    low: int


class AcceptedCallers:
    """Callers whose key the teacher accepted within the last `memory_s` seconds, as any worker has seen it."""

    def __init__(self, memory_s: float, clock: Callable[[], float] = time.time, path: Path | None = None) -> None:
        """`clock` gives Unix seconds. Without a path, or where no file can be made, this worker learns alone."""
        self.memory_s, self.clock = memory_s, clock
        self._file = SharedFile(path, "tutelage callers 1", LIMIT * _WORDS * 8)
        # The same bytes twice: a cast view writes a word in one piece.
        self._hashes, self._times = self._file.memory.cast("Q"), self._file.memory.cast("d")
        self._noted: dict[str, float] = {}

    def accepted(self, caller: str) -> bool:
        """Whether the teacher accepted this caller recently. The empty caller counts like any other."""
        row, high, low = _place(caller)
        hashes = self._hashes
        for at in range(row, row + _ROW_WORDS, _WORDS):
            if hashes[at] == high and hashes[at + 1] == low:
                seen = self._times[at + 2]
                # A time to come is a clock that went back.
                fresh = seen > 0.0 and 0.0 <= self.clock() - seen < self.memory_s
                # Looked at again: the place may have been given away between the hash and the time.
                if fresh and hashes[at] == high and hashes[at + 1] == low:
                    return True
        return False

    def note(self, caller: str, status: int) -> None:
        """Learn from the status of a teacher's answer: 2xx accepts, 401 and 403 revoke, others say nothing."""
        if 200 <= status < 300:
            now = self.clock()
            # Once a second is often enough for something that holds for minutes.
            if not 0.0 <= now - self._noted.get(caller, -_RENEWED_S) < _RENEWED_S:
                if len(self._noted) >= _NOTED:
                    self._noted.clear()
                self._noted[caller] = now
                self._accept(_place(caller))
        elif status in (401, 403):
            self._noted.pop(caller, None)
            # All of them: workers that learnt of a caller in the same moment may have written it twice.
            for at in self._found(_place(caller)):
                self._times[at + 2] = 0.0

    def close(self) -> None:
        """Unmap the table."""
        self._hashes.release()
        self._times.release()
        self._file.close()

    def _accept(self, place: _Place) -> None:
        times, found = self._times, self._found(place)
        if found:
            at = found[0]
        else:
            at = min(range(place.row, place.row + _ROW_WORDS, _WORDS), key=lambda at: times[at + 2])
            times[at + 2] = 0.0
            self._hashes[at], self._hashes[at + 1] = place.high, place.low
        times[at + 2] = self.clock()

    def _found(self, place: _Place) -> list[int]:
        """Where the caller's entries begin: none, one, or rarely more."""
        row, high, low = place
        hashes = self._hashes
        places = range(row, row + _ROW_WORDS, _WORDS)
        return [at for at in places if hashes[at] == high and hashes[at + 1] == low]


def _place(caller: str) -> _Place:
    row, high, low = _split(blake2b(caller.encode("utf-8", "surrogatepass"), digest_size=20).digest())
    return _Place(row % ROWS * _ROW_WORDS, high, low)
