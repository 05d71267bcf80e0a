"""Rows of large tables by their ids, without reading the tables.

DuckDB looks ids up in an index only where they stand in the statement itself, and only so many; a join with a list of
ids reads the whole table, once for every step up a conversation. So ids are written into the statement, `CHUNK` at a
time. What an index has found is then fetched row by row, which costs most for texts: they are compressed in blocks, and
a block is unpacked anew for each row. So the texts of rows that lie close together, as those of one run do, are read as
stretches of the table instead.

A row's place in the table can change between two statements (others write, and compact): it only ever saves work, and
what is not found at its place is looked up by its id.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import pyarrow as pa

from .store import Store

CHUNK = 1_000
"""Ids in one statement; beyond 2,048 DuckDB reads the table."""
GAP = 1_000
"""Rows between two that still belong to one stretch."""
DENSE = 100
"""Rows that make reading a stretch worth while."""


class Link(NamedTuple):
    """One message without its body."""

    parent_id: UUID
    place: int
    role: str


def ids_table(ids: Iterable[str]) -> pa.Table:
    """A table with one text column `id`, for `Store.bulk` and `Store.join`."""
    return pa.table({"id": pa.array(list(ids), pa.string())})


def by_ids(store: Store, sql: str, ids: Collection[UUID] | Collection[str]) -> list[tuple[Any, ...]]:
    """Rows of a query that holds `{ids}` where a list of ids belongs: `… WHERE c.call_id IN ({ids})`."""
    return [row for part in _parts(sorted(ids)) for row in store.rows(sql.format(ids=_listed(part)))]


def links_of(store: Store, ids: Collection[UUID]) -> dict[UUID, Link]:
    """These messages, by id. Unknown ids are left out."""
    sql = "SELECT message_id, parent_id, rowid, role FROM messages WHERE message_id IN ({ids})"
    return {name: Link(*rest) for name, *rest in by_ids(store, sql, ids)}


def links_up(store: Store, tails: Iterable[UUID]) -> dict[UUID, Link]:
    """The messages from these ones up to the first, by id. Unknown ids are left out."""
    found: dict[UUID, Link] = {}
    asked: set[UUID] = set()
    wanted = set(tails)
    while wanted:
        asked |= wanted
        new = links_of(store, wanted)
        found |= new
        wanted = {link.parent_id for link in new.values()} - asked
    return found


def bodies_of(store: Store, links: Mapping[UUID, Link]) -> dict[UUID, str]:
    """The bodies of messages, by id."""
    bodies: dict[UUID, str] = {}
    places = {link.place: name for name, link in links.items()}
    for stretch in _stretches(sorted(places)):
        if len(stretch) >= DENSE:
            listed = ", ".join(map(str, stretch))
            rows = store.rows(f"SELECT message_id, body FROM messages WHERE rowid IN ({listed})")
            bodies.update(row for row in rows if row[0] in links)
    missing = links.keys() - bodies.keys()
    bodies.update(by_ids(store, "SELECT message_id, body FROM messages WHERE message_id IN ({ids})", missing))
    return bodies


def _parts(ids: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK))


def _listed(ids: Iterable[Any]) -> str:
    return ", ".join("'" + str(name).replace("'", "''") + "'" for name in ids)


def _stretches(places: Sequence[int]) -> Iterator[list[int]]:
    """Ascending places, cut where too many rows lie between two."""
    stretch: list[int] = []
    for place in places:
        if stretch and place - stretch[-1] > GAP:
            yield stretch
            stretch = []
        stretch.append(place)
    if stretch:
        yield stretch
