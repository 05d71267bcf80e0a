"""Attempts of one action among calls that are no conversations."""

from pathlib import Path
from typing import Any

import pytest

from tutelage.traffic.ingest import Ingest
from tutelage.traffic.records import CallRecord, encode, new_call_id
from tutelage.traffic.retries import Retries
from tutelage.traffic.store import Store


@pytest.fixture
def store(tmp_path: Path):
    with Store(tmp_path / "store.duckdb") as opened:
        yield opened


def attempt(at: float, **fields: Any) -> CallRecord:
    values = {"endpoint": "/v1/embeddings", "request": b'{"input": "x"}', "caller": "k", "status": 200}
    return CallRecord(call_id=new_call_id(at), started_at=at, **(values | fields))


def test_after_a_failure_the_same_bytes_are_another_attempt(store: Store) -> None:
    retries = Retries(store)
    first, second, third = attempt(1.0), attempt(60.0), attempt(90.0)
    assert retries.repeated(first, failed=True) is None
    assert retries.repeated(second, failed=False) == first.call_id
    assert retries.repeated(third, failed=False) is None


def test_a_library_that_says_so_is_believed_for_longer(store: Store) -> None:
    retries = Retries(store)
    first, second, third = attempt(1.0), attempt(500.0, retry=1), attempt(1200.0, retry=2)
    assert retries.repeated(first, failed=False) is None
    assert retries.repeated(second, failed=False) == first.call_id
    assert retries.repeated(third, failed=False) is None


@pytest.mark.parametrize("other", [{"caller": "l"}, {"endpoint": "/v1/completions"}, {"request": b"{}"}])
def test_other_calls_are_no_attempts(store: Store, other: dict[str, Any]) -> None:
    retries = Retries(store)
    assert retries.repeated(attempt(1.0), failed=True) is None
    assert retries.repeated(attempt(2.0, **other), failed=False) is None
    assert retries.repeated(attempt(200.0), failed=False) is None
    assert retries.repeated(attempt(201.0, request=b""), failed=True) is None


def test_a_restart_forgets_nothing(store: Store) -> None:
    failed, again = attempt(1.0, status=500, response=b"{}"), attempt(2.0, response=b'{"data": []}')
    Ingest(store).apply([encode(failed)], {})
    Ingest(store).apply([encode(again)], {})
    rows = store.query("SELECT call_id, retry_of, retried, error FROM calls ORDER BY started_at")
    assert [(row["retry_of"], bool(row["retried"]), row["error"]) for row in rows] == [
        (None, True, "http_500"),
        (failed.call_id, False, ""),
    ]
    assert Retries(store).repeated(attempt(3.0), failed=False) is None
