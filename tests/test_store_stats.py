"""What `store stats` tells beside the totals."""

from collections.abc import Callable
from pathlib import Path

from tutelage.traffic.ingest import Ingest
from tutelage.traffic.migrations import MIGRATIONS
from tutelage.traffic.records import CallRecord, encode
from tutelage.traffic.store import Store
from tutelage.traffic.store_stats import detailed, details


def test_sizes_times_and_versions(tmp_path: Path, make_call: Callable[..., CallRecord]) -> None:
    with Store(tmp_path / "store.duckdb") as store:
        empty = details(store)
        assert (empty.oldest_at, empty.newest_at, empty.content_bytes) == (None, None, 0)
        calls = [
            make_call([{"role": "user", "content": f"{at}"}], {"role": "assistant", "content": "a"}, started_at=at)
            for at in (5.0, 9.0)
        ]
        Ingest(store).apply([encode(call) for call in calls], {})
        store.checkpoint()
        found = details(store)
        assert (found.oldest_at, found.newest_at) == (5.0, 9.0)
        assert found.tables["calls"].rows == 2
        assert 0 < found.tables["messages"].bytes <= store.bytes_on_disk()
        assert found.content_bytes > 0
        assert found.migrations == [step.name for step in MIGRATIONS]
        whole = detailed(store)
        assert (whole["calls"], whole["tables"]["calls"]["rows"]) == (2, 2)
