"""What the rows of the sums are, on tables small enough to count by hand."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.traffic.store import Store
from tutelage.traffic.sums import ADD_RUNS, LATENCIES, STEPS


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store.duckdb") as opened:
        yield opened


def test_a_run_of_two_patterns_counts_for_both_once(store: Store) -> None:
    rows = pa.table({"pattern_id": ["p", "p", "q", None], "trajectory_id": ["t", "t", "t", "t"]})
    assert store.bulk(ADD_RUNS.format(source="batch"), rows) == 2
    assert store.bulk(ADD_RUNS.format(source="batch"), rows) == 0


@pytest.fixture(scope="module")
def latencies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("sums") / "store.duckdb") as opened:
        yield opened


@given(st.floats(0, 1e9))
def test_a_latency_lies_within_its_step(latencies: Store, latency_ms: float) -> None:
    columns = {"started_at": 0.0, "pattern_id": "p", "route": "teacher", "model": "m", "latency_ms": latency_ms}
    batch = pa.table({name: [value] for name, value in columns.items()})
    [(*_, step, attempts)] = latencies.join(LATENCIES.format(source="batch", sign=""), batch)
    assert attempts == 1
    low, high = (0.0, 1.0) if step == -1 else (2.0 ** (step / STEPS), 2.0 ** ((step + 1) / STEPS))
    assert low * (1 - 1e-12) <= latency_ms <= high * (1 + 1e-12)
