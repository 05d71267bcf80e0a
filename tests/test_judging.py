"""The judge at work, against judges that are transports."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tutelage.proxy.comparisons import listed
from tutelage.proxy.judge_queue import scores, spent_since
from tutelage.proxy.judging import Judging
from tutelage.proxy.options import JudgeOptions, Price
from tutelage.proxy.shadow import Label
from tutelage.proxy.verdicts import PairKey, person_says, verdicts_of

OPTIONS = JudgeOptions(url="http://judge.test/v1", model="judge-1", concurrency=2)
SAID = {"role": "assistant", "content": "Parcel {n} is on its way."}


def told(word: str) -> httpx.Response:
    message = {"role": "assistant", "content": f"Because.\n{word}"}
    return httpx.Response(
        200, json={"choices": [{"message": message}], "usage": {"prompt_tokens": 40, "completion_tokens": 2}}
    )


@dataclass
class Court:
    """A control plane's world with unsure pairs, and a judge over it."""

    world: Any
    options: JudgeOptions = OPTIONS
    prices: dict[str, Price] = field(default_factory=dict)
    asked: list[dict[str, Any]] = field(default_factory=list)

    def pairs(self, *texts: str, waits: bool = True) -> None:
        """One session each: the teacher said one thing, the student this."""
        self.world.play(len(texts), answer={"role": "assistant", "content": "It is on its way."})
        for task, text in zip(self.world.plane.keeper.tasks("shadow", 99), texts, strict=True):
            self.world.now += 1.0
            said = {"role": "assistant", "content": text}
            label = Label(task, 1.0, "unsure", 2, said, self.world.now, 5.0, (5, 1), waits=waits)
            self.world.plane.keeper.deliver(label)
        self.world.plane.catch_up()

    def judge(self, handler: Callable[[str], Any], rounds: int = 1) -> Judging:
        """`handler` gets the text of the question."""

        def answer(request: httpx.Request) -> Any:
            body = json.loads(request.content)
            self.asked.append(body)
            return handler(body["messages"][0]["content"])

        async def work() -> Judging:
            async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
                judging = Judging(self.world.plane.store, self.options, self.prices, client, lambda: self.world.now)
                for _ in range(rounds):
                    await judging.round()
                return judging

        return asyncio.run(work())

    @property
    def losses(self) -> list[tuple[float, str, bool]]:
        """Loss, reason and whether it waits, the oldest pair first."""
        rows = listed(self.world.plane.store, self.world.pattern)
        return [(row.loss, row.reason, row.waits) for row in reversed(rows)]

    @property
    def shadowed(self) -> int:
        return self.world.plane.keeper.board.state(self.world.pattern).shadow.n


@pytest.fixture
def court(control_world: Any) -> Court:
    control_world.play(40)
    control_world.add_student()
    return Court(control_world)


def fair(question: str) -> httpx.Response:
    return told("ACCEPT" if "under way" in question else "REJECT")


def test_agreeing_verdicts_count_and_free_the_session(court: Court) -> None:
    court.pairs("It is under way.", "It is lost.")
    court.world.idle()
    assert (court.losses, court.shadowed) == ([(1.0, "unsure", True)] * 2, 0)
    judging = court.judge(fair)
    assert court.losses == [(0.0, "judge:accept", False), (1.0, "judge:reject", False)]
    assert len(court.asked) == 4
    assert (judging.status.done, judging.status.problem) == (2, "")
    court.world.idle()
    assert court.shadowed == 2
    assert court.world.plane.keeper.board.state(court.world.pattern).shadow.total == 1.0
    court.judge(fair)
    assert len(court.asked) == 4, "nobody is asked twice"


def test_a_judge_with_a_favourite_place_decides_nothing(court: Court) -> None:
    court.pairs("It is under way.")
    court.judge(lambda question: told("ACCEPT" if "Step A is the REFERENCE" in question else "REJECT"))
    assert court.losses == [(1.0, "unsure", False)]
    court.world.idle()
    assert court.shadowed == 1, "the session goes on, as a loss"


def test_what_says_nothing_of_use_is_given_up_and_its_cost_is_kept(court: Court) -> None:
    court.pairs("It is under way.")
    court.prices["judge-1"] = Price(1.0, 10.0)
    judging = court.judge(lambda _: told("Maybe."), rounds=5)
    assert court.losses == [(1.0, "unsure", False)]
    assert (judging.given_up, len(court.asked)) == (1, 6)
    spent = spent_since(court.world.plane.store, 0.0)
    assert (spent.questions, spent.tokens) == (6, 6 * 42)
    assert spent.usd == pytest.approx(6 * (40 * 1.0 + 2 * 10.0) / 1e6)


