"""Files that several processes map: one file for all of them, whatever was there before."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from tutelage.proxy.shared_file import HEAD_BYTES, SharedFile


def test_two_that_open_it_see_the_same_bytes_also_later(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    first, second = SharedFile(path, "t", 16), SharedFile(path, "t", 16)
    assert first.shared
    assert bytes(first.memory) == bytes(16)
    first.memory[3] = 7
    assert second.memory[3] == 7
    first.close()
    first.close()
    second.close()
    again = SharedFile(path, "t", 16)
    assert again.memory[3] == 7
    again.close()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("before", [b"", b"x", bytes(HEAD_BYTES + 16), b"t".ljust(HEAD_BYTES, b"\0") + bytes(99)])
def test_a_file_of_another_size_or_title_is_rebuilt(tmp_path: Path, before: bytes) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(before)
    shared = SharedFile(path, "t", 16)
    assert bytes(shared.memory) == bytes(16)
    assert path.stat().st_size == HEAD_BYTES + 16
    shared.close()
    assert [file.name for file in tmp_path.iterdir()] == ["x.bin"]


def test_who_has_mapped_the_old_file_goes_on_with_it(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    old = SharedFile(path, "layout 1", 4096)
    new = SharedFile(path, "layout 2", 16)
    old.memory[4095] = 1  # would be a bus error, had the file been cut
    assert bytes(new.memory) == bytes(16)
    old.close()
    new.close()


def test_the_file_has_its_disk_space_from_the_start(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    SharedFile(path, "t", 1 << 20).close()
    assert path.stat().st_blocks * 512 >= 1 << 20


def test_without_a_file_the_memory_is_private(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    alone = SharedFile(None, "t", 16)
    assert not alone.shared
    assert not caplog.records
    alone.memory[0] = 1
    alone.close()
    with caplog.at_level(logging.WARNING):
        nowhere = SharedFile(tmp_path / "missing" / "x.bin", "t", 16)
    assert not nowhere.shared
    nowhere.memory[0] = 1
    nowhere.close()
    assert "cannot be shared" in caplog.text


OPEN_AND_COUNT = """
import fcntl, sys
from pathlib import Path
from tutelage.proxy.shared_file import SharedFile
shared = SharedFile(Path(sys.argv[1]), "t", 8)
fcntl.lockf(shared.descriptor, fcntl.LOCK_EX)
shared.memory[0] += 1
fcntl.lockf(shared.descriptor, fcntl.LOCK_UN)
shared.close()
"""


def test_processes_that_rebuild_it_at_once_end_up_with_one_file(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(b"an older layout")
    running = [subprocess.Popen([sys.executable, "-c", OPEN_AND_COUNT, str(path)]) for _ in range(6)]
    assert [process.wait(60) for process in running] == [0] * 6
    shared = SharedFile(path, "t", 8)
    assert shared.memory[0] == 6
    shared.close()
