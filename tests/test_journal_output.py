"""The segments that one writer fills."""

import errno
from pathlib import Path

import pytest

from tutelage.traffic.journal_files import DiskSegment, homes, segments_in
from tutelage.traffic.journal_output import Output, Segment, sync_all
from tutelage.traffic.journal_reader import JournalReader
from tutelage.traffic.segments import HEAD_BYTES, HEADER


class Short:
    """A file that takes `sizes` bytes in turn, and then nothing more."""

    def __init__(self, path: Path, sizes: list[int]) -> None:
        self._file, self._sizes = DiskSegment(path), sizes

    def write(self, data: bytes) -> int:
        if not self._sizes:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._file.write(data[: self._sizes.pop(0)])

    def sync(self) -> None:
        raise OSError(errno.EIO, "Input/output error")

    def exists(self) -> bool:
        raise OSError(errno.ESTALE, "Stale file handle")

    def truncate(self, size: int) -> None:
        self._file.truncate(size)

    def close(self) -> None:
        self._file.close()


def sizes_in(journal: Path) -> list[int]:
    return [path.stat().st_size for path in segments_in(homes(journal)[0])]


def test_a_group_ends_with_the_segment(tmp_path: Path) -> None:
    output = Output(tmp_path, 300, DiskSegment)
    assert output.write([b"x" * 100] * 5, 1) == (3, 336, None)
    assert output.full
    output.end()
    assert not output.full
    assert output.write([b"x" * 100] * 5, 4) == (1, 112, None)
    output.leave()
    assert sizes_in(tmp_path) == [8 + 336, 8 + 112]


@pytest.mark.parametrize("room", [0, 1, HEAD_BYTES, 109, 110, 111, 2 * 110 + 1])
def test_records_that_went_out_whole_count(tmp_path: Path, room: int) -> None:
    sizes = [5, len(HEADER) - 5, room] if room else [len(HEADER)]
    output = Output(tmp_path, 1000, lambda path: Short(path, sizes))
    records, size, error = output.write([b"x" * 98] * 5, 0)
    assert (records, size) == (room // 110, room // 110 * 110)
    assert isinstance(error, OSError)
    output.drop()
    assert sizes_in(tmp_path) == ([len(HEADER) + size] if records else [])
    output.leave()


@pytest.mark.parametrize("pieces", [[110], [1, 109], [50, 59, 1]])
def test_a_record_may_go_out_in_pieces(tmp_path: Path, pieces: list[int]) -> None:
    segment = Output(tmp_path, 1000, lambda path: Short(path, [8, *pieces])).begin()
    segment.add(b"x" * 98)
    assert segment.size == 8 + 110
    with pytest.raises(OSError, match="No space"):
        segment.add(b"y" * 98)
    segment.cut()
    assert JournalReader(tmp_path).read({}).records == [b"x" * 98]


def test_a_segment_that_cannot_be_begun_leaves_nothing(tmp_path: Path) -> None:
    def half_made(path: Path) -> Short:
        path.touch()
        raise OSError(errno.EIO, "Input/output error")

    for opener in (half_made, lambda path: Short(path, [3])):
        with pytest.raises(OSError, match=r"Input/output|No space"):
            Segment(tmp_path / "00000001-aa.seg", opener)
        assert list(tmp_path.iterdir()) == []


def test_the_reserve_is_asked_for_at_half_and_taken_when_the_segment_is_full(tmp_path: Path) -> None:
    output = Output(tmp_path, 1000, DiskSegment)
    first = output.ready()
    assert output.mark == 500
    first.add(bytes(600))
    output.turn()
    assert output.wants_reserve
    output.keep(output.begin())
    assert (output.wants_reserve, output.mark, output.segment) == (False, 1000, first)
    first.add(bytes(600))
    output.turn()
    assert output.segment is not None
    assert output.segment is not first
    assert output.take_ended() == [first]
    assert output.take_ended() == []
    assert output.mark == 500
    output.segment.add(b"next")
    assert JournalReader(tmp_path).read({}).records == [bytes(600), bytes(600), b"next"]


def test_without_a_reserve_the_segment_grows_and_it_is_tried_again_later(tmp_path: Path) -> None:
    output = Output(tmp_path, 1000, DiskSegment)
    first = output.ready()
    first.add(bytes(1500))
    output.turn()
    assert output.segment is first
    output.keep(None)
    assert (output.wants_reserve, output.mark) == (False, first.size + 500)


def test_dropping_a_segment_drops_the_reserve_so_that_serials_stay_in_order(tmp_path: Path) -> None:
    output = Output(tmp_path, 1000, DiskSegment)
    output.ready().add(bytes(600))
    output.turn()
    output.keep(output.begin())
    output.turn()
    output.drop()
    assert (output.segment, output.wants_reserve) == (None, False)
    output.ready().add(b"later")
    assert JournalReader(tmp_path).read({}).records == [bytes(600), b"later"]
    assert len(sizes_in(tmp_path)) == 2


def test_a_folder_that_was_removed_is_made_again(tmp_path: Path) -> None:
    output = Output(tmp_path, 1000, DiskSegment)
    segment = output.ready()
    (home,) = homes(tmp_path)
    for path in home.iterdir():
        path.unlink()
    home.rmdir()
    assert not segment.exists()
    output.drop()
    output.ready().add(b"again")
    assert homes(tmp_path) != [home]
    assert JournalReader(tmp_path).read({}).records == [b"again"]


def test_why_a_sync_failed_is_said_and_a_stale_file_is_gone(tmp_path: Path) -> None:
    sound = Segment(tmp_path / "00000001-aa.seg", DiskSegment)
    stale = Segment(tmp_path / "00000002-aa.seg", lambda path: Short(path, [8]))
    assert sync_all([sound]) == ""
    assert "Input/output" in sync_all([stale, sound])
    assert (sound.exists(), stale.exists()) == (True, False)
