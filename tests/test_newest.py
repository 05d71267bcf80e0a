"""The newest calls are found whatever the question leaves out, without a look at the oldest if there are enough."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tutelage.traffic.ingest import Ingest
from tutelage.traffic.lookup import NAME_KEY
from tutelage.traffic.newest import answered_as, newest, since_when
from tutelage.traffic.records import CallRecord, encode
from tutelage.traffic.store import Store

Make = Callable[..., CallRecord]
HOURS = 60


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One call of `p_1` in each of 60 hours, three of `p_2` in each tenth."""
    from conftest import chat_call

    calls = []
    for hour in range(HOURS):
        for number, pattern in enumerate(["p_1", *(["p_2"] * 3 if hour % 10 == 0 else [])]):
            question = {"role": "user", "content": f"{hour} {number}"}
            calls.append(chat_call([question], started_at=hour * 3_600.0 + number, pattern=pattern))
    with Store(tmp_path_factory.mktemp("newest") / "store.duckdb") as opened:
        Ingest(opened).apply([encode(call) for call in calls], {})
        yield opened


@pytest.mark.parametrize(
    ("calls", "patterns", "before", "at", "everything"),
    [
        (1, None, None, 59 * 3_600, False),
        (5, ["p_1"], None, 55 * 3_600, False),
        (4, ["p_2"], None, 40 * 3_600, False),
        (7, ["p_1", "p_2"], None, 53 * 3_600, False),
        (1_000, ["p_2"], None, 0, True),
        (2, ["p_1"], 10 * 3_600 + 5.0, 8 * 3_600, False),
        (2, ["p_1"], 5.0, 0, True),
        (3, ["p_9"], None, 0, True),
    ],
)
def test_from_when_on_enough_calls_lie(
    store: Store, calls: int, patterns: list[str] | None, before: float | None, at: float, everything: bool
) -> None:
    assert since_when(store, calls, patterns, before) == (at, everything)


@pytest.mark.parametrize("limit", [1, 3, 7, 30, 500])
@pytest.mark.parametrize("patterns", [None, ["p_1"], ["p_2"], ["p_9"]])
@pytest.mark.parametrize("before", [None, 100_000.0])
def test_what_the_question_leaves_out_is_made_up_for(
    store: Store, limit: int, patterns: list[str] | None, before: float | None
) -> None:
    asked: list[float] = []

    def ask(since: float) -> list[tuple[object, ...]]:
        asked.append(since)
        # Of every second hour only.
        sql = """
            SELECT started_at FROM calls WHERE started_at >= ? AND started_at < coalesce(?, 1e9)
                AND floor(started_at / 3600) % 2 = 0 AND (? IS NULL OR list_contains(?, pattern_id))
            ORDER BY started_at DESC LIMIT ?
        """
        return store.rows(sql, [since, before, patterns, patterns, limit])

    found = newest(store, limit, ask, patterns, before)
    assert found == ask(0.0)
    assert asked[:-1] == sorted(asked[:-1], reverse=True)
    if limit == 1 and patterns == ["p_1"] and before is None:
        assert min(asked[:-1]) > 0


def test_an_answer_is_found_by_the_name_that_its_provider_gave_it(tmp_path: Path, make_call: Make) -> None:
    call = make_call([{"role": "user", "content": "hi"}], {"role": "assistant", "content": "hello"}, caller="c")
    with Store(tmp_path / "store.duckdb") as store:
        Ingest(store).apply([encode(call)], {})
        key = NAME_KEY.format(name="'chatcmpl-7'")
        store.execute(f"UPDATE calls SET upstream_id = 'chatcmpl-7', upstream_key = {key}")
        found = answered_as(store, "c", "chatcmpl-7")
        assert found is not None
        assert "hello" in found.body
        assert answered_as(store, "somebody else", "chatcmpl-7") is None
        store.execute("UPDATE calls SET upstream_id = 'another of the same key'")
        assert answered_as(store, "c", "chatcmpl-7") is None
