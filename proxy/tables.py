"""Tables of the dashboard as CSV: rows of one dataclass, the same as on the page and in JSON."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import msgspec

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Texts that begin so are run as formulas by spreadsheets; an apostrophe is put before them."""


def as_csv(rows: Sequence[Any], kind: type) -> str:
    """Rows of the dataclass `kind` with a header line. A dataclass inside has its own columns; other parts are JSON."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(_columns(kind))
    writer.writerows([_cell(value) for value in _values(row, kind)] for row in rows)
    return out.getvalue()


def _columns(kind: type, before: str = "") -> list[str]:
    names: list[str] = []
    for field in fields(kind):
        inner = _dataclass(field.type)
        names += _columns(inner, f"{before}{field.name}.") if inner else [before + field.name]
    return names


def _values(row: Any, kind: type) -> Iterator[Any]:
    for field in fields(kind):
        value, inner = getattr(row, field.name), _dataclass(field.type)
        if inner:
            yield from _values(value, inner)
        else:
            yield value


def _dataclass(kind: Any) -> type | None:
    return kind if isinstance(kind, type) and is_dataclass(kind) else None


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if not isinstance(value, str):
        return msgspec.json.encode(value, enc_hook=str).decode()
    return f"'{value}" if value.startswith(FORMULA) else value
