"""Rows of large tables by their ids, without reading the tables.

DuckDB looks ids up in an index only where they stand in the statement itself, and only so many; a join with a list of
ids reads the whole table, once for every step up a conversation. So ids are written into the statement, `CHUNK` at a
time. What an index has found is then fetched row by row, which costs most for texts: they are compressed in blocks, and
a block of 2,048 is unpacked anew for each row. So the texts of rows that lie near each other, as those of runs of one
day do, are read as stretches of the table instead, where each block that holds one is unpacked once.

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
GAP = 50_000
"""Rows between two that still belong to one stretch: passing them over takes a few milliseconds."""
DENSE = 40
"""Rows that make reading a stretch worth while."""
MANY = 100
"""Messages that make a pass over a part of the table worth while."""
PASSED = 2_000_000
"""Rows that are passed over for that at most."""
_SAMPLES = 10
"""Messages that tell where the others lie."""

NAME_KEY = "CAST(md5_number_lower({name}) & 65535 AS USMALLINT)"
"""SQL: the column `upstream_key` of a call, from the provider's name of its answer. Two bytes are read of each call to
find a name instead of forty; many names share a key, so whoever looks asks for the name as well.
"""
_LINKS = "SELECT message_id, parent_id, rowid, role FROM messages"
_LINKS_NEAR = f"""
{_LINKS} SEMI JOIN batch ON message_id = CAST(id AS UUID) WHERE rowid BETWEEN {{first}} AND {{last}}
"""
_STRETCH = "SELECT message_id, body FROM messages WHERE rowid BETWEEN {first} AND {last} AND rowid IN ({listed})"


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


def links_of(store: Store, ids: Collection[UUID], places: Collection[int] = ()) -> dict[UUID, Link]:
    """These messages, by id. Unknown ids are left out.

    places: of messages near which these lie, if that is known. Many that lie near each other are found by one pass over
    that part of the table; a look into the index for each takes ten times as long while little of it is in memory.
    """
    found: dict[UUID, Link] = {}
    wanted = set(ids)
    if len(wanted) >= MANY:
        if not places:
            found = _looked_up(store, sorted(wanted)[:: len(wanted) // _SAMPLES])
            places = [link.place for link in found.values()]
        first, last = min(places, default=0) - GAP, max(places, default=0) + GAP
        if last - first <= PASSED:
            names = ids_table(str(name) for name in wanted - found.keys())
            rows = store.join(_LINKS_NEAR.format(first=first, last=last), names)
            found |= {name: Link(*rest) for name, *rest in rows}
    return found | _looked_up(store, wanted - found.keys())


def _looked_up(store: Store, ids: Collection[UUID]) -> dict[UUID, Link]:
    return {name: Link(*rest) for name, *rest in by_ids(store, f"{_LINKS} WHERE message_id IN ({{ids}})", ids)}


def links_up(store: Store, tails: Iterable[UUID]) -> dict[UUID, Link]:
    """The messages from these ones up to the first, by id. Unknown ids are left out.

    The more of a conversation's messages are among them, the fewer steps it takes: one statement each.
    """
    found: dict[UUID, Link] = {}
    asked: set[UUID] = set()
    wanted = set(tails)
    while wanted:
        asked |= wanted
        new = links_of(store, wanted, [link.place for link in found.values()])
        found |= new
        wanted = {link.parent_id for link in new.values()} - asked
    return found


def bodies_of(store: Store, links: Mapping[UUID, Link]) -> dict[UUID, str]:
    """The bodies of messages, by id."""
    bodies: dict[UUID, str] = {}
    places = {link.place: name for name, link in links.items()}
    for stretch in _stretches(sorted(places)):
        if len(stretch) >= DENSE:
            # Without its bounds DuckDB would look every row of the table up in the list: 2 s for twenty million.
            rows = store.rows(_STRETCH.format(first=stretch[0], last=stretch[-1], listed=", ".join(map(str, stretch))))
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
