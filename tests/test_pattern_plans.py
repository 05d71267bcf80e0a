"""From words to edits: what is meant, and what is refused."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from tutelage.traffic.discovery import Discovery
from tutelage.traffic.errors import BadInput, UnknownName
from tutelage.traffic.facts import facts_of
from tutelage.traffic.ingest import Ingest
from tutelage.traffic.pattern_edits import Change, Event, Merge, Rename, Split
from tutelage.traffic.pattern_plans import agents_left, differences, merge, rename, split, undo
from tutelage.traffic.patterns import PatternEntry, Registry
from tutelage.traffic.records import encode
from tutelage.traffic.store import Store


def entry(agent: str, name: str, role: str = "user", version: int = 1) -> PatternEntry:
    return PatternEntry(
        pattern_id=f"p_{agent}{role}",
        agent_id=f"a_{agent}",
        name=name,
        version=version,
        role=role,
        agent_key=agent,
        skeleton=(f"You are {agent}.",),
    )


def registry_of(*changes: Change) -> Registry:
    registry = Registry(
        [entry("1", "desk"), entry("1", "desk", "tool"), entry("2", "desk", version=2), entry("3", "shop")]
    )
    registry.edit([Event(seq=at, at=0.0, actor="t", change=change) for at, change in enumerate(changes, 1)])
    return registry


def test_a_rename_is_of_the_whole_family() -> None:
    for pattern in ("desk", "p_1tool", "a_2", "p_2user"):
        assert rename(registry_of(), pattern, "front") == Rename("desk", "front")
    renamed = registry_of(Rename("desk", "front"))
    assert rename(renamed, "front", "desk") == Rename("desk", "desk"), "the first name stays its own"
    with pytest.raises(BadInput, match="already"):
        rename(renamed, "front", "front")
    with pytest.raises(BadInput, match="Another pattern is called 'desk'"):
        rename(renamed, "shop", "desk")


@pytest.mark.parametrize("name", ["", "two words", "all", "p_0123456789", "a_0123456789", "x" * 65, "-x", "a/b"])
def test_odd_names_are_refused(name: str) -> None:
    with pytest.raises(BadInput, match="is no name"):
        rename(registry_of(), "shop", name)


def test_a_merge_takes_the_firsts_name_and_the_next_version() -> None:
    plan = merge(registry_of(), ["a_2", "p_3user", "a_2"])
    assert (plan.sources, plan.family, plan.version) == (("a_2", "a_3"), "desk", 3)
    assert agents_left(registry_of(), plan) == ("a_2", "a_3")
    with pytest.raises(BadInput, match="two agents at least"):
        merge(registry_of(), ["p_1user", "p_1tool"])
    with pytest.raises(BadInput, match=r"Several agents are called 'desk'.*a_1, a_2"):
        merge(registry_of(), ["shop", "desk"])
    with pytest.raises(UnknownName, match="no agent or pattern 'x'"):
        merge(registry_of(), ["shop", "x"])
    after = registry_of(plan)
    with pytest.raises(BadInput, match=f"out of use since edit 1; its calls go to {plan.agent_id}"):
        merge(after, ["a_1", "a_3"])
    again = merge(after, ["a_1", plan.agent_id])
    assert again.version == 4
    assert agents_left(after, undo(after)) == (plan.agent_id,)


def test_a_name_means_what_is_in_use() -> None:
    plan = Merge(("a_1", "a_2"), "a_m", "desk", 3)
    assert merge(registry_of(plan), ["desk", "shop"]).sources == ("a_m", "a_3")


def test_undo_needs_something_to_undo() -> None:
    with pytest.raises(BadInput, match="no edit to undo"):
        undo(registry_of())
    assert agents_left(registry_of(Rename("desk", "x")), undo(registry_of(Rename("desk", "x")))) == ()


@pytest.fixture
def museum(tmp_path: Path, make_call: Any) -> Any:
    """A store with one named pattern whose prompts differ in a line, and its registry."""
    with Store(tmp_path / "s.duckdb") as store:
        registry = Registry()
        ingest = Ingest(store, Discovery(registry))
        records = []
        for number in range(10):
            rule = "Open no door." if number < 3 else "Open the door."
            model = "small" if number < 4 else "big"
            prompt = f"You guard a museum.\n{rule}\nAsk {number + 10_000} first."
            said = [{"role": "system", "content": prompt}, {"role": "user", "content": f"knock {number}"}]
            answer = {"role": "assistant", "content": "No."}
            record = make_call(said, answer, started_at=float(number), hint="guard")
            asked = record.request.replace(b"teacher-1", model.encode())
            records.append(msgspec.structs.replace(record, request=asked))
        ingest.apply([encode(record) for record in records], {})
        yield registry, store


def test_a_split_needs_a_fact_that_differs(museum: Any) -> None:
    registry, store = museum
    (agent,) = {one.agent_id for one in registry.entries()}
    found = differences(registry, store, agent)
    assert [(one.by, one.value, one.calls, one.of) for one in found] == [
        ("model", "big", 6, 10),
        ("model", "small", 4, 10),
        ("line", "Open no door.", 3, 10),
        ("line", "Open the door.", 7, 10),
    ]
    plan = split(registry, store, "guard", "line", "Open no door.  ")
    assert isinstance(plan, Split)
    assert (plan.value, plan.lacking.version, plan.having.version) == ("Open no door.", 2, 3)
    assert plan.having.family == plan.lacking.family == "guard"
    assert agents_left(registry, plan) == (agent,)
    named = split(registry, store, "guard", "line", "Open no door.", "night")
    assert (named.having.family, named.having.version, named.lacking.family) == ("night", 1, "guard")
    for by, value, words in (
        ("line", "You guard a museum.", "do not differ in line"),
        ("line", "Ask ⟨id⟩ first.", "They differ in: 'Open no door.'"),
        ("role", "user", "do not differ in any role"),
        ("tools", "", "do not differ in any tools"),
        ("model", "huge", "They differ in: 'big' \\(6 of 10 calls\\); 'small'"),
        ("mood", "x", "split by line, role, tools, model"),
    ):
        with pytest.raises(BadInput, match=words):
            split(registry, store, "guard", by, value)
    with pytest.raises(BadInput, match="is no name"):
        split(registry, store, "guard", "line", "Open no door.", "a b")
    with pytest.raises(BadInput, match="Another pattern"):
        split(registry, store, "guard", "line", "Open no door.", "guard")


def test_a_split_by_model_sends_later_calls_of_a_model_to_their_part(museum: Any) -> None:
    registry, store = museum
    before = registry.entries()
    plan = split(registry, store, "guard", "model", "small", "guard-small")
    registry.edit([Event(seq=1, at=0.0, actor="t", change=plan)])
    body = {"messages": [{"role": "system", "content": "You guard a museum."}, {"role": "user", "content": "knock"}]}
    for model, part in (("small", plan.having), ("big", plan.lacking), (None, plan.lacking)):
        facts = facts_of(body | {"model": model})
        assert facts
        match = registry.identify(facts, "guard")
        assert match
        assert (match.agent_id, match.version) == (part.agent_id, part.version)
    assert [(one.by, one.value) for one in differences(registry, store, plan.having.agent_id)] == [
        ("line", "Open no door."),
        ("line", "Open the door."),
    ], "within a part the model differs no more"
    registry.edit([])
    assert registry.entries() == before


def test_the_parts_of_a_split_can_be_told_apart_again(museum: Any) -> None:
    registry, store = museum
    plan = split(registry, store, "guard", "line", "Open no door.")
    registry.edit([Event(seq=1, at=0.0, actor="t", change=plan)])
    assert differences(registry, store, plan.having.agent_id) == []
    with pytest.raises(BadInput, match="do not differ in any line"):
        split(registry, store, plan.lacking.agent_id, "line", "Open no door.")
