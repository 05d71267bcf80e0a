"""The keeper applies the rules at most hourly, in small steps, and never takes what budgets are counted from."""

from typing import Any

import pytest

from tutelage.proxy.housekeeping import EVERY_S, Housekeeping, kept_since, rules_of
from tutelage.proxy.key_budgets import span_of
from tutelage.proxy.options import PatternStoreOptions, StoreOptions
from tutelage.traffic.errors import BadInput
from tutelage.traffic.intents import Intent, IntentBook, read_book, write_book
from tutelage.traffic.retention import Keep, Rules

DAY = 86_400.0


def test_the_rules_of_the_settings() -> None:
    options = StoreOptions(3.0, 10, {"p": PatternStoreOptions(1.0, 5)})
    assert rules_of(options) == Rules(Keep(3.0, 10), {"p": Keep(1.0, 5)})
    with pytest.raises(BadInput, match="keep_days"):
        rules_of(StoreOptions(keep_days=-1.0))


def book_of(world: Any) -> IntentBook:
    """All sessions as one intent."""
    sessions = tuple(name for (name,) in world.plane.store.rows("SELECT trajectory_id FROM trajectories"))
    intent = Intent(intent_id="i_1", name="parcels", sessions=sessions)
    return IntentBook(pattern_id="p_1", found_at=1.0, model="m", intents=(intent,))


def calls_of(world: Any) -> int:
    return world.plane.store.value("SELECT count(*) FROM calls")


def test_it_is_done_at_most_hourly_also_by_another_process(control_world: Any) -> None:
    world, options = control_world, StoreOptions(keep_days=1.0)
    world.play(3)
    store, clock = world.plane.store, lambda: world.now
    keeping = Housekeeping(world.data, store, options, clock)
    assert keeping.step() is not None
    assert calls_of(world) == 3
    world.now += 2 * DAY
    removed = keeping.step()
    assert removed is not None
    assert removed.calls == 3
    world.play(2)
    world.now += EVERY_S - 10
    assert keeping.step() is None
    assert Housekeeping(world.data, store, options, clock).step() is None
    world.now += 20
    assert Housekeeping(world.data, store, options, clock).step() is not None


def test_without_rules_nothing_is_done(control_world: Any) -> None:
    assert Housekeeping(control_world.data, control_world.plane.store, StoreOptions()).step() is None


def test_the_keeper_does_it(control_world: Any) -> None:
    world = control_world
    world.play(4)
    options = StoreOptions(keep_days=1.0)
    world.plane.keeper.housework = Housekeeping(world.data, world.plane.store, options, lambda: world.now).step
    write_book(world.data, book_of(world))
    assert book_of(world).intents[0].sessions
    world.now += 2 * DAY
    world.plane.catch_up()
    assert calls_of(world) == 0
    assert read_book(world.data, "p_1") is None, "its sessions are gone"
    world.play(1)
    assert calls_of(world) == 1


def test_calls_that_a_budget_counts_stay(control_world: Any) -> None:
    world = control_world
    assert kept_since(world.plane.store, world.now) is None
    sql = "INSERT INTO proxy_keys VALUES ('k', 'n', 'h', 1, 0, 0, 0, 0, 0, 5.0, 0, 'month', '[]')"
    world.plane.store.execute(sql)
    assert kept_since(world.plane.store, world.now) == span_of("month", world.now).begin


def test_a_failure_is_logged_and_the_keeper_goes_on(control_world: Any, caplog: Any) -> None:
    world = control_world
    keeping = Housekeeping(world.data, world.plane.store, StoreOptions(keep_days=1.0), lambda: world.now)
    world.plane.store.execute("DROP TABLE toolsets")
    world.play(0)
    world.plane.store.execute("INSERT INTO calls (call_id, started_at) VALUES (uuid(), 1.0)")
    assert keeping.step() is None
    assert "tried again in an hour" in caplog.text
    assert keeping.step() is None
