"""Which messages are new: the same answer as the store gives, asked as little as possible."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tutelage.traffic.canonical import ROOT
from tutelage.traffic.ingest import Ingest
from tutelage.traffic.messages import Messages, Named, StoredMessage
from tutelage.traffic.novelty import Novelty
from tutelage.traffic.records import CallRecord, encode
from tutelage.traffic.store import Store

Make = Callable[..., CallRecord]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store.duckdb") as opened:
        yield opened


def message(number: int, parent: str, sure: bool = False) -> StoredMessage:
    name = f"{number:032x}"
    return StoredMessage(name, parent, 0, "user", b"{}", Named(name, "user", born=sure), sure)


def put(store: Store, messages: list[StoredMessage]) -> None:
    for one in messages:
        store.execute("INSERT INTO messages VALUES (?, ?, 0, 'user', '{}')", [one.message_id, one.parent_id])


def names(messages: list[StoredMessage]) -> list[str]:
    return [one.message_id for one in messages]


@pytest.mark.parametrize("rows_per_lookup", [0, 10**9])  # always by the index, always by a pass over the table
def test_chains_are_cut_where_the_store_has_them(store: Store, rows_per_lookup: int) -> None:
    chance = random.Random(3)
    chains = []
    for start in range(0, 400, 10):
        parent, chain = ROOT, []
        for number in range(start + 1, start + 1 + chance.randint(1, 9)):
            chain.append(message(number, parent))
            parent = chain[-1].message_id
        chains.append(chain)
    kept = [chain[: chance.randint(0, len(chain))] for chain in chains]
    put(store, [one for chain in kept for one in chain])
    named = [one for chain in chains for one in chain]
    wanted = [one for chain, had in zip(chains, kept, strict=True) for one in chain[len(had) :]]
    assert names(Novelty(store, rows_per_lookup).lacking(named)) == names(wanted)
    assert {one.message_id for one in named if one.named.born} == set(names(wanted))


def test_what_is_surely_new_is_not_looked_up(store: Store) -> None:
    one = message(1, ROOT, sure=True)
    put(store, [one])
    assert Novelty(store).lacking([one]) == [one]  # it believes what it is told


def test_what_follows_a_new_message_is_surely_new_and_a_restart_asks_again(store: Store, make_call: Make) -> None:
    said = [{"role": "user", "content": "a"}]
    Ingest(store).apply([encode(make_call(said, {"role": "assistant", "content": "b"}))], {})
    messages, asked = Messages(), Novelty(store)
    raws = [b'{"role": "user", "content": "a"}', b'{"role": "assistant", "content": "b"}', b'{"role": "user"}']
    chain = messages.chain(raws)
    first = messages.drain()[0]
    assert [one.surely_new for one in first] == [False] * 3
    assert names(asked.lacking(first)) == [chain[-1].message_id]
    messages.chain([b'{"role": "user", "content": "more"}'], chain[-1].message_id, 3)
    messages.chain([b'{"role": "user", "content": "other"}'], chain[0].message_id, 1)
    assert [one.surely_new for one in messages.drain()[0]] == [True, False]
