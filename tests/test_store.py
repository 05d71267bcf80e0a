"""The store's door: who may open it, what a transaction means, what comes back."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pytest

from tutelage.traffic.errors import DataFolderError, DataFolderLocked
from tutelage.traffic.store import Store

HOLD = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
NOBODY = 65534


@pytest.fixture
def store(tmp_path: Path):
    with Store(tmp_path / "store.duckdb") as opened:
        yield opened


@pytest.mark.parametrize("read_only", [False, True])
def test_a_store_that_another_process_holds_is_locked(tmp_path: Path, read_only: bool) -> None:
    path = tmp_path / "store.duckdb"
    Store(path).close()
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(DataFolderLocked, match=r"open in another process.*PID \d+.*admin API"):
            Store(path, read_only=read_only)
        holder.communicate("")
    Store(path, read_only=read_only).close()


def test_a_folder_without_write_permission_is_an_error_that_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir(mode=0o500)
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)  # The superuser may write anywhere.
    try:
        with pytest.raises(DataFolderError, match=r"cannot be opened.*rights, or choose another data folder"):
            Store(folder / "store.duckdb")
    finally:
        if root:
            os.seteuid(0)


def test_missing_foreign_and_misplaced_files_are_explained(tmp_path: Path) -> None:
    with pytest.raises(DataFolderError, match="does not exist"):
        Store(tmp_path / "none.duckdb", read_only=True)
    (tmp_path / "text.duckdb").write_bytes(b"no database " * 2000)
    with pytest.raises(DataFolderError, match="not a valid DuckDB"):
        Store(tmp_path / "text.duckdb")
    with pytest.raises(DataFolderError):
        Store(tmp_path / "no" / "such" / "store.duckdb")


def test_the_log_of_a_larger_file_may_grow_further(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def limit() -> str:
        with Store(tmp_path / "store.duckdb") as store:
            return store.value("SELECT current_setting('checkpoint_threshold')")

    assert limit() == "64.0 MiB"
    monkeypatch.setattr("tutelage.traffic.store.LOG_BYTES", (1 << 10, 1 << 40))
    size = (tmp_path / "store.duckdb").stat().st_size
    assert limit() == f"{size * 10 // 32 // 1024 / 10} KiB"  # cut, not rounded
    monkeypatch.setattr("tutelage.traffic.store.LOG_BYTES", (1 << 10, 2 << 10))
    assert limit() == "2.0 KiB"


def nest(store: Store) -> None:
    with store.transaction():
        store.execute("INSERT INTO meta VALUES ('a', '1')")
        assert store.value("SELECT value FROM meta") == "1"
        with store.transaction():
            raise AssertionError("a second transaction was opened")


def test_a_transaction_is_all_or_nothing(store: Store) -> None:
    with pytest.raises(RuntimeError, match="A transaction is open"):
        nest(store)
    assert store.value("SELECT value FROM meta") is None
    with store.transaction():
        store.execute("INSERT INTO meta VALUES ('a', '1')")
    assert store.query("SELECT * FROM meta") == [{"key": "a", "value": "1"}]


def test_other_threads_see_the_committed_state_and_do_not_wait(store: Store) -> None:
    seen: list[int] = []
    with store.transaction():
        store.execute("INSERT INTO meta VALUES ('a', '1')")
        reader = threading.Thread(target=lambda: seen.append(store.value("SELECT count(*) FROM meta")))
        reader.start()
        reader.join(timeout=10)
        assert seen == [0]
    assert store.value("SELECT count(*) FROM meta") == 1


def test_threads_may_write_and_read_at_once(store: Store) -> None:
    def work(name: int) -> None:
        for step in range(20):
            batch = pa.table({"key": [f"{name}-{step}"], "value": ["x"]})
            with store.transaction():
                store.bulk("INSERT INTO meta SELECT * FROM batch", batch)
            assert store.join("SELECT count(*) FROM meta JOIN batch USING (key)", batch) == [(1,)]

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.value("SELECT count(*) FROM meta") == 80


def test_ids_come_back_as_text_and_go_in_with_or_without_hyphens(store: Store) -> None:
    text = "0190a000-0000-7000-8000-000000000001"
    assert store.execute("INSERT INTO calls (call_id, started_at) VALUES (?, 1)", [text]) == 1
    found = store.query("SELECT call_id FROM calls WHERE call_id = CAST($id AS UUID)", {"id": text.replace("-", "")})
    assert found == [{"call_id": text}]
    assert store.value("SELECT call_id FROM calls") == text
    assert store.arrow("SELECT call_id::VARCHAR AS id FROM calls").to_pylist() == [{"id": text}]


def test_it_is_on_disk_after_closing_and_can_be_read_only(tmp_path: Path) -> None:
    path = tmp_path / "store.duckdb"
    with Store(path) as store:
        store.execute("INSERT INTO meta VALUES ('a', '1')")
        store.checkpoint()
        assert store.bytes_on_disk() >= path.stat().st_size > 0
    with Store(path, read_only=True) as store:
        assert store.value("SELECT value FROM meta") == "1"
    assert [file.name for file in tmp_path.iterdir()] == ["store.duckdb"]
