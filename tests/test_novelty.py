"""Which messages are new: the same answer as the store gives, asked as little as possible."""

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import chat_call

from tutelage.traffic.canonical import ROOT
from tutelage.traffic.discovery import Assignment, Recognised
from tutelage.traffic.facts import Facts
from tutelage.traffic.ingest import Ingest
from tutelage.traffic.messages import Messages, Named, StoredMessage
from tutelage.traffic.novelty import Novelty
from tutelage.traffic.patterns import PatternEntry
from tutelage.traffic.records import CallRecord, encode
from tutelage.traffic.store import Store
from tutelage.traffic.verify import verify

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


def names(messages: Sequence[StoredMessage]) -> list[str]:
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


def test_a_message_that_a_batch_names_twice_is_stored_once(store: Store) -> None:
    first, again, other = message(1, ROOT), message(1, ROOT), message(2, ROOT)
    assert Novelty(store).lacking([first, other, again]) == [first, other]
    # Something may follow the first that is forgotten together with it.
    assert (first.named.born, again.named.born) == (True, False)


class Aborting:
    """A recogniser that fails when it is told to: at a call, or after everything of the batch is written."""

    def __init__(self) -> None:
        self.calls, self.late = -1, False

    def observe(self, call_id: str, facts: Facts, hint: str = "") -> Recognised | None:
        self.calls -= 1
        if self.calls == 0:
            raise OSError("in the middle")
        return None

    def settled(self) -> list[Assignment]:
        return []

    def new_patterns(self) -> list[PatternEntry]:
        if self.late:
            raise OSError("at the end")
        return []


def conversation(chance: random.Random) -> list[CallRecord]:
    """Turns with few things to say, so that prefixes are shared; some send it all again, some stop."""
    said: list[dict[str, Any]] = [{"role": "user", "content": f"q{chance.randint(0, 1)}"}]
    records = []
    for _ in range(chance.randint(1, 5)):
        answer = {"role": "assistant", "content": f"a{chance.randint(0, 2)}"}
        session = "s" * 32 if chance.random() < 0.5 else ""
        records.append(chat_call(list(said), answer, started_at=float(chance.randint(1, 500)), session=session))
        said += [answer, {"role": "user", "content": f"q{chance.randint(0, 2)}"}]
    return records


STORED = (
    "SELECT * FROM messages ORDER BY ALL",
    "SELECT call_id, started_at, request_tail, response_id, toolset_id, pattern_id FROM calls ORDER BY ALL",
)


@pytest.mark.parametrize(("seed", "capacity"), [(0, 1), (1, 2), (2, 3), (3, 5), (4, 8), (5, 20), (6, 1000)])
def test_aborts_and_restarts_leave_the_store_that_there_would_be_without(
    tmp_path: Path, seed: int, capacity: int
) -> None:
    chance = random.Random(seed)
    calls = [record for _ in range(20) for record in conversation(chance)]
    if chance.random() < 0.5:
        chance.shuffle(calls)
    payloads = [encode(record) for record in calls]
    with Store(tmp_path / "plain") as plain, Store(tmp_path / "shaken") as shaken:
        Ingest(plain, Aborting()).apply(payloads, {})
        ingest, at = Ingest(shaken, Aborting(), capacity=capacity), 0
        while at < len(payloads):
            recogniser = Aborting()
            recogniser.calls, recogniser.late = chance.choice([-1, -1, 1, 3, 9]), chance.random() < 0.2
            ingest.recogniser = recogniser
            # Some come again that are stored already: the batch is refused and done anew.
            begin, end = max(0, at - chance.choice([0, 0, 4])), at + chance.randint(1, 30)
            try:
                ingest.apply(payloads[begin:end], {"w/1": end})
                at = end
            except OSError:
                pass
            if chance.random() < 0.2:
                ingest = Ingest(shaken, capacity=capacity)
        for sql in STORED:
            assert shaken.rows(sql) == plain.rows(sql)
        assert verify(shaken).found == 0
