"""The writer of the journal over a disk with faults: nothing is lost silently, and nobody waits twice."""

import random
import threading
import time
from pathlib import Path

import pytest
from faulty_disk import BROKEN, FORBIDDEN, READ_ONLY, Disk, eventually, numbered, read_all, writer_on

from tutelage.traffic.journal import JournalWriter, Sync
from tutelage.traffic.journal_files import homes, segments_in


def test_records_reach_the_disk_without_a_flush(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path)
    for number in range(3):
        writer.append(b"%d" % number)
        assert eventually(lambda number=number: writer.stats.synced == number + 1)
        time.sleep(0.12)  # the thread has gone to sleep
    assert writer.close()


@pytest.mark.parametrize("sync", ["interval", "always", "os"])
def test_how_often_the_disk_is_synced(tmp_path: Path, sync: Sync) -> None:
    disk, began = Disk(), time.monotonic()
    writer = JournalWriter(tmp_path, sync=sync, interval_s=0.5, opener=disk.open)
    for number in range(20):
        writer.append(b"%d" % number)
        if sync == "always":
            assert eventually(lambda number=number: writer.stats.synced == number + 1)
        time.sleep(0.01)
    seconds = time.monotonic() - began
    if sync == "always":
        assert disk.count("sync") == 20
    else:
        assert disk.count("sync") <= (seconds / 0.5 + 1 if sync == "interval" else 0)
    assert writer.close()
    assert writer.stats.synced == (0 if sync == "os" else 20)


def test_the_caller_writes_and_does_nothing_else_on_the_disk(tmp_path: Path) -> None:
    disk = Disk()
    writer = writer_on(disk, tmp_path, segment_bytes=1000)
    disk.done.clear()
    for record in numbered(300):
        assert writer.append(record)
        assert writer.flush()
    assert writer.close()
    caller = threading.current_thread().name
    assert {what for what, thread in disk.done if thread == caller} == {"write"}
    assert disk.count("write", caller) == 300
    assert disk.count("open") >= len(segments_in(homes(tmp_path)[0])) - 1 > 20
    assert disk.count("write") == disk.count("open")  # the headers
    assert read_all(tmp_path) == (numbered(300), [])


def test_a_stalled_disk_costs_one_stall_and_not_one_for_each_call(tmp_path: Path) -> None:
    disk, caller = Disk(), threading.current_thread().name
    writer = writer_on(disk, tmp_path, retry_s=1.0)
    disk.done.clear()
    assert writer.append(numbered(1)[0])
    assert not writer.stats.behind
    disk.write_s = 0.05
    assert all(writer.append(record) for record in numbered(40, start=1))
    assert (writer.stats.stalls, writer.stats.behind, writer.stats.error) == (1, True, "")
    assert disk.count("write", caller) == 2
    assert eventually(lambda: writer.stats.queue_bytes == 0)
    disk.write_s = 0.0
    assert writer.append(numbered(1, start=41)[0])
    assert writer.flush()
    assert writer.stats.behind  # not before it has been quick for a second
    disk.now += 1.0
    assert writer.append(numbered(1, start=42)[0])
    assert eventually(lambda: not writer.stats.behind)
    assert writer.append(numbered(1, start=43)[0])
    assert disk.count("write", caller) == 3
    assert writer.close()
    assert (writer.stats.stalls, writer.stats.dropped, writer.stats.lost) == (1, 0, 0)
    assert read_all(tmp_path) == (numbered(44), [])


@pytest.mark.parametrize(("seconds", "stalls"), [(0.07, 0), (0.09, 1)])
def test_a_large_record_may_take_longer(tmp_path: Path, seconds: float, stalls: int) -> None:
    disk = Disk()
    writer = writer_on(disk, tmp_path)
    disk.write_s = seconds
    assert writer.append(bytes(3 << 20))
    assert writer.stats.stalls == stalls
    assert writer.close()


def test_a_hung_disk_fills_the_queue_and_holds_up_nobody(tmp_path: Path) -> None:
    disk = Disk()
    writer = writer_on(disk, tmp_path)
    disk.write_s = 1.0
    assert writer.append(b"stalled")
    disk.write_s = 0.0
    disk.gate.clear()
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
    assert read_all(tmp_path) == ([b"stalled", *taken, b"again"], [])


@pytest.mark.parametrize("room", [0, 1, 8, 50, 120, 121, 1000])
def test_a_full_disk_is_waited_out(tmp_path: Path, room: int) -> None:
    disk = Disk()
    disk.room = room
    writer = writer_on(disk, tmp_path)
    contents = numbered(100)
    taken = [record for record in contents if writer.append(record)]
    stats = writer.stats
    assert "No space left" in stats.error
    assert stats.lost == 100 - len(taken) > 0
    assert (stats.dropped, stats.stalls, stats.behind) == (0, 0, True)
    assert len(taken) == 50 + max(0, room - 8) // 112
    assert len(homes(tmp_path)) == 1
    assert len(segments_in(homes(tmp_path)[0])) <= 2
    disk.room = None
    assert writer.flush()
    assert (writer.stats.error, writer.stats.behind) == ("", False)
    assert writer.append(b"again")
    assert writer.close()
    assert read_all(tmp_path) == ([*taken, b"again"], [])


