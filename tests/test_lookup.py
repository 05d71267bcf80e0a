"""Rows found by id are those that a walk through the whole table finds, wherever they lie."""

import random
from collections.abc import Iterator
from uuid import UUID

import pyarrow as pa
import pytest

from tutelage.traffic import lookup
from tutelage.traffic.lookup import CHUNK, DENSE, MANY, Link, bodies_of, by_ids, links_of, links_up
from tutelage.traffic.store import Store

ROOT = UUID(int=0)


@pytest.fixture(scope="module")
def parents() -> dict[UUID, UUID]:
    """9,000 messages in 600 conversations that fork, in a random order."""
    chance = random.Random(1)
    found: dict[UUID, UUID] = {}
    for _ in range(600):
        chain = [ROOT]
        for _ in range(15):
            name = UUID(int=chance.getrandbits(128))
            found[name] = chain[-1] if chance.random() < 0.9 else chance.choice(chain)
            chain.append(name)
    return found


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, parents: dict[UUID, UUID]) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("lookup") / "store.duckdb") as opened:
        batch = pa.table({"id": [str(name) for name in parents], "parent": [str(name) for name in parents.values()]})
        sql = "INSERT INTO messages SELECT id::UUID, parent::UUID, 0, 'user', 'body of ' || id FROM batch"
        opened.bulk(sql, batch)
        yield opened


def above(parents: dict[UUID, UUID], tail: UUID) -> set[UUID]:
    found = set()
    while tail in parents:
        found.add(tail)
        tail = parents[tail]
    return found


@pytest.mark.parametrize("tails", [0, 1, 30, CHUNK + 500])
def test_the_way_up_is_whole(store: Store, parents: dict[UUID, UUID], tails: int) -> None:
    chosen = random.Random(2).sample(list(parents), tails)
    links = links_up(store, [*chosen, UUID(int=7)])
    assert links.keys() == set().union(*(above(parents, tail) for tail in chosen))
    assert all(link.parent_id == parents[name] for name, link in links.items())
    assert bodies_of(store, links) == {name: f"body of {name}" for name in links}


@pytest.mark.parametrize("passed", [0, 1 << 30])
def test_many_links_are_found_by_a_pass_as_one_by_one(
    store: Store, parents: dict[UUID, UUID], monkeypatch: pytest.MonkeyPatch, passed: int
) -> None:
    monkeypatch.setattr(lookup, "PASSED", passed)
    chosen = random.Random(3).sample(list(parents), 3 * MANY)
    links = links_of(store, [*chosen, UUID(int=7)])
    assert {name: link.parent_id for name, link in links.items()} == {name: parents[name] for name in chosen}
    bodies = [f"body of {name}" for name in chosen]
    assert [store.value(f"SELECT body FROM messages WHERE rowid = {links[name].place}") for name in chosen] == bodies
    assert links_of(store, chosen, [10**9]) == links  # where none of them lies


def test_few_and_scattered_bodies_are_found_too(store: Store, parents: dict[UUID, UUID]) -> None:
    few = links_of(store, list(parents)[::500])
    assert len(few) < DENSE
    assert bodies_of(store, few) == {name: f"body of {name}" for name in few}
    assert bodies_of(store, {}) == {}


def test_bodies_of_several_stretches_and_between_them(
    store: Store, parents: dict[UUID, UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of so many, chosen at random, stretches of 1 to some twenty messages are made.
    monkeypatch.setattr(lookup, "GAP", 20)
    monkeypatch.setattr(lookup, "DENSE", 6)
    links = links_of(store, random.Random(4).sample(list(parents), 700))
    assert bodies_of(store, links) == {name: f"body of {name}" for name in links}


def test_a_place_that_is_wrong_costs_time_only(store: Store, parents: dict[UUID, UUID]) -> None:
    links = links_of(store, list(parents)[: 2 * DENSE])
    moved = {name: link._replace(place=link.place + 3) for name, link in links.items()}
    assert bodies_of(store, moved) == bodies_of(store, links)
    gone = moved | {UUID(int=9): Link(ROOT, 5, "user")}
    assert bodies_of(store, gone) == bodies_of(store, links)


def test_more_ids_than_fit_one_statement(store: Store, parents: dict[UUID, UUID]) -> None:
    rows = by_ids(store, "SELECT message_id FROM messages WHERE message_id IN ({ids})", list(parents))
    assert {name for (name,) in rows} == parents.keys()
