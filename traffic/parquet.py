"""The whole store as Parquet files, of one moment: for notebooks, for keeping, for another data folder.

Invariant: `manifest.json` is written last, so where there is one, everything it names is whole. An export that was
killed is taken up again: a file whose content the store would still give (same rows by count and by the sum of their
hashes) stays, all others are written anew, so every file belongs to the one moment of the manifest.
"""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from .canonical import CANONICAL_VERSION
from .errors import BadInput, DataFolderError
from .layout import publish_json
from .snapshots import Snapshot
from .store import Store

MANIFEST = "manifest.json"
FORMAT = "tutelage-store"
VERSION = 1
SPLIT_ROWS = 500_000
"""Tables of messages and calls with more rows are split in 16, so that less is lost when an export is killed."""
_SPLIT = {"messages": "message_id", "calls": "call_id"}
Progress = Callable[[int, int], None]


class Part(msgspec.Struct, frozen=True):
    """One file."""

    file: str
    rows: int
    content: str
    """Sum of the hashes of its rows."""
    digest: str
    """BLAKE2b (16 bytes, hex) of the file."""


class Manifest(msgspec.Struct, frozen=True):
    """What was exported. `migrations` name the schema, `canonical` is the version of the names of messages."""

    format: str
    version: int
    created_at: float
    canonical: int
    migrations: list[str]
    tables: dict[str, list[Part]]

    def rows(self, table: str) -> int:
        """Rows of a table."""
        return sum(part.rows for part in self.tables.get(table, ()))


@dataclass(frozen=True)
class ParquetReport:
    """What was written."""

    path: str
    rows: dict[str, int]
    """By table."""
    files: int
    kept: int
    """Files that an earlier attempt had left and that were still right."""
    bytes: int
    seconds: float


class _Piece(NamedTuple):
    """What becomes one file."""

    table: str
    file: str
    where: str


def export_parquet(
    store: Store, folder: Path, now: float, progress: Progress = lambda done, total: None
) -> ParquetReport:
    """Write all tables into `folder`, which is created; `progress` is told rows done and in all.

    Raises DataFolderError when the folder cannot be written, BadInput when it holds something else.
    """
    started = time.perf_counter()
    earlier = _earlier(folder)
    with store.snapshot() as view:
        tables: dict[str, list[Part]] = {}
        counts = {table: _count(view, table) for table in view.tables()}
        kept = done = 0
        for piece in _pieces(counts):
            part = _known(view, piece, folder, earlier)
            kept += part is not None
            if part is None:
                part = _write(view, piece, folder)
            tables.setdefault(piece.table, []).append(part)
            # Noted file by file, under another name than the manifest: what is there when this is killed, counts.
            earlier[part.file] = part
            publish_json(folder / f".{MANIFEST}", msgspec.to_builtins(list(earlier.values())))
            done += part.rows
            progress(done, sum(counts.values()))
        names = [name for (name,) in view.rows("SELECT name FROM migrations ORDER BY applied_at, name")]
    manifest = Manifest(FORMAT, VERSION, now, CANONICAL_VERSION, names, tables)
    _drop_others(folder, {part.file for parts in tables.values() for part in parts})
    publish_json(folder / MANIFEST, msgspec.to_builtins(manifest))
    (folder / f".{MANIFEST}").unlink()
    parts = [part for found in tables.values() for part in found]
    size = sum((folder / part.file).stat().st_size for part in parts)
    return ParquetReport(str(folder), counts, len(parts), kept, size, time.perf_counter() - started)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of an export. Raises BadInput."""
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except OSError as error:
        raise BadInput(f"{folder} is no finished export: it has no {MANIFEST}. Run the export again.") from error
    except msgspec.MsgspecError as error:
        raise BadInput(f"{folder / MANIFEST} cannot be read: {error}. Export anew.") from error
    if (manifest.format, manifest.version, manifest.canonical) != (FORMAT, VERSION, CANONICAL_VERSION):
        raise BadInput(
            f"Expected an export of the form {FORMAT} {VERSION} with message names of version {CANONICAL_VERSION}, got "
            f"{manifest.format} {manifest.version} with {manifest.canonical}. Export anew with this version."
        )
    for part in (part for parts in manifest.tables.values() for part in parts):
        if Path(part.file).name != part.file or not (folder / part.file).is_file():
            raise BadInput(f"The export {folder} has lost the file {part.file}. Export anew.")
        if _digest(folder / part.file) != part.digest:
            raise BadInput(f"The file {folder / part.file} is not what was exported. Copy it again, or export anew.")
    return manifest


def _earlier(folder: Path) -> dict[str, Part]:
    """Files that an attempt that was killed, or an earlier export, has left."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        names = {path.name for path in folder.iterdir()}
    except OSError as error:
        raise DataFolderError(f"{folder} cannot be written: {error.strerror}. Choose another folder.") from error
    ours = {MANIFEST, f".{MANIFEST}"}
    if names and not names & ours and any(not name.startswith(".") for name in names):
        raise BadInput(f"The folder {folder} holds other files. Choose an empty or a new one for the export.")
    try:
        if f".{MANIFEST}" in names:
            parts = msgspec.json.decode((folder / f".{MANIFEST}").read_bytes(), type=list[Part])
        elif MANIFEST in names:
            parts = [part for found in read_manifest(folder).tables.values() for part in found]
        else:
            return {}
    except (msgspec.MsgspecError, BadInput):
        return {}
    # Files change from here on.
    (folder / MANIFEST).unlink(missing_ok=True)
    return {part.file: part for part in parts}


def _pieces(counts: dict[str, int]) -> Iterator[_Piece]:
    for table, rows in counts.items():
        if table in _SPLIT and rows > SPLIT_ROWS:
            for digit in "0123456789abcdef":
                yield _Piece(table, f"{table}-{digit}.parquet", f"WHERE right({_SPLIT[table]}::VARCHAR, 1) = '{digit}'")
        else:
            yield _Piece(table, f"{table}.parquet", "")


def _known(view: Snapshot, piece: _Piece, folder: Path, earlier: dict[str, Part]) -> Part | None:
    """The file of the piece if it is there and the store would give the same."""
    part = earlier.get(piece.file)
    if part is None or not (folder / part.file).is_file() or _digest(folder / part.file) != part.digest:
        return None
    return part if _content(view, piece) == (part.rows, part.content) else None


def _write(view: Snapshot, piece: _Piece, folder: Path) -> Part:
    rows, content = _content(view, piece)
    draft, path = folder / f".{piece.file}", folder / piece.file
    target = str(draft).replace("'", "''")
    view.rows(f"COPY (SELECT * FROM \"{piece.table}\" {piece.where}) TO '{target}' (FORMAT parquet, COMPRESSION zstd)")
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    draft.replace(path)
    return Part(piece.file, rows, content, _digest(path))


def _content(view: Snapshot, piece: _Piece) -> tuple[int, str]:
    sql = f'SELECT count(*), coalesce(sum(hash(t)), 0)::VARCHAR FROM "{piece.table}" t {piece.where}'
    [found] = view.rows(sql)
    return found


def _count(view: Snapshot, table: str) -> int:
    [(rows,)] = view.rows(f'SELECT count(*) FROM "{table}"')
    return rows


def _digest(path: Path) -> str:
    state: Any = blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            state.update(block)
    return state.hexdigest()


def _drop_others(folder: Path, wanted: set[str]) -> None:
    """Remove our files of an earlier export that are no part of this one."""
    for path in folder.glob("*.parquet"):
        if path.name not in wanted:
            path.unlink()
    for path in folder.glob(".*.parquet"):
        path.unlink()
