"""The form of journal segments."""

from hypothesis import given
from hypothesis import strategies as st

from tutelage.traffic.segments import HEAD_BYTES, frame, marker_of, next_record, record_at, scan, segment_name

MARKER = marker_of("00000001-0000000000000000.seg")
payloads = st.lists(st.binary(min_size=1, max_size=40), max_size=8)


def segment(*contents: bytes) -> bytes:
    return b"".join(frame(MARKER, content) + content for content in contents)


def test_names_sort_in_the_order_of_serials_and_give_different_markers() -> None:
    names = [segment_name(serial) for serial in (1, 2, 10, 99_999_999)]
    assert names == sorted(names)
    assert len({marker_of(name) for name in names}) == 4


def test_the_form_of_a_record_is_pinned() -> None:
    assert segment(b"abc").hex() == "2dc6f61a03000000335de166616263"


@given(payloads, st.integers(1, 100))
def test_a_scan_gives_what_was_written(contents: list[bytes], limit: int) -> None:
    data, found, start = segment(*contents), [], 0
    while True:
        part = scan(data, MARKER, start, limit)
        assert part.gaps == []
        assert sum(map(len, part.payloads[:-1])) < limit
        found += part.payloads
        start = part.end
        if part.exhausted:
            break
    assert found == contents
    assert start == len(data)


@given(payloads, st.binary(max_size=30), payloads)
def test_junk_between_records_is_a_gap(before: list[bytes], junk: bytes, after: list[bytes]) -> None:
    head = segment(*before)
    part = scan(head + junk + segment(*after), MARKER, 0, 1 << 20)
    assert part.payloads == before + after
    if junk and after:
        assert part.gaps == [(len(head), len(head) + len(junk))]


@given(st.binary(max_size=200), st.integers(0, 200))
def test_junk_holds_no_record(junk: bytes, start: int) -> None:
    assert record_at(junk, MARKER, start) is None
    assert next_record(junk, MARKER, start) is None


def test_zeros_are_no_records() -> None:
    assert next_record(bytes(1000), bytes(4), 0) is None


def test_a_length_beyond_the_end_is_no_record() -> None:
    assert record_at(segment(b"x" * 50)[:-1], MARKER, 0) is None


def test_a_record_of_another_segment_is_not_believed() -> None:
    inner = segment(b"forged")
    other = marker_of("00000002-ffffffffffffffff.seg")
    outer = frame(other, inner) + inner
    damaged = outer[:HEAD_BYTES] + b"?" + outer[HEAD_BYTES + 1 :]
    assert next_record(damaged, other, 0) is None
