"""Folders of writers, and their files."""

import errno
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tutelage.traffic.journal_files import DiskSegment, Home, homes, is_alive, remove_home, segments_in


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
    home = Home(tmp_path / "journal")
    DiskSegment(home.path / "00000001-aa.seg").close()
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o700
    assert stat.S_IMODE((home.path / "00000001-aa.seg").stat().st_mode) == 0o600
    home.leave()


def test_a_segment_is_appended_to_cut_and_found_to_be_gone(tmp_path: Path) -> None:
    path = tmp_path / "00000001-aa.seg"
    segment = DiskSegment(path)
    assert segment.write(b"abcdef") == 6
    segment.truncate(3)
    assert segment.write(b"xyz") == 3
    segment.sync()
    assert path.read_bytes() == b"abcxyz"
    assert segment.exists()
    path.unlink()
    assert not segment.exists()
    segment.sync()
    segment.close()


def test_a_segment_is_never_begun_over_another(tmp_path: Path) -> None:
    (tmp_path / "00000001-aa.seg").write_bytes(b"kept")
    with pytest.raises(FileExistsError):
        DiskSegment(tmp_path / "00000001-aa.seg")
    assert (tmp_path / "00000001-aa.seg").read_bytes() == b"kept"


def test_writing_beyond_the_size_that_a_process_may_write_is_short_and_then_refused(tmp_path: Path) -> None:
    """A short write as the system makes it, without a full disk."""
    script = """
import resource, sys
from pathlib import Path
from tutelage.traffic.journal_files import DiskSegment

resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
segment = DiskSegment(Path(sys.argv[1]))
print(segment.write(bytes(700)), segment.write(bytes(700)))
try:
    segment.write(bytes(700))
except OSError as error:
    print(error.errno)
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "s.seg")], capture_output=True, text=True)
    assert done.stdout.split() == ["700", "300", str(errno.EFBIG)], done.stderr
