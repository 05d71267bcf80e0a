"""The keeper's side of edits: committed before they are in force, and never under a serving student."""

from typing import Any

import duckdb
import msgspec
import pytest

from tutelage.proxy.operators import Wish
from tutelage.proxy.pattern_editor import PatternEditor
from tutelage.traffic import pattern_plans
from tutelage.traffic.errors import BadInput
from tutelage.traffic.pattern_edits import Merge, Rename, Undo, made_pattern
from tutelage.traffic.patterns import Registry
from tutelage.traffic.records import encode


def test_the_store_decides_not_the_published_file(control_world: Any) -> None:
    world = control_world
    world.play(40)
    name = world.plane.keeper.registry.entries()[0].name
    world.plane.keeper.edit_patterns(lambda _: Rename(name, "front"), "ann")
    assert Registry.load(world.data.patterns).entries()[0].name == "front"
    # As after a crash between the commit and the publication.
    Registry(world.plane.keeper.registry.found()).publish(world.data.patterns)
    world.reopen()
    world.plane.catch_up()
    assert Registry.load(world.data.patterns).entries()[0].name == "front"
    (event,) = world.plane.keeper.editor.history
    assert (event.seq, event.actor, event.at, event.change) == (1, "ann", world.now, Rename(name, "front"))


def test_a_split_by_model_is_in_force_for_new_calls_until_it_is_undone(control_world: Any) -> None:
    world = control_world
    keeper = world.plane.keeper

    def asked(model: bytes) -> str:
        """The pattern in the store of a call for this model."""
        world.now += 1.0
        record = world.record()
        record = msgspec.structs.replace(record, request=record.request.replace(b"teacher-1", model))
        assert world.writer.append(encode(record))
        assert world.writer.flush()
        world.plane.catch_up()
        return world.plane.store.value("SELECT pattern_id FROM calls WHERE call_id = ?", [record.call_id])

    for number in range(40):
        asked(b"big" if number % 2 else b"small")
    (found,) = keeper.registry.entries()
    plan = pattern_plans.split(keeper.registry, world.plane.store, found.pattern_id, "model", "small")
    keeper.edit_patterns(lambda _: plan, "ann")
    small, big = asked(b"small"), asked(b"big")
    assert (small, big) == (made_pattern(plan.having.agent_id, "user"), made_pattern(plan.lacking.agent_id, "user"))
    assert Registry.load(world.data.patterns).edits.events == keeper.registry.edits.events
    keeper = world.reopen().keeper
    assert (asked(b"small"), asked(b"big")) == (small, big), "also after a restart"
    keeper.edit_patterns(pattern_plans.undo, "ann")
    assert (asked(b"small"), asked(b"big")) == (found.pattern_id, found.pattern_id)


def test_what_was_not_committed_is_not_in_force(control_world: Any) -> None:
    world = control_world
    world.play(40)
    keeper = world.plane.keeper
    editor = PatternEditor(world.plane.store, keeper.registry, keeper.board, lambda: 1.0)
    world.plane.store.execute("INSERT INTO pattern_edits VALUES (1, 0.0, '{}', '')")
    before = keeper.registry.entries()
    with pytest.raises(duckdb.ConstraintException):
        editor.carry_out(lambda _: Rename(before[0].name, "front"), "ann")
    assert (keeper.registry.entries(), editor.history) == (before, ())
    with pytest.raises(ValueError, match="nothing was"):
        editor.carry_out(lambda _: Undo(7), "ann")


def test_an_undo_under_a_serving_student_needs_force_too(control_world: Any) -> None:
    world = control_world
    world.play(40)
    keeper = world.plane.keeper
    (entry,) = keeper.registry.entries()
    merged = Merge((entry.agent_id, "a_gone"), "a_merged", entry.name, 2)
    keeper.edit_patterns(lambda _: merged, "ann")
    made = keeper.registry.entries()[-1]
    assert made.agent_id == "a_merged"
    from tutelage.traffic.students import Manifest, PromptSpec, StudentRegister

    (world.data.root / "draft").mkdir()
    manifest = Manifest(
        version=world.version,
        name="parcels",
        status="candidate",
        created_at=world.now,
        agent_id=made.agent_id,
        pattern_ids=[made.pattern_id],
        base="tiny",
        base_digest="0",
        prompt=PromptSpec(),
        snapshot_at=world.now,
        data_digest="0",
    )
    StudentRegister(world.data).publish(world.data.root / "draft", manifest)
    world.idle()
    keeper.operate(made.pattern_id, Wish("promote", "ann", "a trial", force=True))
    assert keeper.board.state(made.pattern_id).state == "canary"
    with pytest.raises(BadInput, match=r"A student serves .*--force"):
        keeper.edit_patterns(pattern_plans.undo, "ann")
    assert len(keeper.editor.history) == 1
    keeper.edit_patterns(pattern_plans.undo, "ann", force=True)
    assert keeper.board.state(made.pattern_id).state == "quarantined"
    assert keeper.registry.entries() == [entry]