def test_a_torn_record_that_cannot_be_cut_is_not_written_twice(tmp_path: Path) -> None:
    disk = Disk()
    disk.room, disk.no_truncate = 8 + 112 * 2 + 30, True
    writer = writer_on(disk, tmp_path)
    assert all(writer.append(record) for record in numbered(5))
    assert writer.stats.behind
    disk.room = None
    assert writer.close()
    records, damaged = read_all(tmp_path)
    assert records == numbered(5)
    assert [(damage.size, damage.reason) for damage in damaged] == [(30, "torn")]


@pytest.mark.parametrize("refusal", [READ_ONLY, FORBIDDEN, BROKEN])
def test_a_disk_that_refuses_is_waited_out(tmp_path: Path, refusal: OSError) -> None:
    disk = Disk()
    writer = writer_on(disk, tmp_path)
    assert all(writer.append(record) for record in numbered(3))
    assert writer.flush()
    disk.no_open = disk.no_write = refusal
    assert all(writer.append(record) for record in numbered(50, start=3))
    assert not writer.append(b"too much")
    assert not writer.flush(0.05)
    assert (writer.stats.error, writer.stats.lost) == (str(refusal), 1)
    disk.no_open = disk.no_write = None
    assert eventually(lambda: not writer.stats.behind)  # found out without any traffic
    assert writer.append(numbered(1, start=53)[0])
    assert writer.close()
    assert read_all(tmp_path) == (numbered(54), [])


def test_while_no_segment_can_be_made_the_one_at_hand_grows(tmp_path: Path) -> None:
    disk = Disk()
    writer = writer_on(disk, tmp_path, segment_bytes=1000)
    disk.no_open = READ_ONLY
    for record in numbered(30):
        assert writer.append(record)
        assert writer.flush()
    assert (writer.stats.error, writer.stats.behind) == ("", False)
    assert [path.stat().st_size for path in segments_in(homes(tmp_path)[0])] == [8 + 30 * 112]
    disk.no_open = None
    for record in numbered(10, start=30):
        assert writer.append(record)
        assert writer.flush()
    assert len(segments_in(homes(tmp_path)[0])) > 1
    assert writer.close()
    assert read_all(tmp_path) == (numbered(40), [])


def test_a_record_larger_than_the_queue_is_lost_only_when_it_cannot_be_written(tmp_path: Path) -> None:
    disk = Disk()
    writer = writer_on(disk, tmp_path)
    assert writer.append(bytes(10_000))
    disk.room = 5000
    assert not writer.append(bytes(10_000))
    assert writer.stats.lost == 1
    disk.room = None
    assert eventually(lambda: not writer.stats.behind)
    assert writer.close()
    assert read_all(tmp_path) == ([bytes(10_000)], [])


def test_what_cannot_be_written_at_the_end_is_lost_and_counted(tmp_path: Path) -> None:
    disk = Disk()
    disk.no_open = READ_ONLY
    writer = writer_on(disk, tmp_path)
    assert all(writer.append(record) for record in numbered(3))
    assert not writer.close()
    assert (writer.stats.lost, writer.stats.written, writer.stats.queue_bytes) == (3, 0, 0)
    assert homes(tmp_path) == []


def test_a_failed_sync_is_told(tmp_path: Path) -> None:
    disk = Disk()
    writer = writer_on(disk, tmp_path)
    disk.no_sync, disk.no_open = True, BROKEN
    writer.append(b"one")
    assert not writer.flush()
    assert (writer.stats.written, writer.stats.unsynced, writer.stats.synced) == (1, 1, 0)
    assert "Input/output" in writer.stats.error
    disk.no_sync, disk.no_open = False, None
    writer.append(b"two")
    assert writer.flush()
    assert (writer.stats.synced, writer.stats.error) == (1, "")
    assert not writer.close()
    assert read_all(tmp_path) == ([b"one", b"two"], [])


@pytest.mark.parametrize("seed", range(6))
def test_whatever_the_disk_does_each_record_is_there_once_and_in_order(tmp_path: Path, seed: int) -> None:
    disk, chance, taken = Disk(), random.Random(seed), list[bytes]()
    writer = writer_on(disk, tmp_path, retry_s=0.001, segment_bytes=2000)
    for record in numbered(1000):
        if chance.random() < 0.02:
            with disk.lock:
                disk.room = chance.choice([None, None, chance.randrange(2000)])
            disk.write_s = chance.choice([0.0, 0.0, 0.05])
            disk.no_open = chance.choice([None, None, READ_ONLY])
            disk.no_sync = chance.random() < 0.2
            time.sleep(chance.choice([0.0, 0.002]))
        if writer.append(record):
            taken.append(record)
        else:
            time.sleep(0.001)
    with disk.lock:
        disk.room, disk.write_s, disk.no_open, disk.no_sync = None, 0.0, None, False
    assert writer.flush() or writer.flush()
    writer.close()
    stats = writer.stats
    assert (stats.appended, stats.written, stats.queue_bytes) == (len(taken), len(taken), 0)
    assert stats.synced + stats.unsynced == len(taken)
    assert stats.lost + stats.dropped == 1000 - len(taken)
    assert read_all(tmp_path) == (taken, [])
