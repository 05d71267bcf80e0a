"""Asking the teacher twice: what is asked, what is kept, what it says."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from tutelage.proxy.draws import Draw
from tutelage.proxy.noise_labels import NOISE, NoiseSource, differences, noise_rows
from tutelage.proxy.referee import PolicyReferee
from tutelage.proxy.shadow import Endpoint, Label, Runner
from tutelage.traffic.tool_policy import ToolPolicy


def says(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


class Bench:
    """A control plane's world with shadowed sessions, and a teacher that is asked again."""

    def __init__(self, world: Any) -> None:
        self.world, self.asked = world, []
        world.play(40)
        world.add_student()

    def shadow(self, *losses: tuple[float, str]) -> None:
        """One session each, in which the teacher said `It is 5.`, with the student's loss and its reason."""
        self.world.play(len(losses), answer=says("It is 5."))
        for task, (loss, reason) in zip(self.world.plane.keeper.tasks("shadow", 99), losses, strict=True):
            self.world.now += 1.0
            self.world.plane.keeper.deliver(Label(task, loss, reason, 2, says("x"), self.world.now, 5.0))
        self.world.plane.catch_up()

    def source(self, share: float = 1.0, per_day: int = 100) -> NoiseSource:
        return NoiseSource(self.world.plane.store, Draw("00", share), per_day, lambda: self.world.now)

    def repeat(self, *answers: str | int, rounds: int = 2, **options: Any) -> None:
        """Ask again about all that is due; the teacher gives these answers in turn, or an HTTP status."""
        given = iter(answers)

        def answer(request: httpx.Request) -> httpx.Response:
            self.asked.append(json.loads(request.content))
            said = next(given)
            if isinstance(said, int):
                return httpx.Response(said, json={"error": {"message": "no"}})
            usage = {"prompt_tokens": 9, "completion_tokens": 2}
            return httpx.Response(200, json={"choices": [{"message": says(said)}], "usage": usage})

        async def work() -> None:
            async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
                end = Endpoint("http://teacher.test/v1")
                referee = PolicyReferee(lambda _: ToolPolicy(), judged=True)
                how: dict[str, Any] = {"concurrency": 1, "referee": referee, "clock": lambda: self.world.now}
                runner = Runner(NOISE, self.source(**options), lambda _: end, client, **how)
                for _ in range(rounds):
                    await runner.round()

        asyncio.run(work())

    @property
    def kept(self) -> list[tuple[Any, ...]]:
        sql = "SELECT loss, reason, prompt_tokens FROM teacher_repeats ORDER BY call_id"
        return self.world.plane.store.rows(sql)

    def found(self) -> list[float]:
        return differences(self.world.plane.store, self.world.pattern, self.world.version)


@pytest.fixture
def bench(control_world: Any) -> Bench:
    return Bench(control_world)


def test_the_logged_call_is_asked_again_and_compared_with_the_first_answer(bench: Bench) -> None:
    bench.shadow((0.0, "same"), (1.0, "numbers"))
    bench.repeat("It is 5", "It is 6.")
    assert [body["model"] for body in bench.asked] == ["teacher-1"] * 2
    assert bench.kept == [(0.0, "same", 9), (1.0, "numbers", 9)]
    assert bench.found() == [0.0, 0.0]
    bench.repeat()
    assert len(bench.asked) == 2, "nobody is asked twice"


def test_a_second_answer_that_the_rules_cannot_judge_counts_as_agreeing(bench: Bench) -> None:
    bench.shadow((1.0, "unsure"))
    bench.repeat("It is 5, I would say.")
    assert bench.kept[0][1] == "unsure"
    assert bench.found() == [1.0], "else any student that words it otherwise would be as good as the teacher"


def test_what_the_teacher_refuses_says_nothing(bench: Bench) -> None:
    bench.shadow((1.0, "numbers"))
    bench.repeat(*[400] * 3, rounds=4)
    assert bench.kept == [(1.0, "teacher_http_400", None)]
    assert bench.found() == []


def test_a_share_is_drawn_and_a_budget_holds(bench: Bench) -> None:
    bench.shadow(*[(0.0, "same")] * 6)
    assert bench.source(0.0).tasks(NOISE, 99) == []
    assert len(bench.source(1.0, per_day=4).tasks(NOISE, 99)) == 4
    bench.repeat(*["It is 5"] * 4, per_day=4)
    assert bench.source(1.0, per_day=4).tasks(NOISE, 99) == []
    bench.world.now += 86_401.0
    assert bench.source(1.0, per_day=4).tasks(NOISE, 99) == [], "what is older than a day is not repeated"


def test_a_noisy_teacher_is_known_and_an_equal_student_is_proven(bench: Bench) -> None:
    bench.shadow(*[(float(n % 5 == 0), "numbers" if n % 5 == 0 else "same") for n in range(90)])
    bench.repeat(*[f"It is {6 if n % 5 == 1 else 5}." for n in range(90)], rounds=7)
    [row] = noise_rows(bench.world.plane.store, bench.world.pattern, 0.10, 0.2, 0.05)
    assert (row.sessions, row.student, row.noisy) == (90, bench.world.version, True)
    assert row.self_agreement == pytest.approx(0.8)
    assert row.low < 0.8 < row.high
    assert row.difference == pytest.approx(0.0)
    assert row.proven
    [strict] = noise_rows(bench.world.plane.store, bench.world.pattern, 0.50, 0.001, 0.05)
    assert (strict.noisy, strict.proven) == (False, False)
