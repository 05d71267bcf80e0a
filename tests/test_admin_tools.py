"""Tool policies over the admin API: guessed, changed by people, and told with their history."""

from typing import Any

import httpx
import pytest

from tutelage.proxy.admin_client import LocalSender


@pytest.fixture
def ask(control_world: Any) -> Any:
    control_world.play(30)
    path = f"/api/patterns/{control_world.pattern}/tools"

    def send(method: str, body: Any = None, after: str = "") -> httpx.Response:
        return LocalSender(control_world.plane.app, lambda: None).request(method, path + after, {}, body)

    return send


def test_a_tool_is_guessed_then_ruled_by_a_person_then_given_back(ask: Any, control_world: Any) -> None:
    first = ask("GET").json()
    (tool,) = first["tools"]
    assert (tool["tool"], tool["kind"], tool["source"], tool["parameters"]) == (
        "set_status", "write", "guess", ["parcel", "status"],
    )  # fmt: skip
    assert "'set'" in tool["reason"]
    body = {"tools": {"set_status": {"free_text": ["status"]}}, "who": "ann", "reason": "only shown to people"}
    changed = ask("PUT", body).json()
    (tool,) = changed["tools"]
    assert (tool["free_text"], tool["source"], tool["actor"]) == (["status"], "person", "ann")
    assert changed["policy"] != first["policy"] == ""
    assert control_world.plane.policies.policy(control_world.pattern).digest == changed["policy"]
    control_world.reopen()
    assert control_world.plane.policies.policy(control_world.pattern).digest == changed["policy"]
    (tool,) = ask("PUT", {"tools": {"set_status": None}, "who": "ann"}).json()["tools"]
    assert (tool["free_text"], tool["source"]) == ([], "guess")
    assert [(one["source"], one["actor"]) for one in ask("GET").json()["history"]] == [
        ("reset", "ann"), ("person", "ann"), ("guess", "control"),
    ]  # fmt: skip


def test_a_new_guess_leaves_what_people_said(ask: Any) -> None:
    ask("PUT", {"tools": {"set_status": {"ignore": ["parcel"]}}})
    again = ask("POST", {"who": "ben"}, "/guess").json()
    assert again["tools"][0]["ignore"] == ["parcel"]
    assert (again["history"][0]["source"], again["history"][0]["actor"]) == ("guess", "ben")


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"set_status": {"kind": "reads"}}, "kind"),
        ({"set_status": {"freetext": []}}, "freetext"),
        ({"set_status": {"free_text": ["state"]}}, "no parameter 'state'. It has: parcel, status"),
        ({"set_status": {"free_text": ["status"], "ignore": ["status"]}}, "Name it once"),
        ({"fly": {}}, "no tool 'fly'. Its tools: set_status"),
    ],
)
def test_mistakes_change_nothing(ask: Any, rule: Any, words: str) -> None:
    refused = ask("PUT", {"tools": rule})
    assert refused.status_code == 400
    assert words in refused.json()["error"]["message"]
    assert [one["source"] for one in ask("GET").json()["history"]] == ["guess"]
