"""Long readings see one moment; a file is exchanged only while nobody reads."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tutelage.traffic.errors import DataFolderLocked
from tutelage.traffic.lookup import ids_table
from tutelage.traffic.snapshots import ReadGate
from tutelage.traffic.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store.duckdb") as opened:
        opened.execute("INSERT INTO meta SELECT 'k' || i, 'v' FROM range(5000) t(i)")
        yield opened


def test_a_snapshot_stays_what_it_was(store: Store) -> None:
    with store.snapshot() as view:
        assert view.rows("SELECT count(*) FROM meta") == [(5000,)]
        store.execute("DELETE FROM meta")
        assert view.rows("SELECT count(*) FROM meta") == [(5000,)]
        assert view.join("SELECT key FROM meta JOIN batch ON key = id", ids_table(["k7", "x"])) == [("k7",)]
    assert store.value("SELECT count(*) FROM meta") == 0


def test_batches_give_every_row_once(store: Store) -> None:
    store.execute("DELETE FROM meta WHERE key LIKE 'k1%'")
    with store.snapshot() as view:
        found = [row for rows in view.batches("meta", "key", 700) for row in rows]
        assert sorted(found) == sorted(view.rows("SELECT key FROM meta"))
        assert list(view.batches("calls", "call_id")) == []
        assert {"calls", "messages", "meta"} <= set(view.tables())


def test_one_who_is_alone_waits_for_readers_and_gives_up(store: Store) -> None:
    gate = ReadGate()
    with gate.shared(), gate.shared(), pytest.raises(DataFolderLocked, match="Nothing has changed"), gate.alone(0.01):
        pass
    with gate.alone(0.01):
        pass


def test_readers_wait_for_one_who_is_alone() -> None:
    gate, order = ReadGate(), []
    entered = threading.Event()

    def read() -> None:
        entered.set()
        with gate.shared():
            order.append("reader")

    with gate.alone(1.0):
        reader = threading.Thread(target=read)
        reader.start()
        assert entered.wait(10)
        order.append("alone")
    reader.join(10)
    assert order == ["alone", "reader"]
