"""The writer of the journal on real disks, over real deaths: nothing that was taken over is lost or doubled."""

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from faulty_disk import eventually, numbered, read_all

from tutelage.traffic.errors import DataFolderError
from tutelage.traffic.journal import JournalReader, JournalWriter, Sync
from tutelage.traffic.journal_files import homes, segments_in


@pytest.mark.parametrize("sync", ["interval", "always", "os"])
def test_what_is_appended_is_read(tmp_path: Path, sync: Sync) -> None:
    chance = random.Random(7)
    contents = [chance.randbytes(chance.choice([1, 10, 4000, 70_000])) for _ in range(300)]
    writer = JournalWriter(tmp_path, sync=sync, segment_bytes=1 << 20)
    for number, content in enumerate(contents):
        assert writer.append(content)
        assert number % 10 or writer.flush(20)  # so that the next segment is ready when it is needed
    assert writer.flush(20)
    assert read_all(tmp_path) == (contents, [])
    assert writer.close()
    assert read_all(tmp_path) == (contents, [])
    stats = writer.stats
    assert (stats.appended, stats.written, stats.synced) == (300, 300, 0 if sync == "os" else 300)
    assert (stats.lost, stats.dropped, stats.unsynced, stats.queue_bytes, stats.error) == (0, 0, 0, 0, "")
    assert not stats.behind
    paths = segments_in(homes(tmp_path)[0])
    assert len(paths) > 3
    assert all(path.stat().st_size >= 1 << 20 for path in paths[:-1])


def test_a_record_can_be_read_as_soon_as_append_returns(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path, interval_s=3600, stall_s=3600)
    for count in range(1, 20):
        assert writer.append(b"%d" % count)
        assert writer.stats.written == count
        assert read_all(tmp_path)[0][-1] == b"%d" % count
    assert writer.stats.synced == 0
    assert writer.close()


def test_threads_may_append_together(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path, segment_bytes=20_000, queue_bytes=1 << 30)
    parts = [numbered(500, start=1000 * thread) for thread in range(4)]
    threads = [threading.Thread(target=lambda part=part: [writer.append(record) for record in part]) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert writer.close()
    records, damaged = read_all(tmp_path)
    assert damaged == []
    assert sorted(records) == [record for part in parts for record in part]
    for part in parts:
        assert [record for record in records if record in set(part)] == part


def test_a_very_large_record_is_written_whole(tmp_path: Path) -> None:
    writer, huge = JournalWriter(tmp_path, segment_bytes=1 << 20), random.Random(3).randbytes(32 << 20)
    assert all(writer.append(record) for record in (b"before", huge, b"after"))
    assert writer.flush(30)
    assert writer.close()
    assert read_all(tmp_path) == ([b"before", huge, b"after"], [])


def test_after_the_end_nothing_is_taken(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path)
    assert writer.close()
    assert writer.close()
    assert not writer.append(b"late")
    assert writer.flush()
    assert writer.stats.dropped == 1
    assert homes(tmp_path) == []


def test_an_empty_record_is_a_programming_error(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path)
    with pytest.raises(ValueError, match="empty"):
        writer.append(b"")
    assert writer.close()


def test_a_folder_that_cannot_be_written_is_said_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "journal").touch()
    with pytest.raises(DataFolderError, match="--data"):
        JournalWriter(tmp_path / "journal")


def test_reading_and_deleting_beside_a_writer(tmp_path: Path) -> None:
    writer, reader = JournalWriter(tmp_path, segment_bytes=50_000), JournalReader(tmp_path)
    contents = numbered(20_000)
    feeder = threading.Thread(target=lambda: [writer.append(record) for record in contents] and writer.close())
    feeder.start()
    positions, records = dict[str, int](), list[bytes]()
    while feeder.is_alive() or reader.backlog(positions):
        batch = reader.read(positions, 30_000)
        assert batch.damaged == []
        records, positions = records + batch.records, batch.positions
        reader.delete(reader.finished(positions))
    assert records == contents
    # A segment that was read and deleted before it was synced is no alarm.
    assert (writer.stats.unsynced, writer.stats.error) == (0, "")
    reader.delete(reader.finished(positions))
    assert homes(tmp_path) == []


