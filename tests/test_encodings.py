"""Compressed bodies: every coding undone, damaged and unknown ones left alone, no bomb goes off."""

import gzip
import zlib
from collections.abc import Callable

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.traffic.encodings import LARGEST, coding_of, unpacked

BODY = b'{"model": "m", "messages": []}' * 20


def bare_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


def by_arrow(body: bytes, codec: str) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, codec) as stream:
        stream.write(body)
    return sink.getvalue().to_pybytes()


def _gzip(plain: bytes) -> bytes:
    """Without the time, so that the names of the tests are the same in every process."""
    return gzip.compress(plain, mtime=0)


@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        ("gzip", _gzip(BODY)),
        ("x-gzip", _gzip(BODY)),
        ("gzip", _gzip(BODY[:7]) + _gzip(BODY[7:])),
        ("deflate", zlib.compress(BODY)),
        ("deflate", bare_deflate(BODY)),
        ("br", by_arrow(BODY, "brotli")),
        ("zstd", by_arrow(BODY, "zstd")),
        ("deflate, gzip", _gzip(zlib.compress(BODY))),
        ("identity", BODY),
        (" GZIP ", _gzip(BODY)),
    ],
)
def test_every_coding_is_undone(coding: str, packed: bytes) -> None:
    codings = coding_of(packed, coding)
    assert (unpacked(packed, codings) if codings else packed) == BODY


def test_a_coding_that_nobody_named_is_told_by_the_first_bytes() -> None:
    assert coding_of(gzip.compress(BODY)) == "gzip"
    assert coding_of(by_arrow(BODY, "zstd")) == "zstd"
    assert coding_of(BODY) == coding_of(b"") == coding_of(b"data: x\n\n", "identity") == ""


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "compress", "gzip,unheard-of"])
def test_what_cannot_be_undone_is_none(coding: str) -> None:
    assert unpacked(b"no such thing", coding) is None


def test_a_stream_that_was_cut_gives_what_had_come() -> None:
    plain = bytes(range(256)) * 40
    found = unpacked(gzip.compress(plain)[:-20], "gzip")
    assert found
    assert plain.startswith(found)


@pytest.mark.parametrize("pack", [gzip.compress, lambda body: by_arrow(body, "zstd")])
def test_a_bomb_is_left_packed(pack: Callable[[bytes], bytes]) -> None:
    packed = pack(bytes(LARGEST + 1))
    assert unpacked(packed, coding_of(packed)) is None


@given(st.binary(max_size=200), st.sampled_from(["gzip", "deflate", "br", "zstd", "", "a,b", ",,"]))
def test_no_bytes_make_it_fail(body: bytes, coding: str) -> None:
    found = unpacked(body, coding)
    assert found is None or isinstance(found, bytes)
