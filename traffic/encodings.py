"""Bodies that travelled compressed, made plain before they are read.

A coding is told by the header, or by the first bytes where the header is not known: no JSON text and no event stream
begins like gzip or Zstandard. gzip and deflate are undone by the standard library, Brotli and Zstandard by Arrow where
its build has them. A body that cannot be undone stays as it is, and the caller says so.
"""

import zlib
from functools import lru_cache

import pyarrow as pa

LARGEST = 64 << 20
"""Bytes of a plain body. A small text can unpack to any size; more than this is left packed."""

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_ARROW = {"br": "brotli", "zstd": "zstd"}


def coding_of(body: bytes, header: str = "") -> str:
    """The codings of a body in the order they were applied, `gzip` or `gzip, br`; empty for a plain one."""
    named = ",".join(name for part in header.lower().split(",") if (name := part.strip()) not in ("", "identity"))
    if named:
        return named
    return "gzip" if body[:2] == _GZIP else "zstd" if body[:4] == _ZSTD else ""


def unpacked(body: bytes, codings: str) -> bytes | None:
    """The plain body; None when a coding is unknown, the bytes are damaged, or they are more than LARGEST."""
    for coding in reversed(codings.split(",")):
        plain = _undo(body, coding.strip())
        if plain is None:
            return None
        body = plain
    return body


def _undo(body: bytes, coding: str) -> bytes | None:
    try:
        if coding in ("gzip", "x-gzip"):
            return _inflate(body, 31)
        if coding == "deflate":
            # The standard means zlib's form; some servers send the bare one.
            plain = _inflate(body, 15) if body[:1] and body[0] & 15 == 8 else None
            return _inflate(body, -15) if plain is None else plain
        if coding in _ARROW and _available(_ARROW[coding]):
            with pa.CompressedInputStream(pa.BufferReader(body), _ARROW[coding]) as stream:
                plain = stream.read(LARGEST + 1)
            return plain if len(plain) <= LARGEST else None
    except (zlib.error, OSError, ValueError, EOFError):
        pass
    return None


def _inflate(body: bytes, wbits: int) -> bytes | None:
    """All members of a gzip file, or one deflate stream. A cut one gives what had come: so do the streams in it."""
    parts: list[bytes] = []
    size = 0
    while body:
        inflater = zlib.decompressobj(wbits)
        try:
            parts.append(inflater.decompress(body, LARGEST + 1 - size))
        except zlib.error:
            if wbits == 31 and parts:
                break  # padding behind the last member
            return None
        size += len(parts[-1])
        if size > LARGEST:
            return None
        if not size and not inflater.eof:
            return None
        body = inflater.unused_data if wbits == 31 else b""
    return b"".join(parts)


@lru_cache
def _available(codec: str) -> bool:
    return pa.Codec.is_available(codec)
