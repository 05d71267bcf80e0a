"""What the rules keep stays whole, however much around it is removed."""

import itertools
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tutelage.traffic.conversations import answers_of, requests_of
from tutelage.traffic.errors import BadInput
from tutelage.traffic.ingest import Ingest
from tutelage.traffic.records import CallRecord, encode
from tutelage.traffic.retention import DAY_S, Keep, Rules, Unit, content_bytes, prune, remove
from tutelage.traffic.store import Store
from tutelage.traffic.verify import verify

Make = Callable[..., CallRecord]
NOW = 100 * DAY_S
TABLES = ("calls", "messages", "toolsets", "trajectories", "comparisons", "feedback")
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store.duckdb") as opened:
        yield opened


def run_of(make: Make, number: int, turns: int, at: float, **fields: Any) -> list[CallRecord]:
    """One run; all runs share their system prompt, every third also its question and first answer."""
    messages: list[Any] = [{"role": "system", "content": "S" * 100}, {"role": "user", "content": f"q{number // 3}"}]
    made = []
    for turn in range(turns):
        answer = {"role": "assistant", "content": f"a{number if turn else number // 3} {turn} " + "long " * 20}
        made.append(make(list(messages), answer, started_at=at + turn, **fields))
        messages += [answer, {"role": "user", "content": f"more {turn}"}]
    return made


def fill(store: Store, make: Make, runs: int, **fields: Any) -> None:
    """Runs a day apart, the last one two days old; one embedding and one repeated failure beside them."""
    records = []
    for number in range(runs):
        at = NOW - (runs - number + 1) * DAY_S
        records += run_of(make, number, 1 + number % 3, at, tools=[TOOL] if number % 2 else None, **fields)
    plain = json.dumps({"model": "e", "input": "x"}).encode()
    for at, status in ((10.0, 500), (11.0, 200)):
        one = make([], started_at=NOW - 50 * DAY_S + at, endpoint="/v1/embeddings", request=plain, status=status)
        records.append(one)
    assert Ingest(store).apply([encode(record) for record in records], {}).calls == len(records)
    store.execute(
        "INSERT INTO comparisons (call_id, student, kind, loss, \"at\") SELECT call_id, 's', 'shadow', 0, 0 FROM calls"
    )


def contents(store: Store) -> dict[str, list[Any]]:
    return {table: store.rows(f"SELECT * FROM {table} ORDER BY ALL") for table in TABLES}


def units(store: Store) -> list[Unit]:
    sql = """SELECT trajectory_id, CASE WHEN trajectory_id IS NULL THEN call_id END, max(started_at) FROM calls
        GROUP BY 1, 2 ORDER BY 1, 2"""
    return [Unit(*row) for row in store.rows(sql)]


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), shares=st.lists(st.floats(0.1, 0.9), min_size=1, max_size=3))
def test_after_random_removals_the_store_is_whole_and_kept_calls_say_the_same(
    tmp_path_factory: pytest.TempPathFactory, make_call: Make, seed: int, shares: list[float]
) -> None:
    chance = random.Random(seed)
    with Store(tmp_path_factory.mktemp("random") / "store.duckdb") as store:
        fill(store, make_call, 9)
        ids = [str(row[0]) for row in store.rows("SELECT call_id FROM calls")]
        requests, answers = requests_of(store, ids), answers_of(store, ids)
        for share in shares:
            gone = [unit for unit in units(store) if chance.random() < share]
            before = content_bytes(store)
            with store.transaction():
                removed = remove(store, gone)
            assert before - content_bytes(store) == removed.bytes
            report = verify(store)
            assert report.problems == []
            assert report.unreferenced_messages == report.unreferenced_toolsets == 0
            kept = [str(row[0]) for row in store.rows("SELECT call_id FROM calls")]
            assert requests_of(store, kept) == {one: requests[one] for one in kept if one in requests}
            assert answers_of(store, kept) == {one: answers[one] for one in kept}
        assert store.value("SELECT count(*) FROM comparisons") == store.value("SELECT count(*) FROM calls")


def test_age_counts_from_the_last_call_and_the_oldest_go(store: Store, make_call: Make) -> None:
    fill(store, make_call, 10)
    removed = prune(store, Rules(Keep(days=5.5)), NOW)
    assert removed.runs == 6 + 2
    assert removed.newest_at < NOW - 5.5 * DAY_S <= store.value("SELECT min(last_at) FROM trajectories")
    assert store.value("SELECT count(*) FROM calls WHERE trajectory_id IS NULL") == 0
    assert prune(store, Rules(Keep(days=5.5)), NOW).runs == 0
    assert verify(store).found == 0


def test_size_removes_the_oldest_and_no_more_than_it_must(store: Store, make_call: Make) -> None:
    fill(store, make_call, 30)
    limit = content_bytes(store) // 2
    newest = store.value("SELECT max(last_at) FROM trajectories")
    left_before = store.value("SELECT count(*) FROM trajectories")
    removed = prune(store, Rules(Keep(bytes=limit)), NOW)
    assert limit * 0.8 < content_bytes(store) <= limit
    assert store.value("SELECT max(last_at) FROM trajectories") == newest
    assert store.value("SELECT min(last_at) FROM trajectories") > removed.newest_at
    assert 0 < store.value("SELECT count(*) FROM trajectories") < left_before
    assert verify(store).found == 0


