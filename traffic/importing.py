"""Calls from other logs into the store, by way of call records and the ordinary ingest: nothing is written otherwise.

Safe to repeat: a call's id follows from its log, and calls that the store has are left alone. Killed half-way, it goes
on where it was when it is run again. Odd rows are skipped, counted by their reason and never stop the import.
"""

import gzip
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from . import import_chat, import_langfuse, import_litellm, import_openai, import_own
from .canonical import canonical, loads
from .errors import BadInput
from .imported import Exchange, Skip, call_id_of, record_of
from .lookup import ids_table
from .parquet import MANIFEST
from .records import CallRecord
from .store import Store

OWN = "own"
FORMS = {"langfuse": import_langfuse, "openai": import_openai, "litellm": import_litellm, "chat": import_chat}
"""In the order in which they are tried when nobody says which it is."""
SHOWN = 20
"""Skipped rows that are named one by one."""
_BATCH = 400
_BATCH_BYTES = 8 << 20
_PEEK = 20
"""Rows that are looked at to tell the form."""
_ODD = (BadInput, ValueError, TypeError, AttributeError, KeyError, RecursionError, OverflowError)
Progress = Callable[[int, int], None]


class Intake(Protocol):
    """Takes records into the store, all of them before it returns."""

    def __call__(self, records: Sequence[CallRecord], /) -> object: ...


@dataclass(frozen=True)
class Skipped:
    """One row that was not imported."""

    row: int
    """From 1, in the order of the file."""
    reason: str


@dataclass
class ImportReport:
    """What became of a file."""

    form: str
    rows: int = 0
    calls: int = 0
    """Calls that the rows hold."""
    new: int = 0
    known: int = 0
    """Calls that the store had already, or that came twice."""
    skipped: dict[str, int] = field(default_factory=dict)
    """Rows, or calls in them, by the reason why they were left out."""
    examples: list[Skipped] = field(default_factory=list)
    """The first of them."""
    seconds: float = 0.0

    def skip(self, row: int, reason: str) -> None:
        """Count something that was left out."""
        self.skipped[reason] = self.skipped.get(reason, 0) + 1
        if len(self.examples) < SHOWN:
            self.examples.append(Skipped(row, reason))


def import_calls(
    store: Store,
    path: Path,
    intake: Intake,
    *,
    form: str = "",
    now: float | None = None,
    progress: Progress = lambda done, total: None,
) -> ImportReport:
    """Import a file, or the folder of an export; `form` is one of FORMS or `own`, and is told by the content if empty.

    now: Unix seconds, the start of calls whose log has no time. progress: bytes read and in all.
    Raises BadInput for a file that is missing, or whose form is unknown.
    """
    started = time.perf_counter()
    folder = path.parent if path.name == MANIFEST else path
    if form == OWN or (not form and (folder / MANIFEST).is_file()):
        report, calls = ImportReport(OWN), import_own.read(folder, store.path.with_name(f".{store.path.name}.import"))
        _take(store, intake, report, _own(report, calls))
    else:
        rows = _Rows(path, progress)
        form = form or _form_of(path, rows.peek(_PEEK))
        if form not in FORMS:
            raise BadInput(f"There is no form {form!r}. Known: {', '.join([OWN, *FORMS])}.")
        report = ImportReport(form)
        _take(store, intake, report, _foreign(report, rows, time.time() if now is None else now))
    report.seconds = time.perf_counter() - started
    return report


def known_calls(store: Store, call_ids: Collection[str]) -> set[str]:
    """Those of the ids that the store has."""
    sql = "SELECT call_id FROM calls SEMI JOIN batch ON calls.call_id = CAST(batch.id AS UUID)"
    return {str(call_id) for (call_id,) in store.join(sql, ids_table(call_ids))}


def _take(store: Store, intake: Intake, report: ImportReport, records: Iterator[CallRecord]) -> None:
    """Batch by batch, each known to be in the store before the next is looked at."""
    batch: dict[str, CallRecord] = {}
    size = 0
    for record in records:
        report.calls += 1
        batch.setdefault(record.call_id, record)
        size += len(record.request) + len(record.response)
        if len(batch) >= _BATCH or size >= _BATCH_BYTES:
            report.new += _take_batch(store, intake, batch)
            batch, size = {}, 0
    report.new += _take_batch(store, intake, batch)
    report.known = report.calls - report.new


