"""What one writer of the journal fills: segments, one after the other.

Making a segment takes a sync of its folder, so an empty one is kept in reserve: going on to it is an assignment. While
there is none, the segment at hand grows beyond its size.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from .journal_files import Home, Opener, SegmentFile
from .segments import HEAD_BYTES, HEADER, frame, marker_of, segment_name

_WRITE_BYTES = 1 << 20
"""About as much of a group goes to the system in one write."""


def _write_all(file: SegmentFile, data: bytes) -> tuple[int, OSError | None]:
    """Write until all is out or the system refuses; how many bytes are out, and the refusal."""
    done = 0
    while done < len(data):
        try:
            done += file.write(data[done:] if done else data)
        except OSError as error:
            return done, error
    return done, None


class Written(NamedTuple):
    """How many records of a group are in the segment, their bytes there, and why not the others."""

    records: int
    size: int
    error: OSError | None


class Segment:
    """An open segment. After an error nothing may follow in it: there may be half a record at its end."""

    def __init__(self, path: Path, opener: Opener) -> None:
        """Begin a new segment. Raises OSError, and leaves nothing behind."""
        self._path, self._marker = path, marker_of(path.name)
        self.size = 0
        """Bytes up to the end of the last whole record."""
        self._file = _open(path, opener)
        self.size, error = _write_all(self._file, HEADER)
        if error:
            self.close()
            raise error

    def add(self, payload: bytes) -> None:
        """Give one record to the operating system. Raises OSError."""
        data = frame(self._marker, payload) + payload
        size = len(data)
        done = self._file.write(data)
        if done < size:
            _, error = _write_all(self._file, data[done:])
            if error:
                raise error
        self.size += size

    def add_group(self, payloads: Sequence[bytes], start: int, limit: int) -> Written:
        """Give payloads from index `start` on to the operating system, until the segment has about `limit` bytes."""
        parts: list[bytes] = []
        ends = [0]
        room = min(_WRITE_BYTES, limit - self.size)
        for payload in payloads[start:]:
            if ends[-1] >= room and parts:
                break
            parts += (frame(self._marker, payload), payload)
            ends.append(ends[-1] + HEAD_BYTES + len(payload))
        size, error = _write_all(self._file, b"".join(parts))
        # Records that went out whole are a reader's already: written again elsewhere, they would be there twice.
        count = bisect_right(ends, size) - 1
        self.size += ends[count]
        return Written(count, ends[count], error)

    def sync(self) -> None:
        """Make what was written durable. Raises OSError."""
        self._file.sync()

    def exists(self) -> bool:
        """False when somebody deleted it."""
        try:
            return self._file.exists()
        except OSError:
            return False

    def cut(self) -> None:
        """Cut it back to its last whole record if that is possible, and close it."""
        with suppress(OSError):
            self._file.truncate(self.size)
        self.close()

    def close(self) -> None:
        """Close it; one without records is removed: on a full disk every attempt would leave an empty file behind."""
        with suppress(OSError):
            self._file.close()
        if self.size <= len(HEADER):
            with suppress(OSError):
                self._path.unlink()


def _open(path: Path, opener: Opener) -> SegmentFile:
    try:
        return opener(path)
    except OSError:
        with suppress(OSError):
            path.unlink()
        raise


def sync_all(segments: Iterable[Segment]) -> str:
    """Make what was written to all of them durable; why that failed, or an empty string."""
    error = ""
    for segment in segments:
        try:
            segment.sync()
        except OSError as failure:
            error = str(failure)
    return error


class Output:
    """The segments of one writer: the one at hand, one in reserve, and ended ones that are still to be synced.

    Methods that do I/O are for one thread. `turn`, `keep` and `take_ended` do none: others may call them too, if the
    writer's lock keeps them apart.
    """

    def __init__(self, journal: Path, segment_bytes: int, opener: Opener) -> None:
        """Raises OSError when `journal` cannot be written."""
        self._journal, self._segment_bytes, self._opener = journal, segment_bytes, opener
        self._home = Home(journal)
        self._serial = 0
        self._reserve: Segment | None = None
        self._ended: list[Segment] = []
        self.segment: Segment | None = None
        """The one at hand."""
        self.mark = segment_bytes // 2
        """`turn` is due when the segment at hand has this many bytes."""
        self.wants_reserve = False
        """`keep(begin())` is due."""

    @property
    def full(self) -> bool:
        """The segment at hand is to be ended."""
        return self.segment is not None and self.segment.size >= self._segment_bytes

    def begin(self) -> Segment:
        """A new segment, the last of this writer. Raises OSError."""
        if not self._home.path.is_dir():
            # Somebody cleared the journal under us.
            home = Home(self._journal)
            self._home.leave()
            self._home = home
        self._serial += 1
        return Segment(self._home.path / segment_name(self._serial), self._opener)

    def keep(self, reserve: Segment | None) -> None:
        """Have `reserve` ready. Where none can be made, the next try is half a segment later."""
        self._reserve, self.wants_reserve = reserve, False
        grown = self.segment.size if self.segment and not reserve else self._segment_bytes // 2
        self.mark = grown + self._segment_bytes // 2

    def turn(self) -> None:
        """Ask for a reserve, or go on to it if the segment at hand is full."""
        if self._reserve is None:
            self.wants_reserve, self.mark = True, self._segment_bytes
        elif self.full:
            self.end()

    def end(self) -> None:
        """End the segment at hand, and go on to the one in reserve if there is one."""
        if self.segment is not None:
            self._ended.append(self.segment)
        self.segment, self._reserve = self._reserve, None
        self.mark = self._segment_bytes // 2

    def take_ended(self) -> list[Segment]:
        """Segments that were ended, to be synced and closed."""
        ended, self._ended = self._ended, []
        return ended

    def ready(self) -> Segment:
        """The segment at hand, begun if there is none. Raises OSError."""
        self.segment = self.segment or self.begin()
        return self.segment

    def write(self, payloads: Sequence[bytes], start: int) -> Written:
        """Write a group of payloads from index `start` on, as many as fit; after an error the segment is done for."""
        try:
            return self.ready().add_group(payloads, start, self._segment_bytes)
        except OSError as error:
            return Written(0, 0, error)

    def drop(self) -> None:
        """Leave the segment at hand, cut back to its last whole record, and the reserve."""
        dropped = [segment for segment in (self.segment, self._reserve) if segment]
        self.segment = self._reserve = None
        self.wants_reserve = False
        self.mark = self._segment_bytes // 2
        for segment in dropped:
            segment.cut()

    def leave(self) -> None:
        """Release the folder, and remove it when there is no segment in it."""
        with suppress(OSError):
            self._home.leave()
