"""The sums are at every moment what a count over all calls gives, whatever happens to the calls."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tutelage.traffic import rollup
from tutelage.traffic.discovery import Assignment, Recognised
from tutelage.traffic.facts import Facts
from tutelage.traffic.ingest import Ingest
from tutelage.traffic.lookup import ids_table
from tutelage.traffic.patterns import PatternEntry
from tutelage.traffic.records import CallRecord, encode
from tutelage.traffic.retention import Keep, Rules, prune
from tutelage.traffic.store import Store
from tutelage.traffic.sums import CALLERS, DAYS, LATENCIES, RUNS, SESSIONS, SUMS

Make = Callable[..., CallRecord]
OTHER = "0190a000-0000-7000-8000-000000000001"
ROWS = {
    "traffic_hours": SUMS,
    "traffic_days": DAYS,
    "latency_days": LATENCIES,
    "caller_days": CALLERS,
    "pattern_runs": RUNS,
    "pattern_sessions": SESSIONS,
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store.duckdb") as opened:
        yield opened


_SUMS = ("attempts", "calls", "failed", "fallback_calls", "fell_back", "prompt_tokens", "completion_tokens", "metered")
_ADDED_UP = {
    f"traffic_{unit}s": f"SELECT {unit}, pattern_id, route, model, student, status, meant, "
    + ", ".join(f"sum({name})::BIGINT" for name in _SUMS)
    + f", min(first_at), max(last_at) FROM traffic_{unit}s GROUP BY ALL ORDER BY ALL"
    for unit in ("hour", "day")
} | {
    "latency_days": "SELECT * EXCLUDE attempts, sum(attempts)::BIGINT FROM latency_days GROUP BY ALL ORDER BY ALL",
    "caller_days": "SELECT day, caller, route, model, sum(attempts)::BIGINT, sum(prompt_tokens)::BIGINT, "
    "sum(completion_tokens)::BIGINT, sum(metered)::BIGINT, sum(unmetered)::BIGINT "
    "FROM caller_days GROUP BY ALL ORDER BY ALL",
    "pattern_runs": "SELECT * FROM pattern_runs ORDER BY ALL",
    "pattern_sessions": "SELECT pattern_id, sum(runs)::BIGINT FROM pattern_sessions GROUP BY ALL ORDER BY ALL",
}


def kept(store: Store) -> dict[str, list[tuple[object, ...]]]:
    """As the views say it, with the rows of one key added up."""
    return {name: store.rows(_ADDED_UP[name]) for name in ROWS}


def counted(store: Store) -> dict[str, list[tuple[object, ...]]]:
    """The same from nothing but the calls."""
    found = {}
    for name, rows in ROWS.items():
        store.execute(f"CREATE TABLE fresh AS FROM {name} LIMIT 0")
        store.execute(f"INSERT INTO fresh BY NAME {rows.format(source='calls', sign='')}")
        found[name] = store.rows("SELECT * FROM fresh ORDER BY ALL")
        store.execute("DROP TABLE fresh")
    return found


class Late:
    """Gives calls their pattern one batch later, so that rows have to move."""

    def __init__(self) -> None:
        self.waiting: list[str] = []

    def observe(self, call_id: str, facts: Facts, hint: str = "") -> Recognised | None:
        if int(call_id[-1], 16) % 2:
            return Recognised("p_now", "a_1")
        self.waiting.append(call_id)
        return None

    def settled(self) -> list[Assignment]:
        due, self.waiting = self.waiting[:-5], self.waiting[-5:]
        return [Assignment(call_id, "p_late", "a_1") for call_id in due]

    def new_patterns(self) -> list[PatternEntry]:
        return []


def some_calls(make_call: Make, chance: random.Random, start: float, count: int) -> list[CallRecord]:
    calls = []
    for number in range(count):
        question = {"role": "user", "content": f"question {chance.randrange(count)}"}
        failed = chance.random() < 0.2
        fields = {"status": 500, "response": b"no"} if failed else {}
        answer = None if failed else {"role": "assistant", "content": f"answer {number}"}
        calls.append(
            make_call(
                [question],
                answer,
                started_at=start + number * 20.0,
                latency_ms=chance.choice((0.0, 0.4, 12.0, 950.0, 70_000.0)),
                route=chance.choice(("teacher", "teacher", "student")),
                student=chance.choice(("", "s@1")),
                fallback=chance.choice(("", "student_timeout")),
                caller=chance.choice(("one", "two")),
                retry=int(chance.random() < 0.3),
                cancelled=chance.random() < 0.1,
                **fields,
            )
        )
    return calls


@pytest.mark.parametrize("seed", range(2))
def test_sums_follow_everything_that_happens_to_calls(store: Store, make_call: Make, seed: int) -> None:
    chance, ingest, at = random.Random(seed), Ingest(store, Late()), 10_000.0
    for _ in range(6):
        calls = some_calls(make_call, chance, at, chance.randrange(1, 120))
        payloads = [encode(call) for call in calls]
        ingest.apply(payloads + payloads[:3], {})
        at += 20.0 * len(calls) - chance.random() * 300
        assert kept(store) == counted(store)
        if chance.random() < 0.5:
            rollup.settle(store)
            assert store.value("SELECT sum(calls) FROM uncounted") == 0
            assert kept(store) == counted(store)
    assert store.value("SELECT count(*) FROM calls WHERE retried") > 0
    assert {row[0] for row in store.rows("SELECT DISTINCT pattern_id FROM pattern_runs")} == {"p_now", "p_late"}
    before, now = store.value("SELECT count(*) FROM calls"), at + 3_600.0
    middle = store.value("SELECT median(started_at) FROM calls")
    prune(store, Rules(Keep(days=(now - middle) / 86_400)), now)
    assert 0 < store.value("SELECT count(*) FROM calls") < before
    assert kept(store) == counted(store)


def test_a_batch_that_fails_leaves_the_sums_alone(store: Store, make_call: Make) -> None:
    ingest = Ingest(store)
    ingest.apply([encode(make_call([{"role": "user", "content": "a"}], pattern="p"))], {})
    before = kept(store)

    def count_and_fail() -> None:
        with store.transaction():
            store.execute("INSERT INTO calls SELECT * REPLACE (CAST(? AS UUID) AS call_id) FROM calls", [OTHER])
            new = f"SELECT * REPLACE (call_id::VARCHAR AS call_id) FROM calls WHERE call_id = '{OTHER}'"
            rollup.count(store, store.arrow(new))
            assert kept(store) != before
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        count_and_fail()
    assert kept(store) == before


def test_a_part_of_an_hour_is_counted_on_the_spot(store: Store, make_call: Make) -> None:
    calls = [make_call([{"role": "user", "content": str(at)}], started_at=float(at)) for at in range(0, 9_000, 300)]
    Ingest(store).apply([encode(call) for call in calls], {})
    for since in (0.0, 299.0, 300.0, 301.5, 3_600.0, 7_100.0, 9e9):
        for rows_since in (rollup.hours_since, rollup.days_since, rollup.latencies_since):
            found = store.value(f"SELECT coalesce(sum(attempts), 0)::BIGINT FROM {rows_since(since)}")
            assert found == sum(call.started_at >= since for call in calls)


def test_changes_name_the_runs_of_a_batch_and_are_forgotten_in_time(store: Store, make_call: Make) -> None:
    Ingest(store).apply([encode(make_call([{"role": "user", "content": "a"}]))], {})
    assert store.rows("SELECT * FROM changes") == [(1, store.value("SELECT trajectory_id FROM trajectories"), None)]
    store.execute("UPDATE changes SET revision = ?", [3 * rollup.KEPT_CHANGES - 1])
    with store.transaction():
        rollup.touch(store, ["x", None, "x"])
        rollup.count(store, store.arrow("SELECT * REPLACE (call_id::VARCHAR AS call_id) FROM calls LIMIT 0"))
    assert store.rows("SELECT * FROM changes ORDER BY revision")[-1] == (3 * rollup.KEPT_CHANGES, "x", None)
    with store.transaction(), rollup.moving(store, ids_table([])):
        pass
    assert store.value("SELECT count(*) FROM changes") == 2
