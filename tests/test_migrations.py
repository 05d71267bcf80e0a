"""The schema's history: old databases with rows in them come up to date, newer ones are refused."""

from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from tutelage.traffic.errors import StoreTooNew
from tutelage.traffic.ingest import Ingest
from tutelage.traffic.migrations import MIGRATIONS, Migration, migrate
from tutelage.traffic.newest import answered_as
from tutelage.traffic.records import CallRecord, encode
from tutelage.traffic.rollup import settle
from tutelage.traffic.store import Store

CALL = "0190a000-0000-7000-8000-000000000001"
LATER = Migration("add_a_note_to_calls", "ALTER TABLE calls ADD COLUMN note VARCHAR; UPDATE calls SET note = 'old';")


def oldest(path: Path) -> Path:
    """A database of the first schema with a row in each table that matters."""
    connection = duckdb.connect(path)
    assert migrate(connection, MIGRATIONS[:1]) == ["create_the_first_tables"]
    connection.execute("INSERT INTO calls (call_id, started_at, route) VALUES (?, 12.5, 'teacher')", [CALL])
    connection.execute(
        'INSERT INTO comparisons (call_id, student, kind, pattern_id, trajectory_id, loss, reason, "at") '
        "VALUES (?, 'tiny@1', 'shadow', 'p_1', 't_1', 0.5, 'other', 13.0)",
        [CALL],
    )
    connection.execute("INSERT INTO messages VALUES (uuid(), uuid(), 0, 'user', '{}')")
    run = "('x:old', TRUE, 'a_1', '', '', 1.0, 2.0, 3, NULL, 'open', FALSE)"
    connection.execute(f"INSERT INTO trajectories VALUES {run}")
    connection.execute("INSERT INTO route_events VALUES (1, 2.0, 'p_1', 'tiny@1', 'session', '{}', '')")
    connection.execute("INSERT INTO journal_positions VALUES ('w/1', 77)")
    connection.close()
    return path


def test_the_oldest_database_opens_with_all_its_rows(tmp_path: Path) -> None:
    with Store(oldest(tmp_path / "store.duckdb")) as store:
        assert store.query("SELECT call_id, started_at FROM calls") == [{"call_id": CALL, "started_at": 12.5}]
        assert store.value("SELECT position FROM journal_positions") == 77
        assert store.value("SELECT count(*) FROM messages") == 1
        assert store.rows("SELECT trajectory_id, calls, parent_id FROM trajectories") == [("x:old", 3, None)]
        names = [name for (name,) in store.rows("SELECT name FROM migrations ORDER BY applied_at")]
        assert names == [step.name for step in MIGRATIONS]


def test_the_sums_of_an_old_database_are_counted_from_its_rows(tmp_path: Path) -> None:
    path = oldest(tmp_path / "store.duckdb")
    connection = duckdb.connect(path)
    connection.execute("""
        INSERT INTO calls (call_id, started_at, route, model, pattern_id, trajectory_id, caller, status, prompt_tokens,
            completion_tokens, latency_ms)
        SELECT uuid(), 7200.0 + n, 'teacher', 'm', 'p_1', 't' || n % 3, 'c', 200, 10, 2, 100.0 FROM range(9) r(n)
    """)
    connection.close()
    with Store(path) as store:
        sql = "SELECT hour, calls, prompt_tokens, first_at, last_at FROM traffic_hours WHERE pattern_id = 'p_1'"
        assert store.rows(sql) == [(2, 9, 90, 7200.0, 7208.0)]
        assert store.rows("SELECT attempts FROM latency_days WHERE pattern_id = 'p_1'") == [(9,)]
        assert store.rows("SELECT attempts, completion_tokens FROM caller_days WHERE caller = 'c'") == [(9, 18)]
        assert store.value("SELECT count(*) FROM pattern_runs") == 3
        assert store.rows("SELECT * FROM pattern_sessions") == [("p_1", 3)]
        sql = "SELECT day, calls, prompt_tokens, first_at, last_at FROM traffic_days WHERE pattern_id = 'p_1'"
        assert store.rows(sql) == [(0, 9, 90, 7200.0, 7208.0)]
        assert store.value("SELECT ruled_loss FROM comparisons") == 0.5


def test_the_answers_of_an_old_database_are_found_by_their_providers_names(tmp_path: Path) -> None:
    path = oldest(tmp_path / "store.duckdb")
    connection = duckdb.connect(path)
    migrate(connection, [step for step in MIGRATIONS if step.name != "find_answers_by_a_short_key"])
    connection.execute(
        "UPDATE calls SET caller = 'c', upstream_id = 'chatcmpl-1', response_id = message_id FROM messages"
    )
    connection.close()
    with Store(path) as store:
        found = answered_as(store, "c", "chatcmpl-1")
        assert found is not None
        assert found.body == "{}"
        assert answered_as(store, "c", "chatcmpl-2") is None


