"""Reading the journal: all writers' segments from saved positions on.

A reader owns nothing and locks nobody out. It gives out intact records and says which bytes were none; the tail of a
segment that is still being written is left for later. Segments are deleted only after the caller has committed the
positions beyond them.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from .errors import StoreTooNew
from .journal_files import homes, is_alive, remove_home, segments_in
from .segments import HEAD_BYTES, HEADER, MAGIC, VERSION, Scan, marker_of, next_record, scan


@dataclass(frozen=True)
class Damage:
    """Bytes of a segment that are no intact records."""

    segment: str
    """Key of the segment, as in positions."""
    start: int
    stop: int
    reason: str
    """`damaged` (intact records follow), `torn` (the end of a segment that nobody writes any more), or `unreadable: …`
    (the file system refuses; nothing was skipped)."""

    @property
    def size(self) -> int:
        """Bytes lost."""
        return self.stop - self.start


@dataclass(frozen=True)
class Batch:
    """What one `read` found."""

    records: list[bytes]
    positions: dict[str, int]
    """Position after these records in every segment on disk, by `WRITER/SEGMENT`; deleted segments are left out."""
    damaged: list[Damage]


@dataclass(frozen=True)
class _Segment:
    key: str
    path: Path
    sealed: bool
    """Nothing will be appended any more."""


class JournalReader:
    """Reads the segments of all writers below `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, position: Mapping[str, int], limit_bytes: int = 16 << 20, least_bytes: int = 0) -> Batch:
        """The records after `position`, about `limit_bytes` of payload, shared evenly between the writers.

        A record counts as `least_bytes` or more, so that the number of records is limited as well.
        Each writer gives at least one record if it has any; within a writer the order is that of appending.
        Raises StoreTooNew for a segment of a later format.
        """
        batch = Batch([], {}, [])
        writers = self._writers()
        for segments in writers:
            room = max(1, limit_bytes // len(writers))
            for segment in segments:
                start, known = position.get(segment.key, 0), len(batch.records)
                end = batch.positions[segment.key] = (
                    _read(segment, start, room, least_bytes, batch) if room > 0 else start
                )
                room -= sum(max(least_bytes, len(record)) for record in batch.records[known:])
                if not segment.sealed or (len(batch.records) > known and end < _size(segment.path)):
                    # There is or will be more in this segment, and it comes before what the next one holds.
                    room = 0
        return batch

    def backlog(self, positions: Mapping[str, int]) -> int:
        """Bytes on disk that lie beyond `positions`. A header alone is none."""
        segments = [segment for writer in self._writers() for segment in writer]
        starts = [max(len(HEADER), positions.get(segment.key, 0)) for segment in segments]
        return sum(max(0, _size(s.path) - start) for s, start in zip(segments, starts, strict=True))

    def finished(self, positions: Mapping[str, int]) -> list[Path]:
        """Segments that are read to their end and will not grow: safe to delete once `positions` are committed."""
        segments = [segment for writer in self._writers() for segment in writer]
        return [s.path for s in segments if s.sealed and s.key in positions and positions[s.key] >= _size(s.path)]

    def delete(self, paths: Iterable[Path]) -> None:
        """Remove segments that `finished` named, and the folders of dead writers that hold none any more."""
        for path in paths:
            path.unlink(missing_ok=True)
        for home in homes(self._folder):
            if not is_alive(home) and not segments_in(home):
                remove_home(home)

    def _writers(self) -> list[list[_Segment]]:
        # Whether a writer lives is asked before its segments are listed: what a dead one has left is final, while one
        # that dies in between is only taken for alive a little longer.
        found = [_segments_of(home, is_alive(home)) for home in homes(self._folder)]
        return [segments for segments in found if segments]


def _segments_of(home: Path, alive: bool) -> list[_Segment]:
    found: list[_Segment] = []
    sealed = not alive
    # From the last to the first: a writer adds nothing to a segment once there is a record in a later one. It may have
    # an empty one ready, which seals nothing. What is read of a sealed segment afterwards is therefore all of it.
    for path in reversed(segments_in(home)):
        found.append(_Segment(f"{home.name}/{path.name}", path, sealed))
        sealed = sealed or _size(path) > len(HEADER)
    return found[::-1]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _read(segment: _Segment, start: int, limit: int, least: int, batch: Batch) -> int:
    """Add what the segment holds after `start` to the batch; the new position."""
    if start >= _size(segment.path):
        return start
    try:
        with segment.path.open("rb") as file:
            return _read_open(file, segment, start, limit, least, batch)
    except OSError as error:
        batch.damaged.append(Damage(segment.key, start, start, f"unreadable: {error.strerror or error}"))
        return start


def _read_open(file: BinaryIO, segment: _Segment, start: int, limit: int, least: int, batch: Batch) -> int:
    found, at_end = _scan(file, segment, start, limit, least)
    batch.records.extend(found.payloads)
    for first, stop in found.gaps:
        batch.damaged.append(Damage(segment.key, start + first, start + stop, "damaged"))
    position = start + found.end
    if not (segment.sealed and found.exhausted and at_end):
        return position
    end = os.fstat(file.fileno()).st_size
    if end > position:
        batch.damaged.append(Damage(segment.key, position, end, "torn"))
    return end


def _scan(file: BinaryIO, segment: _Segment, start: int, limit: int, least: int) -> tuple[Scan, bool]:
    """Scan a window of the segment, and the whole rest when the window holds no record; True if it reached the end."""
    marker = marker_of(segment.path.name)
    for window in (limit + HEAD_BYTES + len(HEADER), -1):
        file.seek(start)
        data = file.read(window)
        at_end = window < 0 or len(data) < window
        found = scan(data, marker, _skip_header(data, marker, segment.key, at_end) if start == 0 else 0, limit, least)
        if found.payloads or at_end:
            break
    return found, at_end


def _skip_header(data: bytes, marker: bytes, key: str, at_end: bool) -> int:
    """Where records may begin: after a sound header, else at once, so that a damaged one shows up as a gap.

    Raises StoreTooNew for a later version in the header, if no record of this one is in the segment.
    """
    size = len(HEADER)
    if data.startswith(HEADER):
        return size
    later_format = data.startswith(MAGIC) and len(data) > size and data[size - 1] > VERSION
    if later_format and at_end and next_record(data, marker, size) is None:
        raise StoreTooNew(
            f"Expected journal segments of format {VERSION}, but {key} has format {data[size - 1]}. "
            "It was written by a newer version of this program: start that version to read it."
        )
    return 0
