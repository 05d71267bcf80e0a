"""The store: one DuckDB file, opened for writing by one process, the control plane.

Invariants: one connection writes, and one lock serialises the transactions on it; reads outside a transaction take a
cursor of their own, so they see the last committed state and wait for nobody, but for the moment in which another file
is put in the store's place. Bulk rows come in as Arrow tables: no statement is run per row.

UUID columns are given back as text in canonical form; on the way in, 32 hex digits are accepted as well.
"""

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import pyarrow as pa

from .errors import DataFolderError, DataFolderLocked, StoreTooNew, TutelageError
from .migrations import check_known, migrate
from .snapshots import ReadGate, Snapshot

STORAGE_VERSION = "v1.5.0"
"""Oldest DuckDB that can read the file; from 1.3 on, message bodies are compressed several times better."""

BLOCK_BYTES = 1 << 16
"""Of a new file. With DuckDB's own 256 KiB, the parts of blocks that stay empty outweigh a small store's content."""

LOG_BYTES = 64 << 20, 256 << 20
"""Of the write-ahead log, before it is folded into the file: at least and at most. Folding compresses the last, partly
filled group of rows of each table anew: with DuckDB's own 16 MB, commits of short calls took twice the time.
"""
LOG_SHARE = 32
"""The log may grow to this part of the file. Names of messages are hashes, so new ones touch all of the index, which is
written anew when the log is folded, and read again afterwards: seconds where there are millions. An opened log that was
not folded takes about as long.
"""

Row = dict[str, Any]
Params = Sequence[Any] | Mapping[str, Any]