@pytest.mark.parametrize("sync", ["interval", "always", "os"])
def test_a_journal_that_was_cleared_is_begun_anew(tmp_path: Path, sync: Sync) -> None:
    writer = JournalWriter(tmp_path / "journal", sync=sync, interval_s=0.01, retry_s=0.01)
    writer.append(b"gone")
    assert writer.flush()
    shutil.rmtree(tmp_path / "journal")
    writer.append(b"noticed")
    assert eventually(lambda: writer.stats.unsynced == 1)
    assert not writer.flush()
    writer.append(b"kept")
    assert writer.flush()
    assert len(homes(tmp_path / "journal")) == 1
    assert read_all(tmp_path / "journal") == ([b"kept"], [])
    assert not writer.close()
    assert read_all(tmp_path / "journal") == ([b"kept"], [])


@contextmanager
def mounted(folder: Path) -> Iterator[Path]:
    """A file system of one MiB."""
    folder.mkdir()
    if sys.platform != "linux" or shutil.which("mount") is None:
        pytest.skip("A small disk is made with mount -t tmpfs, which is not here.")
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"A small disk could not be mounted: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_real_full_disk_is_waited_out(tmp_path: Path) -> None:
    with mounted(tmp_path / "small") as disk:
        ballast, journal = disk / "ballast", disk / "journal"
        ballast.write_bytes(bytes(500_000))
        writer = JournalWriter(journal, queue_bytes=200_000, retry_s=0.01, stall_s=60)
        contents = numbered(300, size=4001)
        taken = [record for record in contents if writer.append(record)]
        stats = writer.stats
        assert "No space left" in stats.error
        assert stats.behind
        assert stats.lost == 300 - len(taken) > 0
        assert read_all(journal)[0] == taken[: stats.written]
        ballast.unlink()
        assert eventually(lambda: not writer.stats.behind)
        assert writer.stats.error == ""
        assert writer.append(b"again")
        assert writer.close()
        assert read_all(journal) == ([*taken, b"again"], [])


def test_a_folder_on_a_disk_mounted_read_only_is_said_at_the_start(tmp_path: Path) -> None:
    with mounted(tmp_path / "small") as disk:
        (disk / "journal").mkdir()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(DataFolderError, match=r"Read-only file system.*--data"):
            JournalWriter(disk / "journal")


def test_a_folder_without_write_permission_is_said_at_the_start(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("The superuser may write everywhere.")
    (tmp_path / "journal").mkdir(mode=0o500)
    with pytest.raises(DataFolderError, match=r"Permission denied.*--data"):
        JournalWriter(tmp_path / "journal")


KILLED = """
import os, sys
from pathlib import Path
from tutelage.traffic.journal import JournalWriter

# A busy machine may let any write take long; then records would go through memory.
writer = JournalWriter(Path(sys.argv[1]), sync=sys.argv[2], segment_bytes=200_000, stall_s=3600)
number = 0
while True:
    if writer.append(b"%08d" % number + b"." * (number % 3000)):
        os.write(1, b"%08d\\n" % number)
        number += 1
"""


@pytest.mark.chaos
@pytest.mark.parametrize("seed", range(20))
def test_kill_9_loses_no_record_that_append_took(tmp_path: Path, seed: int) -> None:
    journal, told = tmp_path / "journal", tmp_path / "told"
    sync = ("interval", "always", "os")[seed % 3]
    with told.open("wb") as file:
        child = subprocess.Popen([sys.executable, "-c", KILLED, str(journal), sync], stdout=file)
    assert eventually(lambda: told.stat().st_size > 0, 60)
    time.sleep(random.Random(seed).uniform(0.0, 0.2))
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    acknowledged = [int(line) for line in told.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    records, damaged = read_all(journal)
    numbers = [int(record[:8]) for record in records]
    assert numbers == list(range(len(numbers)))
    assert acknowledged == numbers[: len(acknowledged)]
    assert 0 <= len(numbers) - len(acknowledged) <= 1
    assert all(len(record) == 8 + number % 3000 for number, record in enumerate(records))
    assert {damage.reason for damage in damaged} <= {"torn"}
    assert len(damaged) <= 1
    writer = JournalWriter(journal)  # start-up after it
    assert writer.append(b"next")
    assert sorted(read_all(journal)[0]) == sorted([*records, b"next"])
    assert writer.close()
