"""The form of journal segments: their names and their records. No I/O; `docs/journal.md` is the specification.

    segment = header, record, record, …
    header  = "TUTJRNL" and one byte of version
    record  = marker (4 bytes), length (u32), checksum (u32), payload       little-endian

The marker is derived from the segment's random name. A reader that has lost its way looks for the next marker and
believes it if the checksum agrees. No agent knows the name, so no payload can pose as a record.
"""

import secrets
import struct
import zlib
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

MAGIC = b"TUTJRNL"
VERSION = 1
HEADER = MAGIC + bytes([VERSION])
HEAD_BYTES = 12
"""Bytes that a record takes beside its payload."""
MAX_PAYLOAD = 2**30

_HEAD = struct.Struct("<4sII")
_LENGTH = struct.Struct("<I")


def segment_name(serial: int) -> str:
    """A new name; names of one writer sort in the order of their serials."""
    return f"{serial:08d}-{secrets.token_hex(8)}.seg"


def marker_of(name: str) -> bytes:
    """The four bytes that stand before each record of the segment `name`."""
    return blake2b(name.encode(), digest_size=4, person=b"tutelage.seg").digest()


def frame(marker: bytes, payload: bytes) -> bytes:
    """What stands before `payload` in a segment."""
    length = len(payload)
    # The length is covered too; otherwise a run of zero bytes would read as empty records.
    return _HEAD.pack(marker, length, zlib.crc32(payload, zlib.crc32(_LENGTH.pack(length))))


class Record(NamedTuple):
    """An intact record and where it lies in the scanned bytes."""

    start: int
    stop: int
    payload: bytes


def record_at(data: bytes, marker: bytes, start: int) -> Record | None:
    """The intact record that begins at `start`, if there is one."""
    body = start + HEAD_BYTES
    if body > len(data):
        return None
    found, length, _ = _HEAD.unpack_from(data, start)
    if found != marker or length > len(data) - body:
        return None
    payload = data[body : body + length]
    return Record(start, body + length, payload) if data.startswith(frame(marker, payload), start) else None


def next_record(data: bytes, marker: bytes, start: int) -> Record | None:
    """The first intact record at or after `start`."""
    while start >= 0:
        record = record_at(data, marker, start)
        if record is not None:
            return record
        start = data.find(marker, start + 1)
    return None


@dataclass(frozen=True)
class Scan:
    """What a stretch of a segment holds."""

    payloads: list[bytes]
    gaps: list[tuple[int, int]]
    """Bytes between intact records that are none."""
    end: int
    """Where the last intact record stops."""
    exhausted: bool
    """No intact record follows `end`; otherwise the limit was reached."""


def scan(data: bytes, marker: bytes, start: int, limit: int, least: int = 0) -> Scan:
    """Intact records from `start` on, until their payloads reach `limit` bytes (at least one record).

    A payload counts as `least` bytes or more, so that the number of records is limited as well.
    """
    payloads: list[bytes] = []
    gaps: list[tuple[int, int]] = []
    room = limit
    while room > 0 or not payloads:
        record = next_record(data, marker, start)
        if record is None:
            return Scan(payloads, gaps, start, exhausted=True)
        if record.start > start:
            gaps.append((start, record.start))
        payloads.append(record.payload)
        start = record.stop
        room -= max(least, len(record.payload))
    return Scan(payloads, gaps, start, exhausted=False)
