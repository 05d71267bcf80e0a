"""The history in the store."""

from pathlib import Path
from typing import Any

import pytest

from tutelage.traffic.pattern_edits import Merge, Rename, Undo, made_pattern
from tutelage.traffic.pattern_log import PatternLog, by_use, recalled, write_patterns
from tutelage.traffic.patterns import PatternEntry, Registry
from tutelage.traffic.records import encode
from tutelage.traffic.store import Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s.duckdb"


def test_the_history_survives_and_goes_on(path: Path) -> None:
    with Store(path) as store:
        log = PatternLog(store)
        assert (log.events, log.in_force) == ((), ())
        first = log.append(Rename("a", "b"), 1.0, "ann")
        log.append(Rename("b", "c"), 2.0, "ann")
        assert log.append(Undo(2), 3.0, "bob").seq == 3
        assert log.in_force == (first,)
        kept = log.events
    with Store(path) as store:
        again = PatternLog(store)
        assert again.events == kept
        assert again.append(Undo(1), 4.0, "ann").seq == 4
        assert again.in_force == ()


def test_what_cannot_be_is_not_written(path: Path) -> None:
    with Store(path) as store:
        log = PatternLog(store)
        with pytest.raises(ValueError, match="nothing was the newest"):
            log.append(Undo(1), 1.0, "ann")
        assert log.events == PatternLog(store).events == ()


def test_the_table_follows_the_edits(path: Path) -> None:
    entries = [
        PatternEntry(pattern_id=f"p_{x}", agent_id=f"a_{x}", name=x, version=1, role="user", agent_key=x) for x in "ab"
    ]
    with Store(path) as store:
        log, registry = PatternLog(store), Registry(entries)

        def rows() -> set[tuple[str, str, int]]:
            return set(store.rows("SELECT pattern_id, name, version FROM patterns"))

        from tutelage.traffic.rows import INSERT_PATTERNS, patterns_table

        store.bulk(INSERT_PATTERNS, patterns_table(entries))
        log.append(Merge(("a_a", "a_b"), "a_m", "a", 2), 5.0, "ann")
        log.append(Rename("a", "new"), 6.0, "ann")
        for _ in range(2):
            registry.edit(log.in_force)
            write_patterns(store, registry)
            assert rows() == {("p_a", "new", 1), ("p_b", "b", 1), (made_pattern("a_m", "user"), "new", 2)}
        log.append(Undo(2), 7.0, "ann")
        registry.edit(log.in_force)
        write_patterns(store, registry)
        assert rows() == {("p_a", "a", 1), ("p_b", "b", 1), (made_pattern("a_m", "user"), "a", 2)}
        write_patterns(store, Registry())
        assert len(rows()) == 3


def test_patterns_are_recalled_and_ranked_by_their_last_call(control_world: Any, make_call: Any) -> None:
    world = control_world
    for name in ("first", "second", "first"):
        world.now += 1.0
        record = make_call([{"role": "user", "content": name}], started_at=world.now, hint=name)
        assert world.writer.append(encode(record))
        assert world.writer.flush()
        world.plane.catch_up()
    store, entries = world.plane.store, {entry.hint: entry for entry in world.plane.keeper.registry.found()}
    assert by_use(store) == [entries["second"].pattern_id, entries["first"].pattern_id]
    assert recalled(store, entries["first"].pattern_id) == entries["first"]
    assert recalled(store, "p_none") is None