def test_a_pattern_has_its_own_rule(store: Store, make_call: Make) -> None:
    for number, pattern in itertools.product(range(4), ("p_long", "p_short", "p_other")):
        at = NOW - (10 + number) * DAY_S
        records = run_of(make_call, number * 10 + len(pattern), 2, at, pattern=pattern)
        Ingest(store).apply([encode(record) for record in records], {})
    for name in ("p_long", "p_short"):
        store.execute("INSERT INTO patterns VALUES (?, 'a', ?, 1, 'user', '{}', 0)", [name, f"name of {name}"])
    rules = Rules(Keep(days=12.5), {"p_long": Keep(), "name of p_short": Keep(days=11.5)})
    prune(store, rules, NOW)
    sql = "SELECT pattern_id, count(DISTINCT trajectory_id) FROM calls GROUP BY 1 ORDER BY 1"
    assert store.rows(sql) == [("p_long", 4), ("p_other", 3), ("p_short", 2)]
    size = content_bytes(store, ["p_long"])
    prune(store, Rules(Keep(), {"p_long": Keep(bytes=size // 2)}), NOW)
    [_, *others] = store.rows(sql)
    assert content_bytes(store, ["p_long"]) <= size // 2
    assert others == [("p_other", 3), ("p_short", 2)]


def test_a_dry_run_changes_nothing_and_says_what_would_happen(store: Store, make_call: Make) -> None:
    fill(store, make_call, 8)
    before = contents(store)
    rules = Rules(Keep(days=4.0, bytes=content_bytes(store) // 4))
    said = prune(store, rules, NOW, dry_run=True)
    assert contents(store) == before
    assert prune(store, rules, NOW) == said
    assert contents(store) != before


def test_what_may_not_go_stays_whatever_the_rules_say(store: Store, make_call: Make) -> None:
    Ingest(store).apply([encode(record) for record in run_of(make_call, 1, 1, NOW - 1_800.0)], {})
    Ingest(store).apply([encode(record) for record in run_of(make_call, 5, 1, NOW - 5 * DAY_S)], {})
    assert prune(store, Rules(Keep(bytes=1)), NOW, kept_since=NOW - 6 * DAY_S).runs == 0
    assert prune(store, Rules(Keep(bytes=1)), NOW).runs == 1
    assert store.value("SELECT count(*) FROM calls") == 1


def test_steps_can_be_done_one_at_a_time(store: Store, make_call: Make) -> None:
    fill(store, make_call, 20)
    rules, rounds = Rules(Keep(bytes=1)), 1
    while prune(store, rules, NOW, steps=1).more:
        assert verify(store).found == 0
        rounds += 1
    assert rounds > 1
    assert store.value("SELECT count(*) FROM calls") == 0
    assert content_bytes(store) == 0


def test_ingest_stores_a_removed_conversation_again_when_it_goes_on(store: Store, make_call: Make) -> None:
    first, second = run_of(make_call, 1, 2, NOW - 9 * DAY_S)
    ingest = Ingest(store)
    ingest.apply([encode(first)], {})
    prune(store, Rules(Keep(days=1.0)), NOW)
    assert contents(store)["messages"] == []
    ingest.apply([encode(second)], {})
    assert verify(store).found == 0
    assert len(requests_of(store, [second.call_id])[second.call_id]["messages"]) == 4


def test_feedback_goes_with_its_run(store: Store, make_call: Make) -> None:
    fill(store, make_call, 4)
    sql = """INSERT INTO feedback SELECT 'f' || trajectory_id, 0, '', 'call', '', 'm', true, NULL, NULL, 's', '', NULL,
        trajectory_id, NULL, true FROM trajectories"""
    store.execute(sql)
    prune(store, Rules(Keep(days=3.5)), NOW)
    assert store.rows("SELECT trajectory_id FROM feedback ORDER BY 1") == store.rows(
        "SELECT trajectory_id FROM trajectories ORDER BY 1"
    )


def test_all_that_is_said_about_a_call_goes_with_it(store: Store, make_call: Make) -> None:
    fill(store, make_call, 4)
    store.execute("""
        INSERT INTO verdicts BY NAME SELECT row_number() OVER () AS seq, 0 AS "at", call_id, 's' AS student,
            'shadow' AS kind, 'p' AS pattern_id, 'human' AS source, 'ann' AS who, 'worse' AS verdict, '' AS reason,
            1 AS asked FROM calls
    """)
    store.execute("""
        INSERT INTO teacher_repeats BY NAME SELECT call_id, 'p' AS pattern_id, trajectory_id, 0 AS loss, '' AS reason,
            1 AS comparator, '' AS policy, 'hello' AS answer, 0 AS "at" FROM calls WHERE trajectory_id IS NOT NULL
    """)
    store.execute("INSERT INTO verifications SELECT trajectory_id, 'm:f', '', 1, 0, 0, '' FROM trajectories")
    assert prune(store, Rules(Keep(days=3.5)), NOW).runs
    left = {str(one) for (one,) in store.rows("SELECT call_id FROM calls")}
    for table in ("verdicts", "teacher_repeats", "comparisons"):
        named = {str(one) for (one,) in store.rows(f"SELECT call_id FROM {table}")}
        assert named, table
        assert named <= left, table
    assert verify(store).found == 0


@pytest.mark.parametrize("keep", [Keep(days=-1.0), Keep(bytes=-1), Keep(days=float("nan"))])
def test_limits_that_make_no_sense_are_refused(keep: Keep) -> None:
    with pytest.raises(BadInput, match=r"keep_days and max_bytes in \[store\]"):
        Rules(keep)
    with pytest.raises(BadInput, match=r"store\.per_pattern\.x"):
        Rules(Keep(), {"x": keep})


def test_no_rule_is_no_limit() -> None:
    assert not Rules().limited
    assert Rules(Keep(), {"x": Keep(bytes=1)}).limited
