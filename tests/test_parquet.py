"""Exports are of one moment, whole or not there, and taken up where they were left."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tutelage.traffic import parquet
from tutelage.traffic.errors import BadInput
from tutelage.traffic.ingest import Ingest
from tutelage.traffic.parquet import MANIFEST, export_parquet, read_manifest
from tutelage.traffic.records import CallRecord, encode
from tutelage.traffic.store import Store

Make = Callable[..., CallRecord]
HELLO = {"role": "assistant", "content": "hello"}


class Killed(Exception):
    """Stands for the end of the process."""


def add(store: Store, make: Make, name: str) -> None:
    Ingest(store).apply([encode(make([{"role": "user", "content": name}], HELLO))], {})


@pytest.fixture
def store(tmp_path: Path, make_call: Make) -> Iterator[Store]:
    with Store(tmp_path / "store.duckdb") as opened:
        for number in range(20):
            add(opened, make_call, f"q{number}")
        yield opened


def test_all_tables_come_out_as_they_are(store: Store, tmp_path: Path) -> None:
    report = export_parquet(store, tmp_path / "out", 5.0)
    manifest = read_manifest(tmp_path / "out")
    assert manifest.created_at == 5.0
    assert report.rows["calls"] == manifest.rows("calls") == 20
    with store.snapshot() as view:
        assert set(manifest.tables) == set(view.tables())
    for table in ("calls", "messages", "migrations"):
        found = duckdb.sql(f"SELECT * FROM '{tmp_path}/out/{table}.parquet' ORDER BY ALL").fetchall()
        assert found == store.rows(f"SELECT * FROM {table} ORDER BY ALL")
    assert sorted(path.suffix for path in (tmp_path / "out").iterdir()) == [".json"] + [".parquet"] * report.files


def test_a_killed_export_is_no_export_and_goes_on_where_it_was(store: Store, tmp_path: Path) -> None:
    folder, seen = tmp_path / "out", 0

    def die(done: int, total: int) -> None:
        nonlocal seen
        seen += 1
        if seen == 4:
            raise Killed

    with pytest.raises(Killed):
        export_parquet(store, folder, 1.0, die)
    with pytest.raises(BadInput, match="no finished export"):
        read_manifest(folder)
    report = export_parquet(store, folder, 2.0)
    assert report.kept == 4
    assert read_manifest(folder).created_at == 2.0


def test_files_of_another_moment_are_written_anew(store: Store, tmp_path: Path, make_call: Make) -> None:
    folder = tmp_path / "out"
    first = export_parquet(store, folder, 1.0)
    again = export_parquet(store, folder, 2.0)
    assert again.kept == again.files == first.files
    add(store, make_call, "later")
    later = export_parquet(store, folder, 3.0)
    # calls, messages, trajectories; the calls that are not counted yet, and what is new for those who remember runs
    assert later.files - later.kept == 5
    assert read_manifest(folder).rows("calls") == 21


def test_the_moment_is_that_of_the_beginning(store: Store, tmp_path: Path, make_call: Make) -> None:
    report = export_parquet(store, tmp_path / "out", 1.0, lambda done, total: add(store, make_call, f"at {done}"))
    assert report.rows["calls"] == read_manifest(tmp_path / "out").rows("calls") == 20
    assert store.value("SELECT count(*) FROM calls") > 20


def test_large_tables_are_split(store: Store, tmp_path: Path) -> None:
    pieces = list(parquet._pieces({"calls": parquet.SPLIT_ROWS + 1, "messages": 3, "trajectories": 10**9}))
    assert [piece.table for piece in pieces].count("calls") == 16
    assert len(pieces) == 18
    with store.snapshot() as view:
        assert sum(parquet._content(view, piece)[0] for piece in pieces if piece.table == "calls") == 20


def damage_file(folder: Path) -> None:
    (folder / "calls.parquet").write_bytes(b"x")


def lose_file(folder: Path) -> None:
    (folder / "calls.parquet").unlink()


def other_version(folder: Path) -> None:
    path = folder / MANIFEST
    path.write_text(path.read_text().replace('"version": 1', '"version": 9'))


def no_json(folder: Path) -> None:
    (folder / MANIFEST).write_text("{")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (damage_file, "not what was exported"),
        (lose_file, "lost the file calls.parquet"),
        (other_version, "Expected an export of the form"),
        (no_json, "cannot be read"),
    ],
)
def test_a_damaged_export_is_refused(store: Store, tmp_path: Path, harm: Any, words: str) -> None:
    folder = tmp_path / "out"
    export_parquet(store, folder, 1.0)
    harm(folder)
    with pytest.raises(BadInput, match=words):
        read_manifest(folder)


def test_a_folder_with_other_files_is_left_alone(store: Store, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "letter.txt").write_text("dear")
    with pytest.raises(BadInput, match="holds other files"):
        export_parquet(store, tmp_path / "out", 1.0)
