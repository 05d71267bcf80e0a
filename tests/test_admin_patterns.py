"""Changing patterns through the admin API: what the store, the listings and the data plane's file say afterwards."""

import json
from typing import Any

import httpx
import pytest

from tutelage.proxy.admin_client import LocalSender
from tutelage.traffic.facts import facts_of
from tutelage.traffic.patterns import Registry
from tutelage.traffic.records import encode

NIGHT, DAY = "You guard a museum.\nIt is {time}.\nOpen no door.", "You guard a museum.\nIt is {time}.\nOpen the door."


class Desk:
    """Two agents with one tool each in a control plane's world, and its API."""

    def __init__(self, world: Any, make_call: Any) -> None:
        self.world, self.make_call, self.made = world, make_call, 0
        self.play(NIGHT, 8)
        self.play(DAY, 8)

    def messages(self, prompt: str) -> list[dict[str, Any]]:
        self.made += 1
        return [
            {"role": "system", "content": prompt.format(time=f"{self.made % 24:02}:30")},
            {"role": "user", "content": f"Visitor {self.made} knocks."},
        ]

    def play(self, prompt: str, calls: int, answer: str = "No.", **fields: Any) -> None:
        for _ in range(calls):
            self.world.now += 1.0
            said = {"role": "assistant", "content": answer}
            record = self.make_call(self.messages(prompt), said, started_at=self.world.now, **fields)
            assert self.world.writer.append(encode(record))
        assert self.world.writer.flush()
        self.world.plane.catch_up()

    def ask(self, method: str, path: str, body: Any = None, **params: Any) -> httpx.Response:
        return LocalSender(self.world.plane.app, lambda: None).request(method, path, params, body)

    def get(self, path: str, **params: Any) -> Any:
        response = self.ask("GET", path, **params)
        assert response.status_code == 200, response.text
        return response.json()

    def post(self, path: str, **body: Any) -> Any:
        response = self.ask("POST", path, body)
        assert response.status_code == 200, response.text
        return response.json()

    def refused(self, path: str, status: int = 400, **body: Any) -> str:
        response = self.ask("POST", path, body)
        assert response.status_code == status, response.text
        return response.json()["error"]["message"]

    def published(self, prompt: str) -> str:
        """Where the data plane places a call, by the file that it reads."""
        facts = facts_of({"messages": self.messages(prompt)})
        assert facts
        match = Registry.load(self.world.data.patterns).identify(facts)
        return match.pattern_id if match else ""

    def stored(self) -> str:
        """The pattern of the newest call in the store."""
        sql = "SELECT pattern_id FROM calls ORDER BY started_at DESC LIMIT 1"
        return self.world.plane.store.value(sql)

    @property
    def ids(self) -> list[str]:
        return [entry.pattern_id for entry in self.world.plane.keeper.registry.found()]

    def state(self) -> Any:
        """All that an edit may change."""
        rows = self.world.plane.store.rows("SELECT pattern_id, name, version FROM patterns ORDER BY ALL")
        used = {entry.pattern_id for entry in self.world.plane.keeper.registry.entries()}
        places = self.published(NIGHT), self.published(DAY)
        return [row for row in rows if row[0] in used], places, self.world.data.patterns.read_bytes()


@pytest.fixture
def desk(control_world: Any, make_call: Any) -> Desk:
    return Desk(control_world, make_call)


def test_a_merge_moves_calls_but_no_history_and_undo_takes_it_back(desk: Desk) -> None:
    first, second = desk.ids
    before = desk.state()
    made = desk.post(f"/api/patterns/{first}/merge", others=[second], actor="ann")
    (merged,) = made["made"]
    assert (made["kind"], made["actor"]) == ("merge", "ann")
    assert {desk.published(NIGHT), desk.published(DAY)} == {merged}
    desk.play(DAY, 2)
    assert desk.stored() == merged
    volumes = {row["pattern_id"]: row["calls"] for row in desk.get("/api/patterns")}
    assert volumes == {first: 8, second: 8, merged: 2}
    row = desk.get(f"/api/patterns/{merged}")
    name = desk.get(f"/api/patterns/{first}")["name"]
    assert (row["name"], row["version"] > 1, row["route"]["state"]) == (name, True, "observe")
    assert desk.get(f"/api/patterns/{merged}/details")["made_of"] == [first, second]
    assert desk.get(f"/api/patterns/{first}/details")["replaced_by"] == [merged]
    desk.world.reopen()
    assert {desk.published(NIGHT), desk.published(DAY)} == {merged}, "a restart changes nothing"
    undone = desk.post("/api/pattern-edits/undo")
    assert (undone["kind"], undone["detail"]) == ("undo", {"seq": made["seq"]})
    assert desk.state() == before
    desk.play(DAY, 1)
    assert desk.stored() == second
    history = desk.get("/api/pattern-edits")
    assert [(one["kind"], one["in_force"]) for one in history] == [("undo", False), ("merge", False)]


