"""How large the store is, part by part, what time it spans, and which versions wrote it."""

from dataclasses import asdict, dataclass
from typing import Any

import duckdb

from .canonical import CANONICAL_VERSION
from .queries import stats
from .retention import content_bytes
from .store import STORAGE_VERSION, Store


@dataclass(frozen=True)
class TableSize:
    """One table."""

    rows: int
    bytes: int
    """Compressed, on disk; in whole blocks, and tables may share one, so small ones look larger than they are."""


@dataclass(frozen=True)
class Details:
    """What `store stats` tells beside the totals."""

    content_bytes: int
    """Text of messages, tool sets and parameters, uncompressed: what `max_bytes` in [store] limits."""
    free_bytes: int
    """Inside the file, of removed rows; new rows take the place, `store compact` gives it back."""
    oldest_at: float | None
    """Start of the oldest call, Unix seconds."""
    newest_at: float | None
    tables: dict[str, TableSize]
    canonical_version: int
    """Of the names of messages; see docs/canonical-form.md."""
    storage_version: str
    """Oldest DuckDB that reads the file."""
    duckdb_version: str
    migrations: list[str]
    """Steps of the schema, in the order in which they were made."""


def detailed(store: Store) -> dict[str, Any]:
    """The totals of `queries.stats` and the details, as one object."""
    return asdict(stats(store)) | asdict(details(store))


def details(store: Store) -> Details:
    """Everything that takes a closer look. Scans all messages: for a person's question, not for a page."""
    with store.snapshot() as view:
        [(block, free)] = view.rows("SELECT block_size, free_blocks FROM pragma_database_size() LIMIT 1")
        tables = {}
        for name in view.tables():
            [(rows,)] = view.rows(f'SELECT count(*) FROM "{name}"')
            [(blocks,)] = view.rows(
                f"SELECT count(DISTINCT block_id) FROM pragma_storage_info('{name}') WHERE persistent AND block_id >= 0"
            )
            tables[name] = TableSize(rows, blocks * block)
        [(oldest, newest)] = view.rows("SELECT min(started_at), max(started_at) FROM calls")
        names = [name for (name,) in view.rows("SELECT name FROM migrations ORDER BY applied_at, rowid")]
    return Details(
        content_bytes=content_bytes(store),
        free_bytes=block * free,
        oldest_at=oldest,
        newest_at=newest,
        tables=tables,
        canonical_version=CANONICAL_VERSION,
        storage_version=STORAGE_VERSION,
        duckdb_version=duckdb.__version__,
        migrations=names,
    )
