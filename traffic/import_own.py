"""The own export form (`store export --parquet`) back into call records: ids, times, callers and sessions as they were.

The tables are read into a database beside the folder's own, for the length of the import: calls are put together from
messages that are stored once, and that takes a store. Requests in other protocols were kept as chat messages and come
back as chat completions. Labels, verdicts and patterns do not come along; they are found anew from the calls.
"""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from .answers import dump
from .conversations import Message, answers_of, requests_of
from .imported import Skip
from .parquet import read_manifest
from .records import CallRecord
from .store import Store

_BATCH = 200
_CHAT = "/v1/chat/completions"
_NEEDED = ("messages", "toolsets", "calls", "trajectories")
_COPIED = ("call_id", "started_at", "route", "reason", "fallback", "student", "session", "hint", "status", "cancelled")
_COPIED += ("first_byte_ms", "latency_ms", "retry", "request_id", "confidence", "teacher", "caller")


def read(folder: Path, scratch: Path) -> Generator[CallRecord | Skip, None, None]:
    """The calls of an export, oldest first. `scratch` is a database file that is made anew and removed.

    Raises BadInput.
    """
    manifest = read_manifest(folder)
    _remove(scratch)  # of an import that was killed
    try:
        with Store(scratch) as store:
            for table in _NEEDED:
                files = [str(folder / part.file) for part in manifest.tables.get(table, ())]
                if files:
                    sql = f"INSERT INTO {table} BY NAME SELECT * FROM read_parquet(?, union_by_name=true)"
                    store.execute(sql, [files])
            yield from _records(store)
    finally:
        _remove(scratch)


def _remove(database: Path) -> None:
    for path in (database, database.with_name(database.name + ".wal")):
        path.unlink(missing_ok=True)


def _records(store: Store) -> Iterator[CallRecord | Skip]:
    after = (float("-inf"), "")
    while True:
        sql = """
            SELECT calls.*, parent_id FROM calls LEFT JOIN trajectories USING (trajectory_id)
            WHERE (started_at, call_id::VARCHAR) > (?, ?) ORDER BY started_at, call_id::VARCHAR LIMIT ?
        """
        rows = store.query(sql, [*after, _BATCH])
        if not rows:
            return
        ids = [row["call_id"] for row in rows]
        requests, answers = requests_of(store, ids), answers_of(store, ids)
        for row in rows:
            yield _record(row, requests.get(row["call_id"]), answers.get(row["call_id"]))
        after = rows[-1]["started_at"], rows[-1]["call_id"]


def _record(row: dict[str, Any], request: Message | None, answer: Message | None) -> CallRecord | Skip:
    if request is None and row["request_raw"] is None:
        return Skip("its request was not stored")
    known = {name: row[name] for name in _COPIED if row.get(name) is not None}
    trajectory = row["trajectory_id"] or ""
    body = dump(request).encode() if request is not None else bytes(row["request_raw"])
    raw = row["response_raw"]
    return CallRecord(
        **known,
        endpoint=row["endpoint"] if request is None or (row["endpoint"] or "").endswith("/chat/completions") else _CHAT,
        trajectory=trajectory[2:] if trajectory.startswith("x:") else "",
        parent=row["parent_id"] or "",
        stream=bool(row["stream"]),
        error=row["error"] or "",
        request=body,
        response=bytes(raw) if raw is not None else _response(row, answer),
        response_type="application/json",
    )


def _response(row: dict[str, Any], answer: Message | None) -> bytes:
    if answer is None:
        return b""
    counts = {name: row[name] for name in ("prompt_tokens", "completion_tokens") if row[name] is not None}
    details = {"cached_tokens": row["cached_tokens"]} if row["cached_tokens"] is not None else None
    thought = {"reasoning_tokens": row["reasoning_tokens"]} if row["reasoning_tokens"] is not None else None
    usage = {**counts, "prompt_tokens_details": details, "completion_tokens_details": thought}
    choice = {"index": 0, "message": answer, "finish_reason": row["finish_reason"] or "stop"}
    named = {"id": row["upstream_id"], "object": "chat.completion", "model": row["model"], "choices": [choice]}
    return dump(named | ({"usage": usage} if counts else {})).encode()
