"""Reading a store over a long time, and putting another file in its place: what lets the two get along.

A `Snapshot` sees the store as it was at one moment, however long the reading takes, and delays no writer. The
`ReadGate` counts those who read, so that the file is changed only while nobody does: DuckDB would go on with the old
file as long as one reader of this process has it open.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import duckdb
import pyarrow as pa

from .errors import DataFolderLocked


class Snapshot:
    """One moment of a store, read-only. For one thread; see `Store.snapshot`."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection) -> None:
        self._cursor = cursor

    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows as tuples, values as DuckDB gives them."""
        return self._cursor.execute(sql, params or None).fetchall()

    def join(self, sql: str, batch: pa.Table) -> list[tuple[Any, ...]]:
        """Rows of a query that reads the Arrow table under the name `batch`."""
        self._cursor.register("batch", batch)
        try:
            return self.rows(sql)
        finally:
            self._cursor.unregister("batch")

    def batches(self, table: str, columns: str, size: int = 2_048) -> Iterator[list[tuple[Any, ...]]]:
        """All rows of a table, at most `size` at a time."""
        [(last,)] = self.rows(f"SELECT max(rowid) FROM {table}")
        for start in range(0, -1 if last is None else last + 1, size):
            if rows := self.rows(f"SELECT {columns} FROM {table} WHERE rowid >= {start} AND rowid < {start + size}"):
                yield rows

    def tables(self) -> list[str]:
        """Names of the store's tables, in order."""
        sql = "SELECT table_name FROM duckdb_tables() WHERE NOT temporary AND schema_name = 'main' ORDER BY 1"
        return [name for (name,) in self.rows(sql)]


class ReadGate:
    """Any number of readers, or one who is alone. A thread may read inside its own reading."""

    def __init__(self) -> None:
        self._readers = 0
        self._changed = threading.Condition()

    @contextmanager
    def shared(self) -> Iterator[None]:
        """While one reads."""
        with self._changed:
            self._readers += 1
        try:
            yield
        finally:
            with self._changed:
                self._readers -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self, wait_s: float) -> Iterator[None]:
        """While nobody reads; new readers wait. Raises DataFolderLocked when others read for `wait_s` seconds on."""
        until = time.monotonic() + wait_s
        with self._changed:
            while self._readers:
                if not self._changed.wait(until - time.monotonic()):
                    raise DataFolderLocked(
                        f"The store was being read for {wait_s:g} s without a pause, so its file could not be "
                        "exchanged. Nothing has changed; try again when fewer look at it."
                    )
            yield
