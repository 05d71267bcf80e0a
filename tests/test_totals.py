"""Sums read from the hours are those that a count over the calls gives; percentiles are near the true ones."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tutelage.traffic import totals
from tutelage.traffic.ingest import Ingest
from tutelage.traffic.records import CallRecord, encode
from tutelage.traffic.store import Store
from tutelage.traffic.totals import quantile

Make = Callable[..., CallRecord]
START = 1_800_000_000.0 // 3_600 * 3_600


@pytest.fixture
def calls(make_call: Make) -> list[CallRecord]:
    chance = random.Random(1)
    return [
        make_call(
            [{"role": "user", "content": str(number)}],
            {"role": "assistant", "content": "x"},
            started_at=START + number * 97.0,
            pattern=chance.choice(("p_1", "p_2")),
            latency_ms=chance.lognormvariate(6.5, 1.0),
            route=chance.choice(("teacher", "student")),
        )
        for number in range(400)
    ]


@pytest.fixture
def store(tmp_path: Path, calls: list[CallRecord]) -> Iterator[Store]:
    with Store(tmp_path / "store.duckdb") as opened:
        Ingest(opened).apply([encode(call) for call in calls], {})
        yield opened


@pytest.mark.parametrize("since", [0.0, START, START + 1_000.0, START + 7_200.0])
@pytest.mark.parametrize("pattern", ["", "p_1", "p_9"])
def test_hours_from_sums_are_those_of_minutes_added_up(store: Store, since: float, pattern: str) -> None:
    hours = {
        (point.at, point.route): (point.calls, point.failed, point.prompt_tokens, point.completion_tokens)
        for point in totals.traffic_by_minute(store, since, bucket_s=3_600.0, pattern=pattern)
    }
    added: dict[tuple[float, str], tuple[int, ...]] = {}
    for point in totals.traffic_by_minute(store, since, bucket_s=60.0, pattern=pattern):
        key = (point.at // 3_600 * 3_600, point.route)
        figures = point.calls, point.failed, point.prompt_tokens, point.completion_tokens
        added[key] = tuple(map(sum, zip(added.get(key, (0, 0, 0, 0)), figures, strict=True)))
    assert hours == added


@pytest.mark.parametrize("since", [0.0, START + 10_000.0])
def test_percentiles_of_latency_are_within_a_step(store: Store, calls: list[CallRecord], since: float) -> None:
    for use in totals.model_use(store, since, pattern="p_2"):
        known = [one for one in calls if one.route == use.route and one.pattern == "p_2" and one.started_at >= since]
        times = sorted(one.latency_ms for one in known)
        assert use.calls == len(times)
        assert use.latency_p50_ms == pytest.approx(times[(len(times) - 1) // 2], rel=0.05)
        assert use.latency_p95_ms == pytest.approx(times[-(-len(times) * 95 // 100) - 1], rel=0.05)


def test_one_pattern_is_its_row_of_the_list(store: Store) -> None:
    store.execute(
        "INSERT INTO patterns VALUES ('p_1', 'a', 'n', 1, 'user', '{}', 0), ('p_2', 'a', 'n', 1, 'tool', '{}', 0)"
    )
    for row in totals.list_patterns(store):
        assert totals.list_patterns(store, 1, pattern=row.pattern_id) == [row]
    assert totals.list_patterns(store, pattern="p_9") == []


def test_quantiles_of_steps() -> None:
    assert quantile([], 0.5) is None
    assert quantile([(-1, 3)], 0.5) == 0.0
    assert quantile([(0, 1), (80, 1)], 0.5) == pytest.approx(2 ** (1 / 16))
    assert quantile([(0, 1), (80, 1)], 0.95) == pytest.approx(1024 * 2 ** (1 / 16))
