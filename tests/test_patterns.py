"""The registry and its reader."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.traffic.errors import BadInput
from tutelage.traffic.facts import Facts
from tutelage.traffic.patterns import Match, PatternEntry, Registry, RegistryReader
from tutelage.traffic.skeleton import GAP


def entry(pattern_id: str, skeleton: tuple[str, ...] = (), **changes: Any) -> PatternEntry:
    given = {"agent_id": f"a_{pattern_id}", "name": "n", "version": 1, "role": "user", "agent_key": "k"} | changes
    return PatternEntry(pattern_id=pattern_id, skeleton=skeleton, **given)


def facts(system: str, role: str = "user", agent_key: str = "k") -> Facts:
    return Facts(key=f"{agent_key}/{role}", agent_key=agent_key, role=role, system=system, tools="")


def test_the_largest_matching_skeleton_wins() -> None:
    registry = Registry([entry("p_small", ("Be brief.", GAP)), entry("p_large", ("Be brief.", GAP, "Be polite."))])
    assert registry.identify(facts("Be brief.\nx\nBe polite.")) == Match("p_large", "a_p_large", 1)
    assert registry.identify(facts("Be brief.\nx")) == Match("p_small", "a_p_small", 1)
    assert registry.identify(facts("Be rude.")) is None


def test_key_and_role_must_agree() -> None:
    registry = Registry([entry("p_1", ("Be brief.",))])
    assert registry.identify(facts("Be brief.", agent_key="other")) is None
    assert registry.identify(facts("Be brief.", role="tool")) is None
    assert set(registry.roles_of(facts("Be brief.", role="tool"))) == {"user"}


def test_a_pattern_without_skeleton_takes_requests_without_system_prompt_only() -> None:
    registry = Registry([entry("p_bare")])
    assert registry.identify(facts("")) == Match("p_bare", "a_p_bare", 1)
    assert registry.identify(facts("Be brief.")) is None


def test_a_name_given_by_the_caller_wins_and_stays_apart() -> None:
    registry = Registry([entry("p_found", ("Be brief.",)), entry("p_named", hint="triage")])
    assert registry.identify(facts("Be brief."), hint="triage") == Match("p_named", "a_p_named", 1)
    assert registry.identify(facts("Be brief.")) == Match("p_found", "a_p_found", 1)
    assert registry.identify(facts("Be brief."), hint="unknown") is None
    assert registry.identify(facts("")) is None


def test_an_id_is_never_changed() -> None:
    first = entry("p_1", ("Be brief.",))
    registry = Registry([first])
    assert not registry.add(entry("p_1", ("Something else.",)))
    assert registry.entries() == [first]
    assert registry.get("p_1") == first
    assert registry.get("p_2") is None


SKELETONS = st.lists(st.sampled_from(["a", "b", "c", GAP]), max_size=4).map(tuple)
ENTRIES = st.lists(st.tuples(SKELETONS, st.sampled_from(["user", "tool"]), st.sampled_from(["", "hint"])), max_size=8)


def build(drawn: list[tuple[tuple[str, ...], str, str]]) -> list[PatternEntry]:
    return [
        entry(f"p_{number}", lines, role=role, hint=hint)
        for number, (lines, role, hint) in enumerate(dict.fromkeys(drawn))
        if not (hint and lines) and lines != (GAP,) and lines[:2] != (GAP, GAP)
    ]


@given(ENTRIES, st.lists(st.sampled_from("abcd"), max_size=5).map("\n".join), st.randoms())
def test_identification_depends_on_the_entries_not_on_their_order(drawn: Any, system: str, dice: Any) -> None:
    entries = build(drawn)
    mixed = list(entries)
    dice.shuffle(mixed)
    for role in ("user", "tool"):
        for hint in ("", "hint"):
            first = Registry(entries).identify(facts(system, role), hint)
            assert first == Registry(mixed).identify(facts(system, role), hint)


@given(ENTRIES)
def test_the_registry_survives_being_published(tmp_path_factory: pytest.TempPathFactory, drawn: Any) -> None:
    path = tmp_path_factory.mktemp("r") / "patterns.json"
    registry = Registry(build(drawn))
    registry.publish(path)
    again = Registry.load(path)
    assert again.entries() == registry.entries()
    assert len(again) == len(registry)
    for system in ("", "a", "a\nb", "c\na"):
        assert again.identify(facts(system)) == registry.identify(facts(system))


def test_loading_says_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "patterns.json"
    assert Registry.load(path).entries() == []
    path.write_text("{")
    with pytest.raises(BadInput, match="no pattern registry"):
        Registry.load(path)
    path.write_text('{"version": 99, "patterns": []}')
    with pytest.raises(BadInput, match="version 1, got 99"):
        Registry.load(path)


def test_a_reader_follows_the_file_and_keeps_the_last_good_one(tmp_path: Path) -> None:
    path = tmp_path / "patterns.json"
    reader = RegistryReader(path, every_s=0)
    assert len(reader.current()) == 0
    Registry([entry("p_1")]).publish(path)
    assert len(reader.current()) == 1
    path.write_text("broken")
    assert len(reader.current()) == 1
    assert "patterns.json" in reader.error
    Registry([entry("p_1"), entry("p_2", ("a",))]).publish(path)
    assert len(reader.current()) == 2
    assert reader.error == ""
    os.unlink(path)
    assert len(reader.current()) == 2


def test_a_reader_looks_seldom(tmp_path: Path) -> None:
    path = tmp_path / "patterns.json"
    reader = RegistryReader(path, every_s=60)
    reader.current()
    Registry([entry("p_1")]).publish(path)
    assert len(reader.current()) == 0
