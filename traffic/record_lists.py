"""Lists of records in a prompt, such as the devices of a house, read into fields and written shorter.

A list is what `skeleton.RECORDS` stands for: items `- key: value`, deeper lines below them. Each item becomes a record
of flat fields; a field inside another has both names (`attributes.brightness`). A list with a line that is neither is
not a list of records for this module: `read` gives None, and whoever asked shows the lines as they are.
"""

import re
from collections.abc import Iterable, Sequence

import msgspec

Record = dict[str, str]
"""Values by field, in the order of the prompt."""

_LINE = re.compile(r"( *)(- )?([A-Za-z][A-Za-z0-9_]*):(?: +(.*))?$")


class RecordForm(msgspec.Struct, frozen=True, kw_only=True):
    """How a list of records is shown to a student: one line a record, fewer fields, without what is never needed."""

    fields: list[str]
    """The fields shown, in this order."""
    hidden: dict[str, list[str]] = {}
    """Records that have one of these values in that field are left out."""
    ordered: bool = True
    """Whether the order of the prompt is kept; else the lines are sorted, and the same records always look the same."""


def read(lines: Sequence[str]) -> list[Record] | None:
    """The records in the lines of one list; None when a line is no `key: value`."""
    records: list[Record] = []
    above: list[tuple[int, str]] = []
    for line in lines:
        found = _LINE.match(line.rstrip())
        if found is None:
            return None
        indent, bullet, key, value = found.groups(default="")
        depth = len(indent) + len(bullet)
        if bullet and (not above or depth <= above[0][0]):
            records.append({})
            above = []
        elif not records:
            return None
        above = [(at, name) for at, name in above if at < depth]
        records[-1][".".join([*(name for _, name in above), key])] = _unquoted(value)
        above.append((depth, key))
    return [{field: value for field, value in record.items() if value} for record in records]


def _unquoted(value: str) -> str:
    value = value.strip()
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1].replace("''", "'") if value[0] == "'" else value[1:-1]
    return value


def shown(records: Iterable[Record], form: RecordForm) -> list[Record]:
    """The records that a student sees."""
    return [
        record for record in records if not any(record.get(field) in values for field, values in form.hidden.items())
    ]


def written(records: Iterable[Record], form: RecordForm) -> list[str]:
    """One line for each record that is shown: its values between bars.

    A value that an earlier one of the line contains is not said again: `Bedroom Light|light|Bedroom` is one value."""
    lines = [line for record in shown(records, form) if (line := _line(record, form.fields))]
    return lines if form.ordered else sorted(lines)


def _line(record: Record, fields: Sequence[str]) -> str:
    values: list[str] = []
    for field in fields:
        value = record.get(field, "").replace("|", "/")
        said = any(value.casefold() in earlier.casefold() for earlier in values)
        values.append("" if said else value)
    return "|".join(values).rstrip("|")


def values_of(records: Iterable[Record], field: str) -> list[str]:
    """The different values of a field in the order of the records: whole ones, and the parts of one with commas."""
    found: dict[str, None] = {}
    for record in records:
        if value := record.get(field):
            found[value] = None
            found.update((part.strip(), None) for part in value.split(",") if part.strip())
    return list(found)
