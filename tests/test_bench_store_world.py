from pathlib import Path

import pytest

from benchmarks import store_world
from tutelage.traffic.queries import list_calls, list_patterns, stats
from tutelage.traffic.store import Store
from tutelage.traffic.verify import verify

CALLS = 2_000


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("world") / "store.duckdb"
    store_world.build(path, CALLS, 1)
    return path


def test_it_holds_about_as_many_calls_as_asked_for_over_all_days(world: Path) -> None:
    with Store(world) as store:
        assert 0.8 * CALLS < stats(store).calls < 1.2 * CALLS
        days = store.value("SELECT count(DISTINCT CAST(floor(started_at / 86400) AS INTEGER)) FROM calls")
        assert days >= store_world.DAYS


def test_nothing_is_wrong_with_it_but_the_names_of_messages(world: Path) -> None:
    with Store(world) as store:
        wrong = {(problem.table, problem.field) for problem in verify(store).problems}
    # A call whose messages have a wrong name is named as well.
    assert wrong <= {("messages", "message_id"), ("toolsets", "toolset_id"), ("calls", "request_tail")}


def test_its_calls_are_in_the_sums_that_lists_are_made_from(world: Path) -> None:
    with Store(world) as store:
        # Several attempts of one action count once.
        meant = store.value("SELECT count(*) FROM calls WHERE retried IS NOT TRUE AND pattern_id IS NOT NULL")
        assert sum(pattern.calls for pattern in list_patterns(store, 1_000)) == meant
        newest = store.value("SELECT max(started_at) FROM calls")
        assert list_calls(store, 1)[0].started_at == newest
        assert len(list_calls(store, 500)) == 500


def test_a_seed_gives_the_same_store(tmp_path: Path, world: Path) -> None:
    again = tmp_path / "again.duckdb"
    store_world.build(again, CALLS, 1)
    sql = "SELECT bit_xor(hash(call_id, started_at, pattern_id, request_tail)) FROM calls"
    with Store(world) as one, Store(again) as other:
        assert one.value(sql) == other.value(sql)
