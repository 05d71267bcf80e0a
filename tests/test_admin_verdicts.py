"""Pairs over the admin API: what a person sees and says, and what then counts."""

import json
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tutelage.proxy.admin_client import LocalSender
from tutelage.proxy.shadow import Label
from tutelage.traffic.compare import compare


@dataclass
class Desk:
    """A control plane's world with a student whose answers differ in known ways."""

    world: Any

    def ask(self, method: str, path: str, body: Any = None, **params: Any) -> httpx.Response:
        return LocalSender(self.world.plane.app, lambda: None).request(method, path, params, body)

    def get(self, path: str, **params: Any) -> Any:
        response = self.ask("GET", path, **params)
        assert response.status_code == 200, response.text
        return response.json()

    def label(self, *answers: dict[str, Any]) -> None:
        """So many sessions, each answered by the student as given."""
        self.world.play(len(answers))
        for task, said in zip(self.world.plane.keeper.tasks("shadow", 99), answers, strict=True):
            loss, reason, comparator, policy = compare(task.answer, said, task.request["tools"])
            self.world.now += 1.0
            self.world.plane.keeper.deliver(
                Label(task, loss, reason, comparator, said, self.world.now, 5.0, (50, 10), policy=policy)
            )
        self.world.plane.catch_up()


def marks(**arguments: Any) -> dict[str, Any]:
    call = {"id": "x", "type": "function", "function": {"name": "set_status", "arguments": json.dumps(arguments)}}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


@pytest.fixture
def desk(control_world: Any) -> Desk:
    control_world.play(40)
    control_world.add_student()
    return Desk(control_world)


def test_pairs_are_listed_newest_first_and_paged_by_the_last_one_seen(desk: Desk) -> None:
    desk.label(*[marks(parcel=f"P{41 + number:05d}", status="lost" if number % 2 else "sent") for number in range(6)])
    rows = desk.get("/api/pairs", pattern=desk.world.pattern)
    assert [row["loss"] for row in rows] == [1, 0, 1, 0, 1, 0]
    assert [row["at"] for row in rows] == sorted((row["at"] for row in rows), reverse=True)
    pages, before = [], ""
    while page := desk.get("/api/pairs", limit=4, before=before):
        pages.append(page)
        before = page[-1]["pair_id"]
    assert [len(page) for page in pages] == [4, 2]
    assert [row for page in pages for row in page] == rows
    assert {row["reason"] for row in desk.get("/api/pairs", only="disagree")} == {"arguments:set_status.status"}
    assert desk.get("/api/pairs", student="other@1") == []


def test_a_pair_shows_its_input_both_actions_and_what_differs(desk: Desk) -> None:
    desk.label(marks(parcel="P00041", status="lost"))
    (row,) = desk.get("/api/pairs", only="disagree")
    assert (row["teacher"], row["student_action"]) == (
        'set_status(parcel="P00041", status="sent")',
        'set_status(parcel="P00041", status="lost")',
    )
    pair = desk.get(f"/api/pairs/{row['pair_id']}")
    assert [message["role"] for message in pair["input"]["messages"]] == ["system", "user"]
    assert [(line["path"], line["teacher"], line["student"], line["why"]) for line in pair["diff"]] == [
        ("parcel", "P00041", "P00041", ""),
        ("status", "sent", "lost", "value"),
    ]
    (rules,) = pair["verdicts"]
    assert (rules["source"], rules["verdict"], rules["reason"]) == ("rules", "reject", "arguments:set_status.status")


def test_a_persons_word_counts_and_can_be_taken_back(desk: Desk) -> None:
    desk.label(marks(parcel="P00041", status="lost"))
    (row,) = desk.get("/api/pairs")
    path = f"/api/pairs/{row['pair_id']}/verdict"
    desk.world.now += 5.0
    after = desk.ask("POST", path, {"verdict": "accept", "note": "same thing here", "who": "ann"}).json()
    assert (after["loss"], after["decided_by"], after["changed_at"]) == (0.0, "human", desk.world.now)
    assert (after["ruled_loss"], after["ruled_reason"]) == (1.0, "arguments:set_status.status")
    assert [(one["source"], one["who"], one["reason"]) for one in after["verdicts"]][1:] == [
        ("human", "ann", "same thing here")
    ]
    assert [one["pair_id"] for one in desk.get("/api/pairs", only="human")] == [row["pair_id"]]
    back = desk.ask("POST", path, {"verdict": "withdraw", "who": "ann"}).json()
    assert (back["loss"], back["decided_by"], back["reason"]) == (1.0, "rules", "arguments:set_status.status")
    assert [one["verdict"] for one in back["verdicts"]] == ["reject", "accept", "withdraw"]


def test_mistakes_are_explained(desk: Desk) -> None:
    desk.label(marks(parcel="P00041", status="sent"))
    (row,) = desk.get("/api/pairs")
    path = f"/api/pairs/{row['pair_id']}/verdict"
    missing = "0192f000-0000-7000-8000-000000000001:shadow:s@1"
    mistakes: tuple[tuple[str, str, Any, int, str], ...] = (
        ("POST", path, {"verdict": "fine"}, 400, "accept, reject or withdraw"),
        ("POST", path, {"verdict": "accept", "who": " "}, 400, "who decides"),
        ("POST", path, {}, 400, "verdict"),
        ("POST", f"/api/pairs/{missing}/verdict", {"verdict": "accept"}, 404, "no pair"),
        ("GET", f"/api/pairs/{missing}", None, 404, "no pair"),
        ("GET", "/api/pairs/nonsense", None, 404, "no pair"),
        ("LIST", "only", "bad", 400, "disagree"),
        ("LIST", "limit", 0, 400, "limit"),
        ("LIST", "before", "x", 404, "no pair"),
        ("LIST", "pattern", "none", 404, "no pattern"),
    )
    for method, where, body, status, words in mistakes:
        listing = method == "LIST"
        response = desk.ask("GET", "/api/pairs", **{where: body}) if listing else desk.ask(method, where, body)
        assert response.status_code == status, (where, response.text)
        assert words in response.json()["error"]["message"]
    assert len(desk.get(f"/api/pairs/{row['pair_id']}")["verdicts"]) == 1
