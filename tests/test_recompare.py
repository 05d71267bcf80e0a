"""Comparing stored pairs anew."""

from typing import Any

import pytest
from test_admin_verdicts import Desk, marks

from tutelage.proxy.recompare import Recompared, recompare
from tutelage.proxy.text_verifiers import Ruling
from tutelage.proxy.verdicts import PairKey, person_says, verdicts_of
from tutelage.traffic.compare import COMPARATOR
from tutelage.traffic.tool_policy import ToolPolicy, ToolRule

TEXT = ToolPolicy(rules={"set_status": ToolRule(free_text=("status",))})


@pytest.fixture
def desk(control_world: Any) -> Desk:
    control_world.play(40)
    control_world.add_student()
    return Desk(control_world)


def losses(desk: Desk) -> list[tuple[float, str, str]]:
    """Loss, reason and digest, the oldest pair first."""
    rows = reversed(desk.get("/api/pairs"))
    return [(row["loss"], row["reason"], row["policy"]) for row in rows]


def test_the_rules_speak_again_where_they_have_changed_their_mind(desk: Desk) -> None:
    store, pattern = desk.world.plane.store, desk.world.pattern
    desk.label(*[marks(parcel=f"P{41 + n:05d}", status=status) for n, status in enumerate(("Sent.", "lost", "sent"))])
    before = losses(desk)
    assert [loss for loss, _, _ in before] == [1.0, 1.0, 0.0]
    assert recompare(store, pattern, ToolPolicy(), desk.world.now + 50, "ann") == Recompared(3, 0)
    assert recompare(store, pattern, TEXT, desk.world.now + 60, "ann") == Recompared(3, 2)
    assert losses(desk) == [
        (0.0, "same", TEXT.digest),
        (1.0, "unsure:set_status.status", TEXT.digest),
        (0.0, "same", ""),
    ]
    first = desk.get("/api/pairs")[-1]
    key = PairKey(first["call_id"], first["student"], first["kind"])
    said = [(one["source"], one["who"], one["at"]) for one in verdicts_of(store, key)]
    assert said == [
        ("rules", f"comparator {COMPARATOR}", first["at"]),
        ("rules", f"comparator {COMPARATOR}, asked by ann", desk.world.now + 60),
    ]
    shown = desk.get(f"/api/pairs/{first['pair_id']}")["verdicts"]
    assert [one["verdict"] for one in shown] == ["reject", "accept"], "what the rules said first is still told"
    assert recompare(store, pattern, ToolPolicy(), desk.world.now + 70, "ann").changed == 2
    assert losses(desk) == before


def test_the_users_functions_are_asked_about_what_is_stored(desk: Desk) -> None:
    class Knows:
        def decide(self, request: Any, session: str, theirs: Any, ours: Any) -> Ruling | None:
            assert session
            assert request["messages"]
            return Ruling(True, "verifier:knows@1") if theirs != ours else None

    store, pattern, now = desk.world.plane.store, desk.world.pattern, desk.world.now
    desk.label(*[marks(parcel=f"P{41 + n:05d}", status=status) for n, status in enumerate(("lost", "sent"))])
    assert recompare(store, pattern, TEXT, now + 60, "ann", texts=Knows()) == Recompared(2, 1)
    assert losses(desk)[0] == (0.0, "verifier:knows@1", TEXT.digest)
    assert recompare(store, pattern, TEXT, now + 70, "ann", texts=Knows()) == Recompared(2, 0)
    assert recompare(store, pattern, TEXT, now + 80, "ann") == Recompared(2, 1)
    assert losses(desk)[0] == (1.0, "unsure:set_status.status", TEXT.digest)


def test_people_are_heard_as_before(desk: Desk) -> None:
    store, pattern = desk.world.plane.store, desk.world.pattern
    desk.label(marks(parcel="P00041", status="Sent."))
    [row] = desk.get("/api/pairs")
    person_says(store, PairKey(row["call_id"], row["student"], row["kind"]), "reject", "ann", "", desk.world.now)
    assert recompare(store, pattern, TEXT, desk.world.now + 60, "ben").changed == 1
    assert [reason for _, reason, _ in losses(desk)] == ["human:reject"]


def test_more_pairs_than_one_batch_and_those_of_others_are_left_alone(desk: Desk) -> None:
    desk.label(*[marks(parcel=f"P{41 + n:05d}", status="Sent." if n % 2 else "sent") for n in range(5)])
    store, pattern = desk.world.plane.store, desk.world.pattern
    assert recompare(store, "p_other", TEXT, desk.world.now + 60, "ann", batch=2) == Recompared(0, 0)
    assert recompare(store, pattern, TEXT, desk.world.now + 60, "ann", batch=2) == Recompared(5, 2)


def test_over_the_api(desk: Desk) -> None:
    desk.label(marks(parcel="P00041", status="Sent."))
    path = f"/api/patterns/{desk.world.pattern}/tools"
    assert desk.ask("PUT", path, {"tools": {"set_status": {"free_text": ["status"]}}}).status_code == 200
    assert losses(desk)[0][0] == 1.0, "a new rule alone changes no label"
    done = desk.ask("POST", f"{path}/recompare", {"who": "ann"})
    assert done.json() == {"pairs": 1, "changed": 1}
    assert losses(desk)[0][0] == 0.0
