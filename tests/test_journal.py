"""The writer of the journal: nothing that was taken over is lost or doubled, and nothing is ever waited for."""

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tutelage.traffic.errors import DataFolderError
from tutelage.traffic.journal import Damage, JournalReader, JournalWriter, Sync
from tutelage.traffic.journal_files import DiskSegment, homes, segments_in


class Disk:
    """A disk whose faults can be set. Its segments are real files."""

    def __init__(self) -> None:
        self.room: int | None = None
        """Bytes that can still be written; None without limit."""
        self.readonly = self.no_truncate = self.no_sync = False
        self.gate = threading.Event()
        """Writes wait for it."""
        self.gate.set()
        self.syncs = 0

    def open(self, path: Path) -> "FaultySegment":
        if self.readonly:
            raise OSError(errno.EROFS, "Read-only file system")
        return FaultySegment(self, path)


class FaultySegment:
    def __init__(self, disk: Disk, path: Path) -> None:
        self._disk, self._file = disk, DiskSegment(path)

    def write(self, data: bytes) -> int:
        self._disk.gate.wait(20)
        if self._disk.room is None:
            return self._file.write(data)
        if self._disk.room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        done = self._file.write(data[: self._disk.room])
        self._disk.room -= done
        return done

    def sync(self) -> None:
        self._disk.syncs += 1
        if self._disk.no_sync:
            raise OSError(errno.EIO, "Input/output error")
        self._file.sync()

    def truncate(self, size: int) -> None:
        if self._disk.no_truncate:
            raise OSError(errno.EIO, "Input/output error")
        self._file.truncate(size)

    def close(self) -> None:
        self._file.close()


def read_all(folder: Path) -> tuple[list[bytes], list[Damage]]:
    reader, positions = JournalReader(folder), dict[str, int]()
    records, damaged = list[bytes](), list[Damage]()
    while (batch := reader.read(positions, 1 << 16)).positions != positions:
        records += batch.records
        damaged += batch.damaged
        positions = batch.positions
    return records, damaged


def eventually(holds: Callable[[], bool], seconds: float = 10.0) -> bool:
    limit = time.monotonic() + seconds
    while not holds() and time.monotonic() < limit:
        time.sleep(0.002)
    return holds()


def numbered(count: int, size: int = 100, start: int = 0) -> list[bytes]:
    return [b"%08d" % number + b"." * (size - 8) for number in range(start, start + count)]


@pytest.mark.parametrize("sync", ["interval", "always", "os"])
def test_what_is_appended_is_read(tmp_path: Path, sync: Sync) -> None:
    chance = random.Random(7)
    contents = [chance.randbytes(chance.choice([1, 10, 4000, 70_000])) for _ in range(300)]
    writer = JournalWriter(tmp_path, sync=sync, segment_bytes=1 << 20)
    assert all(writer.append(content) for content in contents)
    assert writer.flush(20)
    assert read_all(tmp_path) == (contents, [])
    assert writer.close()
    assert read_all(tmp_path) == (contents, [])
    stats = writer.stats
    assert (stats.appended, stats.written, stats.synced) == (300, 300, 0 if sync == "os" else 300)
    assert (stats.lost, stats.dropped, stats.unsynced, stats.queue_bytes, stats.error) == (0, 0, 0, 0, "")
    paths = segments_in(homes(tmp_path)[0])
    assert len(paths) > 3
    assert all(path.stat().st_size >= 1 << 20 for path in paths[:-1])


def test_records_reach_the_disk_without_a_flush(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path)
    writer.append(b"alone")
    assert eventually(lambda: writer.stats.synced == 1)
    assert read_all(tmp_path) == ([b"alone"], [])
    assert writer.close()


@pytest.mark.parametrize("sync", ["interval", "always", "os"])
def test_how_often_the_disk_is_synced(tmp_path: Path, sync: Sync) -> None:
    disk, began = Disk(), time.monotonic()
    writer = JournalWriter(tmp_path, sync=sync, interval_s=0.5, opener=disk.open)
    for number in range(20):
        writer.append(b"%d" % number)
        assert eventually(lambda number=number: writer.stats.written == number + 1)
        time.sleep(0.01)
    seconds = time.monotonic() - began
    if sync == "always":
        assert disk.syncs >= 19
    else:
        assert disk.syncs <= (seconds / 0.5 + 1 if sync == "interval" else 0)
    assert writer.close()
    assert writer.stats.synced == (0 if sync == "os" else 20)


def test_threads_may_append_together(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path, segment_bytes=20_000)
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


def test_a_full_queue_drops_and_never_blocks(tmp_path: Path) -> None:
    disk = Disk()
    disk.gate.clear()
    writer = JournalWriter(tmp_path, queue_bytes=112 * 50, opener=disk.open)
    taken, longest = [], 0.0
    for record in numbered(1000):
        start = time.perf_counter()
        if writer.append(record):
            taken.append(record)
        longest = max(longest, time.perf_counter() - start)
    assert len(taken) == 50
    assert longest < 1.0
    assert not writer.flush(0.05)
    assert (writer.stats.dropped, writer.stats.lost, writer.stats.queue_bytes) == (950, 0, 112 * 50)
    disk.gate.set()
    assert writer.flush()
    assert writer.append(b"again")
    assert writer.close()
    assert read_all(tmp_path) == ([*taken, b"again"], [])