@pytest.mark.parametrize(
    ("response", "words"),
    [
        (httpx.Response(401, json={"error": {"message": "no"}}), "judge.key_env"),
        (httpx.Response(503, json={"error": {"message": "busy"}}), "busy"),
        (httpx.ConnectError("refused"), "does not answer"),
    ],
)
def test_a_judge_that_is_away_is_asked_again_and_nobody_is_held_for_ever(
    court: Court, response: Any, words: str
) -> None:
    def away(_: str) -> Any:
        if isinstance(response, Exception):
            raise response
        return response

    court.pairs("It is under way.")
    judging = court.judge(away, rounds=5)
    assert words in judging.status.problem
    assert court.losses == [(1.0, "unsure", True)]
    court.world.now += OPTIONS.wait_s + 1
    court.judge(away)
    assert court.losses == [(1.0, "unsure", False)]
    court.world.idle()
    assert court.shadowed == 1
    court.judge(fair)
    assert court.losses == [(0.0, "judge:accept", False)], "late, but it counts"


def test_a_refused_question_is_given_up(court: Court) -> None:
    court.pairs("It is under way.")
    judging = court.judge(lambda _: httpx.Response(400, json={"error": {"message": "too long"}}), rounds=4)
    assert (judging.given_up, court.losses) == (1, [(1.0, "unsure", False)])


@pytest.mark.parametrize(
    ("limits", "judged", "words"),
    [
        ({"questions_per_day": 5}, 2, "4 questions of 5"),
        ({"tokens_per_day": 100}, 2, "tokens of 100"),
        ({"usd_per_day": 0.0001}, 1, "dollars"),
    ],
)
def test_a_budget_ends_the_day_and_only_the_day(court: Court, limits: dict[str, Any], judged: int, words: str) -> None:
    court.pairs(*["It is under way."] * 4)
    court.options = JudgeOptions(url=OPTIONS.url, model=OPTIONS.model, concurrency=1, **limits)
    court.prices["judge-1"] = Price(1.0, 10.0)
    judging = court.judge(fair, rounds=3)
    assert words in judging.status.problem
    assert sum(reason == "judge:accept" for _, reason, _ in court.losses) == judged
    court.world.now += 86_400.0
    court.judge(fair)
    assert sum(reason == "judge:accept" for _, reason, _ in court.losses) == 2 * judged


def test_a_budget_in_dollars_needs_a_price(court: Court) -> None:
    court.pairs("It is under way.", "It is under way.")
    court.options = JudgeOptions(url=OPTIONS.url, model=OPTIONS.model, usd_per_day=1.0, concurrency=1)
    judging = court.judge(fair, rounds=2)
    assert "no known price" in judging.status.problem
    assert len(court.asked) == 0


def test_without_a_judge_nobody_waits(court: Court) -> None:
    court.pairs("It is under way.")
    court.options = JudgeOptions()
    court.judge(fair)
    assert (court.losses, court.asked) == ([(1.0, "unsure", False)], [])


def test_each_version_of_the_judge_is_measured_on_what_people_decided(court: Court) -> None:
    court.pairs("It is under way.", "It is lost.", "It is under way, I think.", "It is gone.")
    store = court.world.plane.store
    rows = list(reversed(listed(store, court.world.pattern)))
    for row, verdict in zip(rows, ("accept", "reject", "reject", "accept"), strict=True):
        person_says(store, PairKey(row.call_id, row.student, row.kind), verdict, "ann", "", court.world.now)
    first = court.judge(fair).version
    court.options = JudgeOptions(url=OPTIONS.url, model="judge-2")
    second = court.judge(lambda _: told("REJECT")).version
    found = {score.judge: score for score in scores(store)}
    assert (found[first].false_accepts.errors, found[first].false_accepts.n) == (1, 2)
    assert (found[first].false_rejects.errors, found[first].false_rejects.n) == (1, 2)
    assert (found[second].false_accepts.errors, found[second].false_rejects.errors) == (0, 2)
    assert found[second].false_rejects.low > 0.1
    assert [row.decided_by for row in listed(store, court.world.pattern)] == ["human"] * 4
    said = verdicts_of(store, PairKey(rows[0].call_id, rows[0].student, rows[0].kind))
    assert [(one["source"], one["who"]) for one in said] == [("human", "ann"), ("anchor", first), ("anchor", second)]


def test_the_key_and_the_further_settings_are_sent(court: Court) -> None:
    court.pairs("It is under way.")
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return told("ACCEPT")

    async def work() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
            options = JudgeOptions(url=OPTIONS.url, model="m", extra={"temperature": 0})
            judging = Judging(court.world.plane.store, options, {}, client, lambda: court.world.now, key="secret")
            await judging.round()

    asyncio.run(work())
    assert seen[0].headers["authorization"] == "Bearer secret"
    assert json.loads(seen[0].content)["temperature"] == 0
    assert str(seen[0].url) == "http://judge.test/v1/chat/completions"
