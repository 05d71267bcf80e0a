from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from tutelage.distill.curate import CallRef, Message, Trajectory
from tutelage.distill.evaluate import BASE, COMMONEST, NEIGHBOUR, Previous, evaluate
from tutelage.distill.succession import Paired
from tutelage.serving.render import InvalidOutput
from tutelage.serving.student import ContextTooLong

TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {"name": name, "parameters": {"type": "object", "properties": {"id": {"type": "string"}}}},
    }
    for name in ("track", "cancel")
]


def call(name: str, argument: str) -> Message:
    function = {"name": name, "arguments": f'{{"id": "{argument}"}}'}
    return {"role": "assistant", "content": None, "tool_calls": [{"id": "x", "type": "function", "function": function}]}


def session(number: int, answer: Message, last: str = "Done.") -> Trajectory:
    messages = [
        {"role": "user", "content": f"task {number}"},
        answer,
        {"role": "tool", "tool_call_id": "x", "content": "ok"},
        {"role": "assistant", "content": last},
    ]
    calls = (
        CallRef(f"c{number}a", 1, "p_user", "teacher", "m", 1.0),
        CallRef(f"c{number}b", 3, "p_tool", "teacher", "m", 2.0),
    )
    return Trajectory(f"t{number}", f"s{number}", "a", True, "rule", TOOLS, messages, calls)


@dataclass
class FakeReply:
    message: Message
    finish: str = "stop"
    mean_logprob: float = -0.1


class Fake:
    """Answers from a table by the last message's text; an exception in it is raised."""

    def __init__(self, answers: Mapping[str, Message | Exception]) -> None:
        self.answers = answers
        self.requests: list[dict[str, Any]] = []

    def answer(self, request: dict[str, Any]) -> FakeReply:
        self.requests.append(request)
        found = self.answers[request["messages"][-1]["content"]]
        if isinstance(found, Exception):
            raise found
        return FakeReply(found)


SESSIONS = [session(number, call("track", f"A{number}")) for number in range(4)]
DONE: Message = {"role": "assistant", "content": "Done."}


def test_agreement_by_pattern_with_reasons():
    student = Fake(
        {
            "task 0": call("track", "A0"),
            "task 1": call("cancel", "A1"),
            "task 2": InvalidOutput("bad_json"),
            "task 3": ContextTooLong("too long"),
            "ok": DONE,
        }
    )
    scores = evaluate(student, SESSIONS, SESSIONS, parallel=2).scores
    user, tool = sorted(scores.patterns, key=lambda score: score.pattern_id, reverse=True)
    assert (user.pattern_id, user.calls, user.sessions, user.agreement) == ("p_user", 4, 4, 0.25)
    assert user.reasons == {"tools": 1, "invalid:bad_json": 1, "refused": 1}
    assert tool.agreement == 1.0
    assert scores.agreement == pytest.approx(5 / 8)
    assert 0 < scores.low < scores.agreement < scores.high < 1
    assert scores.base is None


def test_the_student_gets_what_the_agent_sent():
    student = Fake({f"task {number}": DONE for number in range(4)} | {"ok": DONE})
    evaluate(student, SESSIONS[:1], SESSIONS, parallel=1)
    assert [len(request["messages"]) for request in student.requests] == [1, 3]
    assert all(request["tools"] == TOOLS for request in student.requests)


def test_floors_stand_beside_it_and_the_better_one_counts():
    train = [session(number, call("track", "A1")) for number in range(3)] + [session(9, call("track", "A2"))]
    nothing = Fake({f"task {number}": call("cancel", "x") for number in range(4)} | {"ok": DONE})
    scores = evaluate(nothing, SESSIONS, train).scores
    by_pattern = {score.pattern_id: score for score in scores.patterns}
    assert by_pattern["p_user"].floor == 0.25
    assert by_pattern["p_tool"].floor == 1.0
    assert not scores.beats_floor
    floors = {one.name: one.agreement.share for one in scores.contenders}
    assert set(floors) == {COMMONEST, NEIGHBOUR}
    assert scores.floor == max(share for share in floors.values() if share is not None)


def test_level_with_a_floor_that_is_always_right_is_enough():
    same = [session(number, DONE) for number in range(4)]
    student = Fake({f"task {number}": DONE for number in range(4)} | {"ok": DONE})
    scores = evaluate(student, same, same).scores
    assert (scores.agreement, scores.floor) == (1.0, 1.0)
    assert scores.beats_floor


def test_the_version_before_answers_the_same_calls():
    good = Fake({f"task {number}": call("track", f"A{number}") for number in range(4)} | {"ok": DONE})
    before = Fake({f"task {number}": call("track", f"A{number % 2}") for number in range(4)})
    scores = evaluate(good, SESSIONS, SESSIONS, previous=Previous("s@0", before, ["p_user"])).scores
    (old,) = [one for one in scores.contenders if one.name == "s@0"]
    # Half of one pattern, nothing of the other, which it would not be asked about.
    assert (old.agreement.share, old.agreement.calls, old.student) == (0.25, 8, 1.0)
    assert old.sessions == Paired(better=4, worse=0)
    assert len(before.requests) == 4


def test_confidence_is_calibrated_where_there_is_enough_to_say():
    many = [session(number, call("track", f"A{number}")) for number in range(40)]

    class Sure(Fake):
        def answer(self, request: dict[str, Any]) -> FakeReply:
            number = int(request["messages"][0]["content"].split()[1])
            if len(request["messages"]) > 1:
                return FakeReply(DONE, mean_logprob=-0.01)
            wrong = number % 4 == 0
            return FakeReply(call("track", "x" if wrong else f"A{number}"), mean_logprob=-2.0 if wrong else -0.1)

    found = evaluate(Sure({}), many, many)
    assert found.calibration is not None
    assert found.calibration.calibrated(-0.1) > 0.9 > 0.1 > found.calibration.calibrated(-2.0)
    assert [one.limit for one in found.scores.served] == [0.05, 0.1]
    assert all(one.threshold == -0.1 for one in found.scores.served)
    assert found.scores.served[0].share.share == pytest.approx(70 / 80)
    assert found.scores.served[0].risk.share == 0.0
    assert evaluate(Sure({}), many[:4], many).calibration is None
    assert msgspec.json.decode(msgspec.json.encode(found.scores.to_json())) == found.scores.to_json()


def test_the_base_is_asked_about_a_few_sessions_only():
    good = Fake({f"task {number}": call("track", f"A{number}") for number in range(4)} | {"ok": DONE})
    base = Fake({f"task {number}": DONE for number in range(4)} | {"ok": DONE})
    scores = evaluate(good, SESSIONS, SESSIONS, base=base, base_sessions=2).scores
    assert scores.beats_floor
    assert (scores.base, scores.base_sessions) == (0.5, 2)
    assert len(base.requests) == 4
    (untrained,) = [one for one in scores.contenders if one.name == BASE]
    assert (untrained.agreement.sessions, untrained.student) == (2, 1.0)


def test_no_questions_prove_nothing():
    scores = evaluate(Fake({}), [], SESSIONS).scores
    assert not scores.beats_floor
    assert (scores.low, scores.high) == (0.0, 1.0)