def _take_batch(store: Store, intake: Intake, batch: dict[str, CallRecord]) -> int:
    # By the id alone: a log without times gives a call another start each time it is imported.
    known = known_calls(store, batch) if batch else set()
    fresh = [record for call_id, record in batch.items() if call_id not in known]
    if fresh:
        intake(fresh)
    return len(fresh)


def _own(report: ImportReport, calls: Iterator[CallRecord | Skip]) -> Iterator[CallRecord]:
    for call in calls:
        report.rows += 1
        if isinstance(call, Skip):
            report.skip(report.rows, call.reason)
        else:
            yield call


def _foreign(report: ImportReport, rows: "_Rows", now: float) -> Iterator[CallRecord]:
    read = FORMS[report.form].read
    seen: Counter[str] = Counter()
    for row in rows:
        report.rows += 1
        try:
            for call in [row] if isinstance(row, Skip) else list(read(_object(row))):
                if isinstance(call, Skip):
                    report.skip(report.rows, call.reason)
                else:
                    yield _record(report, call, seen, now)
        except _ODD as error:
            report.skip(report.rows, str(error) if isinstance(error, BadInput) else f"odd content: {error}"[:200])


def _record(report: ImportReport, call: Exchange, seen: Counter[str], now: float) -> CallRecord:
    key = call.key
    if not key:
        # Equal calls of one file are told apart by their number.
        content = call_id_of("content", canonical([call.request, call.answer, call.at]).decode())
        key = f"{content}#{seen[content]}"
        seen[content] += 1
    return record_of(report.form, key, call.at or now + (report.calls + 1) * 1e-6, call)


def _object(row: Any) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise BadInput("the row is no JSON object")
    return row


def _form_of(path: Path, rows: Sequence[Any]) -> str:
    for row in rows:
        if isinstance(row, dict):
            for name, module in FORMS.items():
                if module.looks_like(row):
                    return name
    raise BadInput(
        f"Expected the calls of a known form in {path}, but its first rows look like none: {', '.join([OWN, *FORMS])}. "
        "See docs/store.md, or say which it is with --format."
    )


class _Rows:
    """The rows of a file: JSON lines, a JSON list, or an object with the list in `data`; gzip or plain."""

    def __init__(self, path: Path, progress: Progress) -> None:
        try:
            self._size = path.stat().st_size
            with path.open("rb"):
                pass
        except OSError as error:
            raise BadInput(f"{path} cannot be read: {error.strerror}.") from error
        self._path, self._progress = path, progress
        self._ahead: list[Any] = []
        self._rows = self._read()

    def peek(self, count: int) -> list[Any]:
        """The first rows, which come again when the rows are read."""
        for row in self._rows:
            self._ahead.append(row)
            if len(self._ahead) == count:
                break
        return list(self._ahead)

    def __iter__(self) -> Iterator[Any]:
        yield from self._ahead
        yield from self._rows

    def _read(self) -> Iterator[Any]:
        with self._path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            content = cast(BinaryIO, gzip.GzipFile(fileobj=file)) if packed else file
            try:
                first = content.readline()
                while first and not first.strip():
                    first = content.readline()
                if isinstance(_decoded(first), dict) and not _is_page(_decoded(first)):
                    yield from self._lines(first, content, file)
                else:
                    yield from _items(first + content.read())
            except (EOFError, gzip.BadGzipFile, OSError) as error:
                yield Skip(f"the file ends in the middle: {error}")
            self._progress(self._size, self._size)

    def _lines(self, first: bytes, content: BinaryIO, file: BinaryIO) -> Iterator[Any]:
        line = first
        while line:
            if line.strip():
                yield _decoded(line)
            line = content.readline()
            self._progress(file.tell(), self._size)


def _decoded(line: bytes) -> Any:
    try:
        return loads(line)
    except BadInput:
        return Skip("the line is no JSON")


def _is_page(value: dict[str, Any]) -> bool:
    """Whether it is not a row but the list of them, as APIs answer."""
    return isinstance(value.get("data"), list)


def _items(content: bytes) -> Iterator[Any]:
    value = _decoded(content)
    if isinstance(value, Skip) and (lines := content.splitlines()):
        # A first line that is broken: the others may be good.
        yield from (_decoded(line) for line in lines if line.strip())
        return
    if isinstance(value, dict) and _is_page(value):
        value = value["data"]
    yield from value if isinstance(value, list) else [value]
