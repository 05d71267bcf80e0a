"""Faults, overload and shed calls are told apart."""

from typing import Any

from tutelage.proxy import sessions
from tutelage.proxy.usable import LATE, NO_LABEL, SHED, Excused, Usable, usable
from tutelage.traffic.rollup import recount


def test_reasons_are_sorted(control_world: Any) -> None:
    world = control_world
    world.play(40)
    world.add_student()
    world.play(3, route="student", student=world.version)
    for reason in (*SHED, *LATE, "student_invalid_output", "student_timeout"):
        world.play(1, route="teacher", student=world.version, fallback=reason)
    store = world.plane.store
    chosen = sessions.served_badly(store)
    assert chosen == {(world.pattern, world.version): (3 + len(SHED) + len(LATE) + 2, len(SHED) + len(LATE) + 2)}
    assert usable(Excused(store), chosen) == {(world.pattern, world.version): Usable(3 + len(LATE) + 2, 2, len(LATE))}


def test_without_fallbacks_the_store_is_not_asked() -> None:
    assert usable(Excused(None), {("p", "a@1"): (5, 0)}) == {("p", "a@1"): Usable(5, 0, 0)}  # type: ignore[arg-type]


def test_counts_never_go_back() -> None:
    """Calls that are removed from the store have been counted already."""
    assert Usable(5, 1, 0).since(Usable(9, 1, 0)) == Usable(0, 0, 0)
    assert Usable(9, 2, 3).since(Usable(5, 1, 0)) == Usable(4, 1, 3)
    assert Usable(1, 1, 1).plus(2, 0, 1) == Usable(3, 1, 2)


def test_what_was_shed_or_late_gets_no_label(control_world: Any) -> None:
    world = control_world
    world.through_shadow()
    for reason in NO_LABEL:
        world.play(1, route="teacher", student=world.version, fallback=reason)
    assert world.plane.keeper.tasks("audit", 100) == []
    world.play(1, route="teacher", student=world.version, fallback="student_timeout")
    assert [task.failure for task in world.plane.keeper.tasks("audit", 100)] == ["fallback:student_timeout"]


def test_what_is_kept_by_the_hour_is_what_counting_everything_gives(control_world: Any) -> None:
    world = control_world
    world.play(40)
    world.add_student()
    store = world.plane.store
    kept = Excused(store)

    def same() -> bool:
        return kept.counts() == Excused(store).counts()

    for reason in (SHED[0], LATE[0], SHED[1], "student_timeout"):
        world.play(2, route="teacher", student=world.version, fallback=reason)
        assert same()
        world.now += 2_000.0
    assert kept.counts() == {(world.pattern, world.version): (4, 2)}
    store.execute("UPDATE calls SET fallback = '' WHERE fallback = ?", (SHED[0],))
    recount(store)
    assert kept.counts() == {(world.pattern, world.version): (2, 2)}
    store.execute("UPDATE calls SET pattern_id = 'other' WHERE fallback = ?", (LATE[0],))
    recount(store)
    assert kept.counts() == {(world.pattern, world.version): (2, 0), ("other", world.version): (0, 2)}
    assert same()