class Store:
    """An open store. Safe to use from several threads.

    Raises:
        DataFolderLocked: another process has it open.
        StoreTooNew: a newer program wrote it.
        DataFolderError: it is missing (read_only), cannot be written, or is no DuckDB file.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._connection = _connect(path, read_only)
        # Protects the connection while a transaction is on it; re-entrant so that a transaction's own statements pass.
        self._lock = threading.RLock()
        self._owner: int | None = None
        self._gate = ReadGate()
        self.removals = 0
        """How often rows have been removed: what was remembered of them before no longer holds."""
        try:
            if read_only:
                check_known(self._connection)
            else:
                migrate(self._connection)
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Write everything into the one file and release it. Safe to repeat."""
        with self._lock:
            self._connection.close()

    def query(self, sql: str, params: Params = ()) -> list[Row]:
        """All rows as dicts. Inside this thread's own transaction it sees the uncommitted rows."""
        with self._reading() as connection:
            return _as_dicts(connection.execute(sql, params or None))

    def arrow(self, sql: str, params: Params = ()) -> pa.Table:
        """All rows as one Arrow table; UUID columns should be cast to VARCHAR in the statement."""
        with self._reading() as connection:
            return connection.execute(sql, params or None).to_arrow_table()

    def rows(self, sql: str, params: Params = ()) -> list[tuple[Any, ...]]:
        """All rows as tuples, values as DuckDB gives them (UUID objects stay): the fast form for internal use."""
        with self._reading() as connection:
            return connection.execute(sql, params or None).fetchall()

    def value(self, sql: str, params: Params = ()) -> Any:
        """First column of the first row; None when there is no row."""
        with self._reading() as connection:
            found = connection.execute(sql, params or None).fetchone()
        return None if found is None else _plain(found[0])

    def execute(self, sql: str, params: Params = ()) -> int:
        """Run one changing statement, in its own transaction unless one is open; returns the number of rows changed."""
        with self._lock:
            return _changed(self._connection.execute(sql, params or None))

    def bulk(self, sql: str, batch: pa.Table) -> int:
        """Run one changing statement that reads the Arrow table under the name `batch`; returns rows changed."""
        with self._lock:
            return _changed(_over(self._connection, sql, batch))

    def pour(self, sql: str, batch: pa.Table) -> int:
        """`bulk` for a statement that names `batch` once: about a millisecond less for each statement.

        Raises duckdb.InvalidInputException when it names it twice.
        """
        with self._lock:
            return _changed(_over(self._connection, sql, batch.__arrow_c_stream__()))

    def join(self, sql: str, batch: pa.Table) -> list[tuple[Any, ...]]:
        """Rows of a query that reads the Arrow table under the name `batch`, which it names once; see `pour`."""
        with self._reading() as connection:
            return _over(connection, sql, batch.__arrow_c_stream__()).fetchall()

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """The store as it is now, for as long as the block takes; writers go on meanwhile."""
        with self._gate.shared(), self._connection.cursor() as cursor:
            cursor.execute("BEGIN TRANSACTION READ ONLY")
            try:
                yield Snapshot(cursor)
            finally:
                cursor.execute("ROLLBACK")

    @contextmanager
    def transaction(self) -> Iterator["Store"]:
        """All or nothing: commits at the end, rolls back when the block raises. Must not be nested."""
        with self._lock:
            if self._owner is not None:
                raise RuntimeError("A transaction is open in this thread already.")
            self._connection.begin()
            self._owner = threading.get_ident()
            try:
                yield self
                self._connection.commit()
            except BaseException:
                self._connection.rollback()
                raise
            finally:
                self._owner = None

    def bytes_on_disk(self) -> int:
        """Size of the database file and its write-ahead log, in bytes."""
        files = (self.path, self.path.with_name(self.path.name + ".wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def checkpoint(self) -> None:
        """Fold the write-ahead log into the database file."""
        with self._lock:
            self._connection.execute("CHECKPOINT")

    def exchange(self, draft: Path, fill: Callable[[duckdb.DuckDBPyConnection], None], wait_s: float = 30.0) -> None:
        """Have `fill` copy everything into the database `draft`, and go on with that file in place of the store's.

        Nobody writes from the first row that is copied; readers wait while the files change places. Killed at any
        moment, it leaves the old file or the new one, both whole. Raises DataFolderLocked when others read for longer
        than `wait_s` seconds; the store is as it was then.
        """
        with self._lock:
            if self._owner is not None:
                raise RuntimeError("A transaction is open in this thread.")
            fill(self._connection)
            with self._gate.alone(wait_s):
                # The log of the old file must not be found beside the new one.
                self._connection.execute("CHECKPOINT")
                self._connection.close()
                try:
                    _take_place(draft, self.path)
                finally:
                    self._connection = _connect(self.path, read_only=False)

    @contextmanager
    def _reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        if self._owner == threading.get_ident():
            yield self._connection
            return
        with self._gate.shared(), self._connection.cursor() as cursor:
            yield cursor


def _over(connection: duckdb.DuckDBPyConnection, sql: str, batch: object) -> duckdb.DuckDBPyConnection:
    """Run a statement that reads Arrow data under the name `batch`: DuckDB finds it in this function."""
    return connection.execute(sql)


def _changed(result: duckdb.DuckDBPyConnection) -> int:
    """How many rows a statement has changed."""
    found = result.fetchone()
    return found[0] if found and isinstance(found[0], int) else 0


def _take_place(draft: Path, path: Path) -> None:
    """Put a finished file in the place of another, to last through a loss of power."""
    wal = path.with_name(path.name + ".wal")
    if wal.exists():
        raise DataFolderError(f"{wal} is still there although everything was written into {path.name}. Try again.")
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


_CONFIG: dict[str, Any] = {
    "storage_compatibility_version": STORAGE_VERSION,
    "default_block_size": str(BLOCK_BYTES),
}


def _connect(path: Path, read_only: bool) -> duckdb.DuckDBPyConnection:
    try:
        if read_only:
            return duckdb.connect(path, read_only=True)
        return duckdb.connect(path, config=_CONFIG | {"checkpoint_threshold": f"{_log_bytes(path)}B"})
    except duckdb.Error as error:
        raise _explain(path, str(error)) from error


def _log_bytes(path: Path) -> int:
    try:
        size = path.stat().st_size
    except OSError:
        size = 0  # A new file; or one that cannot be opened, which connecting to it explains.
    return sorted((*LOG_BYTES, size // LOG_SHARE))[1]


def _explain(path: Path, message: str) -> TutelageError:
    if "lock" in message or "different configuration" in message:
        return DataFolderLocked(
            f"The store {path} is open in another process ({message.partition(': ')[2] or message}). Stop that process "
            "(`tutelage serve`?), or ask it through its admin API."
        )
    if "version number" in message or "newer version" in message:
        return StoreTooNew(
            f"The store {path} was written by a newer DuckDB than the one installed: {message} Upgrade tutelage."
        )
    return DataFolderError(
        f"The store {path} cannot be opened: {message} Check the path and its rights, or choose another data folder "
        "with --data."
    )


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, UUID) else value


def _as_dicts(result: duckdb.DuckDBPyConnection) -> list[Row]:
    names = [column[0] for column in result.description or ()]
    return [{name: _plain(value) for name, value in zip(names, row, strict=True)} for row in result.fetchall()]
