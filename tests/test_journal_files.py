"""Folders of writers, and the segments one of them fills."""

import errno
import stat
from pathlib import Path

import pytest

from tutelage.traffic.journal_files import (
    DiskSegment,
    Home,
    Output,
    homes,
    is_alive,
    remove_home,
    segments_in,
)
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
        self._file.sync()

    def truncate(self, size: int) -> None:
        self._file.truncate(size)

    def close(self) -> None:
        self._file.close()


def test_a_home_is_alive_until_it_is_left(tmp_path: Path) -> None:
    home = Home(tmp_path / "journal")
    assert homes(tmp_path / "journal") == [home.path]
    assert is_alive(home.path)
    (home.path / "00000001-aa.seg").touch()
    home.leave()
    assert not is_alive(home.path)
    assert [path.name for path in segments_in(home.path)] == ["00000001-aa.seg"]


def test_an_empty_home_goes_when_it_is_left(tmp_path: Path) -> None:
    Home(tmp_path).leave()
    assert homes(tmp_path) == []


def test_a_folder_with_something_else_in_it_stays(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "note.txt").touch()
    remove_home(tmp_path / "w")
    assert (tmp_path / "w" / "note.txt").exists()


def test_what_agents_said_is_readable_by_the_owner_alone(tmp_path: Path) -> None:
    output = Output(tmp_path / "journal", 1000, DiskSegment)
    assert output.write([b"x"], 0).records == 1
    home = homes(tmp_path / "journal")[0]
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE(segments_in(home)[0].stat().st_mode) == 0o600
    output.leave()


def test_a_group_ends_with_the_segment(tmp_path: Path) -> None:
    output = Output(tmp_path, 300, DiskSegment)
    assert output.write([b"x" * 100] * 5, 1) == (3, None)
    assert output.full
    output.end_segment()
    assert not output.full
    assert output.write([b"x" * 100] * 5, 4) == (1, None)
    output.leave()
    assert len(segments_in(homes(tmp_path)[0])) == 2


@pytest.mark.parametrize("room", [0, 1, HEAD_BYTES, 109, 110, 111, 2 * 110 + 1])
def test_records_that_went_out_whole_count(tmp_path: Path, room: int) -> None:
    sizes = [5, len(HEADER) - 5, room] if room else [len(HEADER)]
    output = Output(tmp_path, 1000, lambda path: Short(path, sizes))
    records, error = output.write([b"x" * 98] * 5, 0)
    assert records == room // 110
    assert isinstance(error, OSError)
    output.abandon()
    paths = segments_in(homes(tmp_path)[0])
    assert [path.stat().st_size for path in paths] == ([len(HEADER) + records * 110] if records else [])
    output.leave()


def test_a_segment_that_was_deleted_is_noticed_at_the_next_sync(tmp_path: Path) -> None:
    output = Output(tmp_path, 1000, DiskSegment)
    output.write([b"x"], 0)
    output.sync()
    segments_in(homes(tmp_path)[0])[0].unlink()
    with pytest.raises(FileNotFoundError, match="deleted"):
        output.sync()
    output.leave()