def test_a_new_name_is_in_every_listing_and_undo_takes_it_back(desk: Desk) -> None:
    first, _ = desk.ids
    before = desk.state()
    desk.post(f"/api/patterns/{first}/rename", name="night-watch")
    names = {row["pattern_id"]: row["name"] for row in desk.get("/api/patterns")}
    assert names[first] == "night-watch"
    assert {row["name"] for row in desk.get("/api/routes") if row["pattern_id"] == first} == {"night-watch"}
    desk.world.reopen()
    assert desk.get(f"/api/patterns/{first}")["name"] == "night-watch"
    desk.post("/api/pattern-edits/undo")
    assert desk.state() == before


def test_a_split_by_a_line_of_the_prompt(desk: Desk) -> None:
    desk.post(f"/api/patterns/{desk.ids[0]}/merge", others=[desk.ids[1]])
    merged = desk.published(NIGHT)
    before = desk.state()
    found = desk.get(f"/api/patterns/{merged}/differences")
    agent = desk.get(f"/api/patterns/{merged}")["agent_id"]
    assert desk.get(f"/api/patterns/{agent}/differences") == found, "it is the agent that is split"
    assert {(one["by"], one["value"], one["calls"], one["of"]) for one in found} == {
        ("line", "Open no door.", 8, 16),
        ("line", "Open the door.", 8, 16),
    }
    made = desk.post(f"/api/patterns/{merged}/split", by="line", value="Open no door.", name="locked")["made"]
    assert desk.published(NIGHT) in made
    assert desk.published(DAY) in made
    assert desk.published(NIGHT) != desk.published(DAY)
    assert desk.get(f"/api/patterns/{desk.published(NIGHT)}")["name"] == "locked"
    desk.play(NIGHT, 1)
    assert desk.stored() == desk.published(NIGHT)
    assert "out of use since edit 2" in desk.refused(f"/api/patterns/{merged}/split", by="line", value="Open no door.")
    desk.post("/api/pattern-edits/undo")
    assert desk.state() == before


def test_mistakes_are_refused_and_leave_nothing_behind(desk: Desk) -> None:
    first, second = desk.ids
    before = desk.state()
    taken = desk.get(f"/api/patterns/{second}")["name"]
    mistakes: tuple[tuple[str, dict[str, Any], str], ...] = (
        (f"/api/patterns/{first}/merge", {"others": []}, "two agents at least"),
        (f"/api/patterns/{first}/merge", {"others": [first]}, "two agents at least"),
        (f"/api/patterns/{first}/split", {"by": "mood", "value": "x"}, "by line, role, tools, model"),
        (f"/api/patterns/{first}/split", {"by": "role", "value": "tool"}, "do not differ in any role"),
        (f"/api/patterns/{first}/split", {"by": "line", "value": "Sing."}, "do not differ in line 'Sing.'"),
        (f"/api/patterns/{first}/rename", {"name": taken}, "already"),
        (f"/api/patterns/{first}/rename", {"name": "two words"}, "is no name"),
        (f"/api/patterns/{first}/rename", {"name": first}, "is no name"),
        ("/api/pattern-edits/undo", {}, "no edit to undo"),
        (f"/api/patterns/{first}/rename", {"title": "x"}, "does not fit"),
    )
    for path, body, words in mistakes:
        assert words in desk.refused(path, **body), path
    assert "no agent or pattern" in desk.refused("/api/patterns/p_none/merge", 404, others=[first])
    assert desk.state() == before
    assert desk.get("/api/pattern-edits") == []


def test_a_pattern_that_a_student_serves_is_only_taken_by_force(control_world: Any, make_call: Any) -> None:
    world = control_world
    world.play(40)
    parcels = world.pattern
    world.add_student()
    world.play(60)
    world.label()
    world.idle()
    assert world.plane.keeper.board.state(parcels).state == "canary"
    desk = Desk(world, make_call)
    other = desk.ids[1]
    why = desk.refused(f"/api/patterns/{other}/merge", others=[parcels])
    assert parcels in why
    assert "--force" in why
    assert desk.get("/api/pattern-edits") == []
    (merged, *_) = desk.post(f"/api/patterns/{other}/merge", others=[parcels], force=True)["made"]
    assert world.plane.keeper.board.state(parcels).state == "quarantined"
    assert json.loads(world.data.routes.read_bytes())["routes"][parcels]["share"] == 0
    assert world.plane.keeper.board.state(merged).student == "", "evidence is not inherited"
    world.play(3)
    assert desk.stored() == merged
    desk.post("/api/pattern-edits/undo")
    assert world.plane.keeper.board.state(parcels).state == "quarantined", "an undo promotes nobody"


def test_graph_and_opportunities_over_http(desk: Desk) -> None:
    desk.play(NIGHT, 12)
    graph = desk.get(f"/api/patterns/{desk.ids[0]}/graph")
    assert desk.get(f"/api/patterns/{graph['agent_id']}/graph") == graph
    assert (graph["runs"], graph["calls"]) == (20, 20)
    assert graph["nodes"][0]["repeated"]["n"] == 20
    found = desk.get("/api/opportunities", days=1)
    assert found["ranked_by"] == "dollars"
    assert [one["pattern_id"] for one in found["opportunities"]] == desk.ids
    assert found["opportunities"][0]["repetitive"]["share"] == 1.0
    assert found["opportunities"][0]["state"] == "observe"
    assert desk.ask("GET", "/api/opportunities", days=0).status_code == 400
    assert desk.ask("GET", f"/api/patterns/{desk.ids[0]}/graph", limit=0).status_code == 400
