"""The copy has every row, takes less room, and being killed costs nothing."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tutelage.traffic.compacting import compact
from tutelage.traffic.errors import DataFolderLocked
from tutelage.traffic.ingest import Ingest
from tutelage.traffic.records import CallRecord, encode
from tutelage.traffic.retention import Keep, Rules, prune
from tutelage.traffic.store import Store
from tutelage.traffic.verify import verify

Make = Callable[..., CallRecord]
DAY = 86_400.0


def record(make: Make, number: int) -> CallRecord:
    noise = os.urandom(10_000).hex()  # does not compress well, and outweighs the blocks that each table begins
    return make(
        [{"role": "user", "content": f"{number} {noise}"}],
        {"role": "assistant", "content": noise},
        started_at=number * DAY,
    )


def contents(store: Store) -> dict[str, list[Any]]:
    with store.snapshot() as view:
        return {table: view.rows(f"SELECT * FROM {table} ORDER BY ALL") for table in view.tables()}


@pytest.fixture
def store(tmp_path: Path, make_call: Make) -> Iterator[Store]:
    with Store(tmp_path / "store.duckdb") as opened:
        Ingest(opened).apply([encode(record(make_call, number)) for number in range(300)], {})
        yield opened


def test_removed_rows_give_their_room_back(store: Store, make_call: Make, tmp_path: Path) -> None:
    store.checkpoint()
    full = store.bytes_on_disk()
    prune(store, Rules(Keep(days=30.0)), 300 * DAY)
    before, seen = contents(store), []
    report = compact(store, lambda done, total: seen.append((done, total)))
    assert report.bytes_after == store.bytes_on_disk() < full / 2
    assert contents(store) == before
    assert seen[-1][0] == seen[-1][1] == sum(map(len, before.values()))
    assert verify(store).found == 0
    assert [path.name for path in tmp_path.iterdir()] == ["store.duckdb"]
    ingest = Ingest(store)
    assert ingest.apply([encode(record(make_call, 301))], {}).calls == 1
    store.close()
    with Store(tmp_path / "store.duckdb") as again:
        assert again.value("SELECT count(*) FROM calls") == len(before["calls"]) + 1
        assert verify(again).found == 0


def test_the_schema_is_that_of_a_new_store(store: Store) -> None:
    sql = "SELECT table_name, sql FROM duckdb_tables() ORDER BY 1"
    before = store.rows(sql)
    compact(store)
    assert store.rows(sql) == before
    with pytest.raises(Exception, match=r"[Dd]uplicate key"):
        store.execute("INSERT INTO calls SELECT * FROM calls LIMIT 1")


def test_while_somebody_reads_all_the_time_nothing_changes(store: Store, tmp_path: Path) -> None:
    before = contents(store)
    with store.snapshot(), pytest.raises(DataFolderLocked, match="Nothing has changed"):
        store.exchange(tmp_path / "draft", lambda connection: None, wait_s=0.01)
    assert contents(store) == before


def test_a_copy_that_fails_leaves_the_store(store: Store, tmp_path: Path) -> None:
    def fail(done: int, total: int) -> None:
        raise OSError("the disk is gone")

    before = contents(store)
    with pytest.raises(OSError, match="disk is gone"):
        compact(store, fail)
    assert contents(store) == before
    assert not list(tmp_path.glob(".*"))
    compact(store)
    assert contents(store) == before


_CODE = """
import os, signal, sys
from pathlib import Path
from tutelage.traffic.compacting import compact
from tutelage.traffic.store import Store
steps = int(sys.argv[2])
def progress(done, total):
    global steps
    steps -= 1
    if steps == 0:
        os.kill(os.getpid(), signal.SIGKILL)
store = Store(Path(sys.argv[1]))
compact(store, progress)
"""


@pytest.mark.parametrize("steps", [1, 4, 9])
def test_killed_in_the_middle_the_old_file_is_there(store: Store, tmp_path: Path, steps: int) -> None:
    before = contents(store)
    store.close()
    path = tmp_path / "store.duckdb"
    done = subprocess.run([sys.executable, "-c", _CODE, str(path), str(steps)], timeout=120)
    assert done.returncode == -signal.SIGKILL
    with Store(path) as again:
        assert contents(again) == before
        compact(again)
        assert contents(again) == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["store.duckdb"]
