"""Whose rule is in force for a tool."""

import threading
from typing import Any

import pytest

from tutelage.proxy import tool_policies
from tutelage.proxy.tool_policies import PolicyBook
from tutelage.traffic.errors import BadInput
from tutelage.traffic.tool_policy import ToolRule

TEXT, READ = ToolRule(free_text=("status",)), ToolRule(kind="read-only")


def book(world: Any, **settings: ToolRule) -> PolicyBook:
    return PolicyBook(world.plane.store, settings, lambda: world.now)


def test_people_beat_settings_and_settings_beat_guesses(control_world: Any) -> None:
    control_world.play(30)
    pattern = control_world.pattern
    assert book(control_world).tools(pattern)[0].source == "guess"
    settled = book(control_world, set_status=READ)
    (tool,) = settled.tools(pattern)
    assert (tool.source, tool.reason, settled.policy(pattern).reads("set_status")) == (
        "settings", "[tools.set_status]", True,
    )  # fmt: skip
    settled.change(pattern, {"set_status": TEXT}, "ann")
    assert settled.policy(pattern).of("set_status") == TEXT
    assert book(control_world).policy(pattern).of("set_status") == TEXT
    settled.change(pattern, {"set_status": None}, "ann")
    assert settled.tools(pattern)[0].source == "settings"


def test_a_guess_is_made_once(control_world: Any) -> None:
    control_world.play(30)
    for _ in range(3):
        book(control_world).policy(control_world.pattern)
    assert control_world.plane.store.value("SELECT count(*) FROM tool_rules") == 1


def test_who_only_looks_does_not_wait_for_a_guess(control_world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    control_world.play(30)
    pattern, read = control_world.pattern, threading.Event()

    def slowly(*_: Any) -> dict[str, Any]:
        read.wait(10)
        return {}

    monkeypatch.setattr(tool_policies, "LOOK_S", 0.01)
    monkeypatch.setattr(tool_policies, "usage_of", slowly)
    policies = book(control_world)
    assert [one.source for one in policies.seen(pattern).tools] == ["default"]
    read.set()
    assert [one.source for one in policies.tools(pattern)] == ["guess"]
    seen = policies.seen(pattern)
    assert (seen.tools, seen.policy) == (policies.tools(pattern), policies.policy(pattern))
    assert control_world.plane.store.value("SELECT count(*) FROM tool_rules") == 1


def test_a_pattern_without_calls_has_the_cautious_policy(control_world: Any) -> None:
    empty = book(control_world)
    assert empty.policy("p_none").digest == ""
    assert empty.tools("p_none") == ()
    with pytest.raises(BadInput, match="Its tools: none"):
        empty.change("p_none", {"x": TEXT}, "ann")
