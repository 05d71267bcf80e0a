"""Edits as a fold over events: where calls go, and that an undo gives back exactly what was before."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.traffic import pattern_plans
from tutelage.traffic.errors import BadInput
from tutelage.traffic.facts import Facts
from tutelage.traffic.pattern_edits import (
    BY,
    Change,
    Edits,
    Event,
    Merge,
    Part,
    Rename,
    Split,
    Traits,
    Undo,
    in_force,
    made_pattern,
    merged_agent,
    split_agent,
)
from tutelage.traffic.patterns import PatternEntry, Registry
from tutelage.traffic.skeleton import GAP


def event(seq: int, change: Change) -> Event:
    return Event(seq=seq, at=float(seq), actor="test", change=change)


def entry(agent: str, role: str = "user", **changes: Any) -> PatternEntry:
    given = {"skeleton": (f"You are {agent}.", GAP), "tools": f"t_{agent}", "tool_names": (agent,)} | changes
    return PatternEntry(
        pattern_id=f"p_{agent}_{role}",
        agent_id=f"a_{agent}",
        name=f"n-{agent}",
        version=1,
        role=role,
        agent_key=f"k_{agent}",
        **given,
    )


def facts(agent: str, role: str = "user", extra: str = "", model: str = "big") -> Facts:
    key = f"k_{agent}"
    return Facts(f"{key}/{role}", key, role, f"You are {agent}.\n{extra}", f"t_{agent}", model=model)


def split_of(agent: str, by: str, value: str, family: str = "n-a") -> Split:
    having, lacking = (split_agent(agent, by, value, side) for side in (True, False))
    return Split(agent, by, value, Part(having, family, 3), Part(lacking, family, 2))


MERGE = Merge(("a_a", "a_b"), merged_agent(["a_a", "a_b"]), "n-a", 2)


def test_merged_agents_are_identified_as_one_new_one_by_role() -> None:
    registry = Registry([entry("a"), entry("a", "tool"), entry("b"), entry("c")], [event(1, MERGE)])
    merged = made_pattern(MERGE.agent_id, "user")
    for agent in "ab":
        match = registry.identify(facts(agent))
        assert match
        assert (match.pattern_id, match.agent_id, match.version) == (merged, MERGE.agent_id, 2)
    tool_turn = registry.identify(facts("a", "tool"))
    assert tool_turn
    assert tool_turn.pattern_id == made_pattern(MERGE.agent_id, "tool")
    other = registry.identify(facts("c"))
    assert other
    assert other.pattern_id == "p_c_user"
    made = registry.get(merged)
    assert made
    assert (made.name, made.skeleton, made.tools, made.tool_names) == ("n-a", (), "", ("a", "b"))
    assert made.made_of == ("p_a_user", "p_b_user")


def test_what_members_share_stays_constant_in_a_merged_pattern() -> None:
    same = {"skeleton": ("Be brief.",), "tools": "t"}
    registry = Registry([entry("a", **same), entry("b", **same)], [event(1, MERGE)])
    made = registry.get(made_pattern(MERGE.agent_id, "user"))
    assert made
    assert (made.skeleton, made.tools) == (("Be brief.",), "t")


@pytest.mark.parametrize(
    ("by", "value"), [("line", "Be kind."), ("role", "tool"), ("tools", "t_a"), ("model", "small")]
)
def test_a_split_tells_calls_apart_by_its_fact(by: str, value: str) -> None:
    change = split_of("a_a", by, value)
    registry = Registry([entry("a"), entry("a", "tool")], [event(1, change)])
    for role in ("user", "tool"):
        for extra, model in (("Be kind.", "big"), ("Be kind.", "small"), ("Be quick.", "small")):
            one = facts("a", role, extra, model)
            match = registry.identify(one)
            holds = change.holds(Traits(one.role, one.tools, one.lines, one.model))
            assert holds == {"line": extra, "role": role, "tools": "t_a", "model": model}[by].startswith(value)
            assert match
            assert match.agent_id == (change.having if holds else change.lacking).agent_id
            assert registry.get(match.pattern_id) is not None


def test_edits_lead_on_from_one_to_the_next() -> None:
    split = split_of(MERGE.agent_id, "tools", "t_b")
    registry = Registry([entry("a"), entry("b")], [event(1, MERGE), event(2, split)])
    places = {agent: registry.identify(facts(agent)) for agent in "ab"}
    assert places["a"]
    assert places["b"]
    assert places["a"].agent_id == split.lacking.agent_id
    assert places["b"].agent_id == split.having.agent_id
    made = registry.get(places["b"].pattern_id)
    assert made
    assert (made.tools, made.made_of) == ("t_b", ("p_b_user",)), "the tool set alone decides who can come here"
    assert registry.edits.replaced_by("a_a") == (1, (MERGE.agent_id,))
    assert registry.edits.replaced_by(MERGE.agent_id) == (2, (split.having.agent_id, split.lacking.agent_id))
    assert registry.edits.replaced_by(split.having.agent_id) is None


def test_a_role_found_after_a_merge_belongs_to_it() -> None:
    registry = Registry([entry("a"), entry("b")], [event(1, MERGE)])
    before = registry.revision
    assert registry.add(entry("b", "tool"))
    assert registry.revision > before
    match = registry.identify(facts("b", "tool"))
    assert match
    assert match.agent_id == MERGE.agent_id


def test_a_name_goes_to_all_versions_also_later_ones() -> None:
    registry = Registry([entry("a"), entry("b")], [event(1, Rename("n-a", "desk"))])
    registry.add(msgspec.structs.replace(entry("c"), name="n-a", version=2))
    assert [one.name for one in registry.entries()] == ["desk", "n-b", "desk"]
    assert [one.name for one in registry.found()] == ["n-a", "n-b", "n-a"]
    assert registry.next_version("n-a") == 3
    assert registry.taken_names() == {"n-a", "n-b", "desk"}


def test_only_the_newest_edit_can_be_undone() -> None:
    first, second = event(1, Rename("x", "y")), event(2, MERGE)
    assert in_force([first, second, event(3, Undo(2))]) == (first,)
    assert in_force([first, second, event(3, Undo(2)), event(4, Undo(1))]) == ()
    with pytest.raises(ValueError, match="edit 2 was the newest"):
        in_force([first, second, event(3, Undo(1))])
    with pytest.raises(ValueError, match="nothing was"):
        in_force([event(1, Undo(1))])


def test_events_survive_json() -> None:
    for change in (MERGE, Rename("a", "b"), split_of("a_a", "line", "x ⟨id⟩"), Undo(4)):
        one = event(1, change)
        assert msgspec.json.decode(msgspec.json.encode(one), type=Event) == one


AGENTS = "abcd"
TRAFFIC = [
    facts(agent, role, extra, model)
    for agent in AGENTS
    for role in ("user", "tool")
    for extra in ("", "Be kind.")
    for model in ("big", "small")
]
VALUES = {"line": ["Be kind."], "role": ["user", "tool"], "tools": ["t_a", "t_b"], "model": ["big", "small"]}
ORDERS = st.lists(
    st.one_of(
        st.tuples(st.just("rename"), st.integers(0, 9), st.sampled_from(["x", "y", "n-a", "n-b"])),
        st.tuples(st.just("merge"), st.integers(0, 9), st.integers(0, 9)),
        st.tuples(st.just("split"), st.integers(0, 9), st.sampled_from(BY)),
        st.tuples(st.just("undo"), st.just(0), st.just(0)),
    ),
    max_size=14,
)


def found_entries() -> list[PatternEntry]:
    return [entry(agent, role) for agent in AGENTS for role in ("user", "tool")]


def snapshot(registry: Registry) -> tuple[Any, ...]:
    """Everything that edits can change: what is shown, and where each call goes."""
    return registry.edits.events, registry.entries(), [registry.identify(one) for one in TRAFFIC]


def planned(registry: Registry, order: tuple[str, Any, Any]) -> Change | None:
    """A drawn order as a change; None for one that is refused."""
    kind, first, second = order
    agents = sorted({one.agent_id for one in registry.entries() if registry.edits.replaced_by(one.agent_id) is None})
    agent = agents[first % len(agents)]
    try:
        if kind == "rename":
            return pattern_plans.rename(registry, agent, second)
        if kind == "merge":
            return pattern_plans.merge(registry, [agent, agents[second % len(agents)]])
        if kind == "undo":
            return pattern_plans.undo(registry)
    except BadInput:
        return None
    return split_of(agent, second, VALUES[second][first % len(VALUES[second])])


@settings(max_examples=200, deadline=None)
@given(ORDERS)
def test_undo_gives_back_the_state_before_whatever_was_done(orders: list[tuple[str, Any, Any]]) -> None:
    registry, events = Registry(found_entries()), []
    before = [snapshot(registry)]
    for order in orders:
        change = planned(registry, order)
        if change is None:
            continue
        events.append(event(len(events) + 1, change))
        registry.edit(in_force(events))
        if isinstance(change, Undo):
            before.pop()
            assert snapshot(registry) == before[-1]
        else:
            before.append(snapshot(registry))
        again = Registry(found_entries(), in_force(events))
        assert snapshot(again) == snapshot(registry), "the events alone give the state"
        for match in before[-1][2]:
            assert match
            used = registry.get(match.pattern_id)
            assert used
            assert (used.agent_id, registry.edits.replaced_by(used.agent_id)) == (match.agent_id, None)
        shown = {one.agent_id: one.name for one in registry.entries()}
        assert all(name in registry.taken_names() for name in shown.values())


@settings(max_examples=50, deadline=None)
@given(ORDERS)
def test_workers_read_the_edits_with_the_patterns(
    tmp_path_factory: pytest.TempPathFactory, orders: list[tuple[str, Any, Any]]
) -> None:
    registry, events = Registry(found_entries()), []
    for order in orders:
        change = planned(registry, order)
        if change is not None:
            events.append(event(len(events) + 1, change))
            registry.edit(in_force(events))
    path: Path = tmp_path_factory.mktemp("r") / "patterns.json"
    registry.publish(path)
    assert snapshot(Registry.load(path)) == snapshot(registry)


def test_ids_are_hashes_of_what_they_stand_for() -> None:
    assert merged_agent(["a_1", "a_2"]) == merged_agent(["a_2", "a_1"]) != merged_agent(["a_1", "a_3"])
    assert split_agent("a_1", "line", "x", True) != split_agent("a_1", "line", "x", False)
    assert made_pattern("a_1", "user") != made_pattern("a_1", "tool")
    assert Edits().place("a_1", Traits("user", "", ())) == "a_1"
