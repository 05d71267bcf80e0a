"""Giving disk space back: the store is copied into a new file, which then takes the old one's place.

DuckDB reuses the space of deleted rows but hardly ever makes its file smaller. The new file is written under another
name and is whole before it gets the store's (see `Store.exchange`), so being killed costs nothing but the attempt.
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb

from .errors import DataFolderError
from .store import Store

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class CompactReport:
    """What it brought."""

    bytes_before: int
    bytes_after: int
    seconds: float


def compact(store: Store, progress: Progress = lambda done, total: None) -> CompactReport:
    """Copy the store into a file without gaps. Nobody can write meanwhile; `progress` is told rows done and in all.

    Raises DataFolderError when the disk has no room for the copy, DataFolderLocked when others read all the time.
    """
    started, before = time.perf_counter(), store.bytes_on_disk()
    free = shutil.disk_usage(store.path.parent).free
    if free < before:
        raise DataFolderError(
            f"Expected room for a second copy of the store, {before} bytes, but the disk has {free} left. Free some, "
            "or remove old calls first with: tutelage store prune"
        )
    draft = store.path.with_name(f".{store.path.name}.compact")
    try:
        store.exchange(draft, lambda connection: _copy(connection, draft, progress))
    finally:
        _remove(draft)
    return CompactReport(before, store.bytes_on_disk(), time.perf_counter() - started)


def _copy(connection: duckdb.DuckDBPyConnection, draft: Path, progress: Progress) -> None:
    _remove(draft)  # of an attempt that was killed
    Store(draft).close()  # the tables, made as for every new store
    connection.execute(f"ATTACH '{str(draft).replace(chr(39), chr(39) * 2)}' AS draft")
    try:
        names = [name for (name,) in connection.execute(_TABLES).fetchall()]
        counts = {name: _count(connection, name) for name in names}
        done = 0
        for name in names:
            connection.execute(f'DELETE FROM draft.main."{name}"')  # the list of migrations has rows already
            connection.execute(f'INSERT INTO draft.main."{name}" BY NAME SELECT * FROM main."{name}"')
            if _count(connection, f'draft.main."{name}"') != counts[name]:
                raise RuntimeError(f"The copy of {name} has not as many rows as the table.")
            done += counts[name]
            progress(done, sum(counts.values()))
        connection.execute("CHECKPOINT draft")
    finally:
        connection.execute("DETACH draft")


_TABLES = """
SELECT table_name FROM duckdb_tables() WHERE database_name = current_database() AND NOT temporary ORDER BY table_name
"""


def _count(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    [[rows]] = connection.execute(f"SELECT count(*) FROM {table}").fetchall()
    return rows


def _remove(draft: Path) -> None:
    for path in (draft, draft.with_name(draft.name + ".wal")):
        path.unlink(missing_ok=True)
