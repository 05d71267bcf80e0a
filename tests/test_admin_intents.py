"""The intents of a pattern through the admin API: what sessions were asked, and what was found among them."""

from typing import Any

from tutelage.proxy.admin_client import LocalSender
from tutelage.traffic.intents import OTHER, Intent, IntentBook, write_book


def get(world: Any, path: str) -> Any:
    return LocalSender(world.plane.app, lambda: None).request("GET", path, {}, None).json()


def test_openings_are_given_and_found_intents_are_shown_with_their_texts(control_world: Any) -> None:
    control_world.play(10)
    pattern = control_world.pattern
    given = get(control_world, f"/api/patterns/{pattern}/openings")
    assert given["pattern_id"] == pattern
    assert len(given["openings"]) == 10
    assert given["openings"][0]["text"] == "Parcel P00010 has left."
    assert get(control_world, f"/api/patterns/{pattern}/intents") == []

    names = tuple(item["trajectory_id"] for item in given["openings"])
    found = (
        Intent(intent_id="i_1", name="left", sessions=names[:8], examples=(names[0], "gone")),
        Intent(intent_id=OTHER, name="other", sessions=names[8:]),
    )
    write_book(control_world.data, IntentBook(pattern_id=pattern, found_at=1.0, model="m", intents=found))
    rows = get(control_world, f"/api/patterns/{pattern}/intents")
    assert [(row["intent_id"], row["sessions"], row["share"]) for row in rows] == [("i_1", 8, 0.8), (OTHER, 2, 0.2)]
    assert rows[0]["examples"] == ["Parcel P00010 has left."]


def test_an_unknown_pattern_is_said_to_be_one(control_world: Any) -> None:
    for path in ("openings", "intents"):
        assert get(control_world, f"/api/patterns/p_none/{path}")["error"]["type"] == "UnknownName"