@pytest.mark.parametrize("room", [0, 1, 8, 50, 120, 121, 1000])
def test_a_full_disk_is_waited_out(tmp_path: Path, room: int) -> None:
    disk = Disk()
    disk.room = room
    writer = JournalWriter(tmp_path, queue_bytes=112 * 50, retry_s=0.01, opener=disk.open)
    contents = numbered(100)
    taken = [record for record in contents[:40] if writer.append(record)]
    assert eventually(lambda: "No space left" in writer.stats.error)
    taken += [record for record in contents[40:] if writer.append(record)]
    stats = writer.stats
    assert stats.lost == 100 - len(taken) > 0
    assert stats.dropped == 0
    assert len(homes(tmp_path)) == 1
    assert len(segments_in(homes(tmp_path)[0])) <= 2
    disk.room = None
    assert writer.flush()
    assert writer.stats.error == ""
    assert writer.append(b"again")
    assert writer.close()
    assert read_all(tmp_path) == ([*taken, b"again"], [])


def test_a_torn_group_that_cannot_be_cut_is_not_written_twice(tmp_path: Path) -> None:
    disk = Disk()
    disk.room, disk.no_truncate = 8 + 112 * 2 + 30, True
    writer = JournalWriter(tmp_path, retry_s=0.01, opener=disk.open)
    contents = numbered(5)
    for record in contents:
        writer.append(record)
    assert eventually(lambda: writer.stats.error != "")
    disk.room = None
    assert writer.close()
    records, damaged = read_all(tmp_path)
    assert records == contents
    assert [(damage.size, damage.reason) for damage in damaged] == [(30, "torn")]


def test_a_disk_that_became_read_only_is_waited_out(tmp_path: Path) -> None:
    disk = Disk()
    writer = JournalWriter(tmp_path, segment_bytes=300, retry_s=0.01, opener=disk.open)
    assert all(writer.append(record) for record in numbered(3))
    assert writer.flush()
    disk.readonly = True
    assert all(writer.append(record) for record in numbered(3, start=3))
    assert not writer.flush(0.1)
    assert "Read-only" in writer.stats.error
    disk.readonly = False
    assert writer.close()
    assert read_all(tmp_path) == (numbered(6), [])


def test_what_cannot_be_written_at_the_end_is_lost_and_counted(tmp_path: Path) -> None:
    disk = Disk()
    disk.readonly = True
    writer = JournalWriter(tmp_path, opener=disk.open)
    assert all(writer.append(record) for record in numbered(3))
    assert not writer.close()
    assert (writer.stats.lost, writer.stats.written, writer.stats.queue_bytes) == (3, 0, 0)
    assert homes(tmp_path) == []


def test_a_failed_sync_is_told(tmp_path: Path) -> None:
    disk = Disk()
    disk.no_sync = True
    writer = JournalWriter(tmp_path, retry_s=0.01, opener=disk.open)
    writer.append(b"one")
    assert not writer.flush()
    assert (writer.stats.written, writer.stats.unsynced, writer.stats.synced) == (1, 1, 0)
    assert "Input/output" in writer.stats.error
    disk.no_sync = False
    writer.append(b"two")
    assert writer.flush()
    assert (writer.stats.synced, writer.stats.error) == (1, "")
    assert not writer.close()
    assert read_all(tmp_path) == ([b"one", b"two"], [])


def test_a_journal_that_was_cleared_is_begun_anew(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path / "journal", retry_s=0.01)
    writer.append(b"gone")
    assert writer.flush()
    shutil.rmtree(tmp_path / "journal")
    writer.append(b"noticed")
    assert not writer.flush()
    writer.append(b"kept")
    assert writer.flush()
    assert len(homes(tmp_path / "journal")) == 1
    assert read_all(tmp_path / "journal") == ([b"kept"], [])
    writer.close()


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
    reader.delete(reader.finished(positions))
    assert homes(tmp_path) == []


KILLED = """
import sys
from pathlib import Path
from tutelage.traffic.journal import JournalWriter

writer = JournalWriter(Path(sys.argv[1]), segment_bytes=200_000)
number = 0
while True:
    for _ in range(37):
        while not writer.append(b"%08d" % number + b"." * (number % 3000)):
            pass
        number += 1
    if number % 5 == 0 and writer.flush():
        print(number, flush=True)
"""


@pytest.mark.chaos
@pytest.mark.parametrize("seed", range(5))
def test_kill_9_loses_no_acknowledged_record(tmp_path: Path, seed: int) -> None:
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    with child.stdout as acknowledgements:
        acknowledged = int(acknowledgements.readline())
        time.sleep(random.Random(seed).uniform(0.0, 0.4))
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        acknowledged = max([acknowledged, *map(int, acknowledgements.read().splitlines())])
    records, damaged = read_all(tmp_path)
    numbers = [int(record[:8]) for record in records]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= acknowledged > 0
    assert all(len(record) == 8 + number % 3000 for number, record in enumerate(records))
    assert {damage.reason for damage in damaged} <= {"torn"}
    assert len(damaged) <= 1