def test_calls_that_waited_one_by_one_are_counted_once(tmp_path: Path, make_call: Callable[..., CallRecord]) -> None:
    path = oldest(tmp_path / "store.duckdb")
    connection = duckdb.connect(path)
    migrate(connection, [step for step in MIGRATIONS if step.name != "count_new_calls_by_batch"])
    connection.execute("INSERT INTO calls (call_id, started_at, route) SELECT uuid(), n, 'teacher' FROM range(4) r(n)")
    connection.execute("INSERT INTO uncounted SELECT call_id FROM calls WHERE started_at < 4")
    connection.close()
    with Store(path) as store:
        assert store.value("SELECT sum(attempts) FROM traffic_hours") == 5
        Ingest(store).apply([encode(make_call([{"role": "user", "content": "hi"}]))], {})
        for _ in range(2):
            assert store.value("SELECT sum(attempts) FROM traffic_hours") == 6
            assert store.value("SELECT sum(attempts) FROM traffic_days") == 6
            settle(store)


def test_runs_that_were_counted_under_an_index_stay_counted_once(
    tmp_path: Path, make_call: Callable[..., CallRecord]
) -> None:
    path = oldest(tmp_path / "store.duckdb")
    connection = duckdb.connect(path)
    migrate(connection, [step for step in MIGRATIONS if step.name != "keep_counted_runs_without_an_index"])
    counted = "SELECT md5_number_lower(concat('p', ' x:', n)), 'p', 'x:' || n FROM range(3) r(n)"
    connection.execute(f"INSERT INTO counted_runs {counted}; INSERT INTO counted_sessions VALUES ('p', 3)")
    connection.close()
    with Store(path) as store:
        said = [{"role": "user", "content": "hi"}]
        records = [make_call(said, pattern="p", trajectory=str(number), started_at=9.0) for number in (1, 2, 3, 3)]
        Ingest(store).apply([encode(record) for record in records], {})
        for _ in range(2):
            assert sorted(store.rows("SELECT trajectory_id FROM pattern_runs")) == [(f"x:{n}",) for n in range(4)]
            assert store.rows("SELECT sum(runs) FROM pattern_sessions") == [(4,)]
            settle(store)
        keys = "SELECT constraint_type FROM duckdb_constraints() WHERE table_name = 'counted_runs'"
        assert {kind for (kind,) in store.rows(keys)} == {"NOT NULL"}


def test_a_later_step_runs_once_on_the_oldest_database(tmp_path: Path) -> None:
    connection = duckdb.connect(oldest(tmp_path / "store.duckdb"))
    assert migrate(connection, [*MIGRATIONS, LATER])[-1:] == [LATER.name]
    assert migrate(connection, [*MIGRATIONS, LATER]) == []
    assert connection.execute("SELECT note, route FROM calls").fetchall() == [("old", "teacher")]
    connection.close()


def test_a_step_that_fails_leaves_the_database_as_the_step_before_did(tmp_path: Path) -> None:
    connection = duckdb.connect(oldest(tmp_path / "store.duckdb"))
    broken = Migration("break_things", "ALTER TABLE calls ADD COLUMN note VARCHAR; SELECT nonsense;")
    with pytest.raises(duckdb.Error):
        migrate(connection, [*MIGRATIONS, broken])
    columns = [row[0] for row in connection.execute("DESCRIBE calls").fetchall()]
    assert "note" not in columns
    assert migrate(connection) == []
    assert connection.execute("SELECT count(*) FROM calls").fetchone() == (1,)
    connection.close()


@pytest.mark.parametrize("read_only", [False, True])
def test_a_newer_database_is_refused_by_name_and_not_touched(tmp_path: Path, read_only: bool) -> None:
    path = oldest(tmp_path / "store.duckdb")
    connection = duckdb.connect(path)
    migrate(connection, [*MIGRATIONS, LATER])
    connection.close()
    with pytest.raises(StoreTooNew, match=r"newer version of tutelage.*'add_a_note_to_calls'.*Upgrade"):
        Store(path, read_only=read_only)
    connection = duckdb.connect(path)
    assert connection.execute("SELECT count(*) FROM migrations").fetchone() == (len(MIGRATIONS) + 1,)
    connection.close()
