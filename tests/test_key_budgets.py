"""What a caller used: the ledger's rules, with no way round a budget by leaving early."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.proxy.key_budgets import PERIODS, Span, Spending, span_of, spending
from tutelage.proxy.options import Price
from tutelage.traffic.ingest import Ingest
from tutelage.traffic.records import CallRecord, encode
from tutelage.traffic.store import Store

PRICES = {"teacher-1-big": Price(2.0, 8.0)}
DOLLARS = (100 * 2 + 10 * 8) / 1e6
"""Of one call of `make_call`: 100 tokens in, 10 out."""
ASK, SAY = [{"role": "user", "content": "hi"}], {"role": "assistant", "content": "yes"}
DAY = Span(0.0, 86_400.0)


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("period", "now", "begin", "end"),
    [
        ("day", "2026-11-21T04:00", "2026-11-21", "2026-11-22"),
        ("day", "2026-12-31T23:59:59", "2026-12-31", "2027-01-01"),
        ("month", "2026-11-01T00:00", "2026-11-01", "2026-12-01"),
        ("month", "2028-02-29T12:00", "2028-02-01", "2028-03-01"),
        ("month", "2026-12-31T23:59:59", "2026-12-01", "2027-01-01"),
    ],
)
def test_periods_are_days_and_months_of_the_calendar(period: Any, now: str, begin: str, end: str) -> None:
    assert span_of(period, at(now)) == (at(begin), at(end))


@given(now=st.floats(0, 4e9), period=st.sampled_from(PERIODS))
def test_periods_cover_all_time_once(now: float, period: Any) -> None:
    span = span_of(period, now)
    assert span.begin <= now < span.end
    assert span_of(period, span.end).begin == span.end


@pytest.fixture
def add(tmp_path: Path, make_call: Callable[..., CallRecord]) -> Iterator[Callable[..., Store]]:
    with Store(tmp_path / "store.duckdb") as store:

        def add(count: int = 1, answer: Any = SAY, **fields: Any) -> Store:
            fields = {"caller": "a", **fields}
            Ingest(store).apply([encode(make_call(ASK, answer, **fields)) for _ in range(count)], {})
            return store

        yield add


def of_a(store: Store, prices: Any = PRICES, span: Span = DAY) -> Spending:
    spent = spending(store, ["a"], span, prices).get("a", Spending())
    return replace(spent, usd=round(spent.usd, 9))


def test_calls_tokens_and_dollars_of_the_caller_alone_are_counted(add: Callable[..., Store]) -> None:
    add(3)
    store = add(5, caller="b")
    assert of_a(store) == Spending(3, 330, round(3 * DOLLARS, 9), 0)
    assert set(spending(store, ["a", "b", "c"], DAY, PRICES)) == {"a", "b"}
    assert spending(store, [], DAY, PRICES) == {}


def test_only_the_period_counts(add: Callable[..., Store]) -> None:
    add(started_at=-0.5)
    add(started_at=0.0)
    add(started_at=86_399.9)
    assert of_a(add(started_at=86_400.0)).calls == 2


def test_the_student_costs_tokens_but_no_dollars(add: Callable[..., Store]) -> None:
    add(2, route="student", student="desk@1")
    assert of_a(add(1)) == Spending(3, 330, round(DOLLARS, 9), 0)


def test_refused_and_failed_calls_cost_nothing(add: Callable[..., Store]) -> None:
    add(2, answer=None, route="none", status=429)
    assert of_a(add(2, answer=None, status=500)) == Spending(4, 0, 0.0, 0)


def test_an_answer_that_was_cut_off_is_charged_at_the_mean(add: Callable[..., Store]) -> None:
    add(4)
    spent = of_a(add(2, answer=None, status=200, stream=True, cancelled=True))
    assert spent == Spending(6, 660, round(6 * DOLLARS, 9), 0)


def test_requests_that_ask_no_model_are_not_charged(add: Callable[..., Store]) -> None:
    add(2)
    listing = {"endpoint": "/v1/models", "method": "GET", "request": b"", "response": b'{"object": "list", "data": []}'}
    spent = of_a(add(5, answer=None, status=200, response_type="application/json", **listing))
    assert spent == Spending(7, 220, round(2 * DOLLARS, 9), 0)


def test_what_cannot_be_counted_is_named(add: Callable[..., Store]) -> None:
    store = add(2, answer=None, status=200, stream=True, cancelled=True)
    assert of_a(store) == Spending(2, 0, 0.0, 2), "no call tells what they may have cost"
    assert of_a(add(3), prices={}) == Spending(5, 550, 0.0, 5), "no price"
