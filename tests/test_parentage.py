"""Sub-agents' runs and the runs that started them, in whatever order they come."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from tutelage.traffic.ingest import Ingest
from tutelage.traffic.queries import list_trajectories, show_trajectory
from tutelage.traffic.records import CallRecord, encode, new_call_id
from tutelage.traffic.store import Store
from tutelage.traffic.verify import verify

Make = Callable[..., CallRecord]
ASK = {"role": "user", "content": "Plan a trip."}
DELEGATE = {"role": "assistant", "content": "Ask the train agent."}
SUB = {"role": "user", "content": "Which trains go?"}
TRAINS = {"role": "assistant", "content": "Two."}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store.duckdb") as opened:
        yield opened


def parents(store: Store) -> dict[str, str | None]:
    return dict(store.rows("SELECT trajectory_id, parent_id FROM trajectories"))


def put(ingest: Ingest, *records: CallRecord) -> None:
    ingest.apply([encode(record) for record in records], {})


@pytest.mark.parametrize("said", ["trip", "x:trip"])
def test_the_parent_may_be_named_as_the_agent_or_the_listing_does(store: Store, make_call: Make, said: str) -> None:
    above = make_call([ASK], DELEGATE, started_at=1.0, trajectory="trip")
    below = make_call([SUB], TRAINS, started_at=2.0, parent=said)
    put(Ingest(store), above, below)
    assert parents(store) == {"x:trip": None, below.call_id: "x:trip"}
    detail = show_trajectory(store, "x:trip")
    assert [child.trajectory_id for child in detail.children] == [below.call_id]
    assert (detail.parent, detail.trajectory.parent_id) == (None, None)
    detail = show_trajectory(store, below.call_id)
    assert detail.parent
    assert (detail.parent.trajectory_id, detail.children) == ("x:trip", [])
    assert {run.trajectory_id: run.parent_id for run in list_trajectories(store)} == parents(store)
    assert verify(store).found == 0


@pytest.mark.parametrize("batches", [*itertools.permutations(range(3)), None])
@pytest.mark.parametrize("restart", [False, True])
def test_any_call_of_the_parent_names_it_whatever_comes_first(
    store: Store, make_call: Make, batches: tuple[int, ...] | None, restart: bool
) -> None:
    now = 1_800_000_000.0
    first = make_call([ASK], DELEGATE, started_at=now)
    second = make_call([ASK, DELEGATE, SUB], TRAINS, started_at=now + 1)
    below = make_call([SUB], TRAINS, started_at=now + 2, trajectory="sub", parent=second.call_id)
    records, ingest = [first, second, below], Ingest(store)
    if batches is None:
        put(ingest, *records)
    for at in batches or ():
        put(ingest, records[at])
        ingest = Ingest(store) if restart else ingest
    run = store.value("SELECT trajectory_id FROM calls WHERE call_id = ?", [second.call_id])
    assert parents(store)["x:sub"] == run


def test_names_that_look_like_ids_of_calls_stay_names(store: Store, make_call: Make) -> None:
    names = [new_call_id(1_000.0), str(uuid4()), "0190", "'; DROP TABLE calls"]
    ingest = Ingest(store)
    for number, name in enumerate(names):
        said = [{"role": "user", "content": f"{number}"}]
        put(ingest, make_call(said, TRAINS, started_at=1_000.0 + number, trajectory=f"sub {number}", parent=name))
    found = parents(store)
    assert [found[f"x:sub {number}"] for number in range(4)] == [f"x:{name}" for name in names]


def test_the_first_word_counts_and_nobody_starts_himself(store: Store, make_call: Make) -> None:
    ingest = Ingest(store)
    put(ingest, make_call([ASK], DELEGATE, started_at=1.0, trajectory="trip", parent="trip"))
    assert parents(store) == {"x:trip": None}
    for number, parent in enumerate(("", "first", "second")):
        put(ingest, make_call([SUB], TRAINS, started_at=2.0 + number, trajectory="sub", parent=parent))
    assert parents(store)["x:sub"] == "x:first"
    alone = make_call([SUB], TRAINS, started_at=9.0)
    own = msgspec.structs.replace(alone, parent=alone.call_id)
    put(ingest, own)
    assert parents(store)[own.call_id] is None


def test_a_batch_that_comes_again_changes_no_parent(store: Store, make_call: Make) -> None:
    records = [make_call([ASK], DELEGATE, started_at=1.0), make_call([SUB], TRAINS, started_at=2.0, parent="trip")]
    put(Ingest(store), *records)
    before = store.rows("SELECT * FROM trajectories ORDER BY ALL")
    put(Ingest(store), *records)
    assert store.rows("SELECT * FROM trajectories ORDER BY ALL") == before
