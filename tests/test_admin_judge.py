"""The judge, reviews and the teacher's noise over the admin API."""

from dataclasses import replace
from typing import Any

import httpx
import pytest

from tutelage.proxy.admin_client import LocalSender
from tutelage.proxy.options import JudgeOptions
from tutelage.proxy.shadow import Label
from tutelage.proxy.verdicts import PairKey, Said, person_says, say


class Desk:
    """A control plane's world whose judge has decided two pairs."""

    def __init__(self, world: Any) -> None:
        self.world, self.keys = world, []
        world.options = replace(world.options, judge=JudgeOptions("http://j.test/v1", "judge-1", review_share=1.0))
        world.reopen()
        world.play(40)
        world.add_student()
        world.play(2)
        for task in world.plane.keeper.tasks("shadow", 99):
            world.now += 1.0
            said = {"role": "assistant", "content": "x"}
            world.plane.keeper.deliver(Label(task, 1.0, "unsure", 2, said, world.now, 5.0, waits=True))
            self.keys.append(PairKey(task.call_id, task.student, task.kind))
        world.plane.catch_up()

    def ask(self, path: str, **params: Any) -> httpx.Response:
        return LocalSender(self.world.plane.app, lambda: None).request("GET", path, params, None)

    def get(self, path: str, **params: Any) -> Any:
        response = self.ask(path, **params)
        assert response.status_code == 200, response.text
        return response.json()

    def judge(self, number: int, verdict: str) -> None:
        said = Said(self.keys[number], "judge", "judge-1#0", verdict, self.world.now, asked=2, prompt_tokens=9)
        say(self.world.plane.store, said)


@pytest.fixture
def desk(control_world: Any) -> Desk:
    return Desk(control_world)


def test_queue_costs_scores_and_tests(desk: Desk) -> None:
    before = desk.get("/api/judge")
    assert (before["queue"], before["waiting"], before["to_review"], before["scores"]) == (2, 2, 0, [])
    assert before["judge"].startswith("judge-1#")
    assert desk.get(f"/api/judge/{desk.world.pattern}") == []
    desk.judge(0, "accept")
    desk.judge(1, "reject")
    person_says(desk.world.plane.store, desk.keys[1], "accept", "ann", "", desk.world.now)
    after = desk.get("/api/judge")
    assert (after["queue"], after["waiting"], after["to_review"]) == (0, 0, 1)
    assert after["today"] == {"questions": 4, "tokens": 18, "usd": None}
    assert after["limits"] == {"questions": 2000, "tokens": 0, "usd": 0.0}
    assert after["scores"][0]["false_rejects"]["errors"] == 1
    [pair] = desk.get("/api/reviews", pattern=desk.world.pattern)
    assert pair["pair_id"] == desk.keys[0].text
    [tests] = desk.get(f"/api/judge/{desk.world.pattern}")
    assert (tests["flagged"]["n"], tests["flagged"]["losses"], tests["missed"]["n"]) == (2, 1.0, 0)
    assert (tests["crossed"], tests["lacking"], tests["sessions_to_review"]) == (False, "sessions and reviews", 1)


def test_noise_is_empty_until_the_teacher_was_asked_twice(desk: Desk) -> None:
    assert desk.get("/api/noise") == desk.get("/api/noise", pattern=desk.world.pattern) == []
    store = desk.world.plane.store
    store.execute(
        "INSERT INTO teacher_repeats SELECT call_id, pattern_id, trajectory_id, 0, 'same', 2, '', '{}', 1, 1, 1, 1 "
        "FROM comparisons"
    )
    [row] = desk.get("/api/noise")
    assert (row["sessions"], row["self_agreement"], row["difference"], row["noisy"]) == (2, 1.0, 1.0, False)


def test_mistakes_are_explained(desk: Desk) -> None:
    assert desk.ask("/api/judge/none").status_code == 404
    assert desk.ask("/api/noise", pattern="none").status_code == 404
    assert "limit" in desk.ask("/api/reviews", limit=0).json()["error"]["message"]
