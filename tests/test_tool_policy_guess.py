"""Guesses about tools: cautious where a mistake would be costly."""

from typing import Any

import pytest

from tutelage.traffic.tool_policy_guess import Values, guess_rule, usage_of, words_of


def tool(name: str, description: str = "", /, **properties: Any) -> dict[str, Any]:
    parts = {key: {"type": "string", **part} for key, part in properties.items()}
    return {"name": name, "description": description, "parameters": {"type": "object", "properties": parts}}


def used(*values: str, prompt: str = "") -> Values:
    found = Values()
    for value in values:
        found.take(value, prompt)
    return found


@pytest.mark.parametrize(
    ("name", "description", "kind"),
    [
        ("get_weather", "", "read-only"),
        ("searchFlights", "Finds flights.", "read-only"),
        ("list-users", "", "read-only"),
        ("HassGetState", "Returns the state of a device.", "read-only"),
        ("weather", "Returns the forecast of a city.", "read-only"),
        ("get_order", "", "read-only"),
        ("create_order", "", "write"),
        ("set_status", "", "write"),
        ("get_or_create_user", "", "write"),
        ("get_seat", "Books the seat if it is free.", "write"),
        ("find_and_delete", "", "write"),
        ("HassTurnOn", "", "write"),
        ("weather", "", "write"),
        ("weather", "The forecast of a city.", "write"),
        ("fetchReport", "Downloads a report and marks it as read.", "write"),
        ("", "", "write"),
    ],
)
def test_reading_or_writing(name: str, description: str, kind: str) -> None:
    assert guess_rule(tool(name, description)).rule.kind == kind


def test_an_annotation_is_believed() -> None:
    assert guess_rule({"name": "delete", "annotations": {"readOnlyHint": True}}).rule.kind == "read-only"
    assert guess_rule({"name": "get", "annotations": {"readOnlyHint": False}}).rule.kind == "write"


PROSE = used(*(f"Please tell the customer number {n} that we are sorry for this" for n in range(30)))


@pytest.mark.parametrize(
    ("made", "values", "expected"),
    [
        (tool("send_mail", note={}), None, ("note",)),
        (tool("send_mail", user_message={}), None, ("user_message",)),
        (tool("send_mail", message_id={}), None, ()),
        (tool("send_mail", message={"enum": ["a"]}), None, ()),
        (tool("send_mail", message={"type": "integer"}), None, ()),
        (tool("send_mail", message={}), used(*["ok"] * 30), ()),
        (tool("send_mail", body={}), PROSE, ("body",)),
        (tool("send_mail", body={}), None, ()),
        (tool("write_file", body={}), PROSE, ()),
        (tool("run_sql", reason={}), None, ()),
        (tool("search_docs", query={}), None, ("query",)),
        (tool("search_docs", query={"description": "an SQL statement"}), None, ()),
        (tool("delete_docs", query={}), None, ()),
        (tool("move", room={}), used(*[f"r{n}" for n in range(30)]), ()),
    ],
)
def test_free_text(made: dict[str, Any], values: Values | None, expected: tuple[str, ...]) -> None:
    usage = dict.fromkeys(made["parameters"]["properties"], values) if values else None
    assert guess_rule(made, usage).rule.free_text == expected


NEW = [f"{n:032x}" for n in range(30)]


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("trace_id", used(*NEW), ("trace_id",)),
        ("requestId", used(*NEW), ("requestId",)),
        ("trace_id", used(*NEW[:5]), ()),
        ("trace_id", used(*NEW[:5] * 6), ()),
        ("trace_id", used(*NEW, prompt=f"use {NEW[3]}"), ()),
        ("order_id", used(*NEW), ()),
    ],
)
def test_ignored_only_on_the_evidence_of_traffic(name: str, values: Values, expected: tuple[str, ...]) -> None:
    assert guess_rule(tool("send", "", **{name: {}}), {name: values}).rule.ignore == expected
    assert guess_rule(tool("send", "", **{name: {}})).rule.ignore == ()


@pytest.mark.parametrize("broken", [{}, {"name": "x", "parameters": None}, {"parameters": {"properties": [1]}}])
def test_broken_schemas_are_no_error(broken: dict[str, Any]) -> None:
    assert guess_rule(broken).rule.free_text == ()


def test_words() -> None:
    assert words_of("getHTTPStatus_code-v2.now") == ["get", "http", "status", "code", "v", "2", "now"]


def test_usage_is_read_from_the_teachers_calls(control_world: Any) -> None:
    control_world.play(30)
    found = usage_of(control_world.plane.store, control_world.pattern)["set_status"]
    assert (found["parcel"].n, found["parcel"].new, found["parcel"].quoted) == (30, 1.0, 30)
    assert (found["status"].new, found["status"].length) == (1 / 30, 1.0)
