"""The vote over drawn answers, and where it is taken."""

import asyncio
import json
import math
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.proxy.replies import read_student
from tutelage.proxy.usable import SHED
from tutelage.serving.engine import GREEDY, Generation, Sampling, TokenScore
from tutelage.serving.llama import LlamaEngine
from tutelage.serving.options import ServingOptions
from tutelage.serving.render import InvalidOutput
from tutelage.serving.sag import DRAWING, Undecided, Voting, vote, voting_for
from tutelage.serving.server import StudentServer
from tutelage.serving.student import Student
from tutelage.traffic.calibration import Calibration
from tutelage.traffic.students import PromptSpec

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "set_light",
            "parameters": {
                "type": "object",
                "properties": {"room": {"type": "string"}, "level": {"type": "integer"}},
                "required": ["room"],
            },
        },
    }
]
REQUEST: dict[str, Any] = {"model": "s@1", "messages": [{"role": "user", "content": "Light!"}], "tools": TOOLS}


def call(room: str, **more: Any) -> str:
    arguments = json.dumps({"room": room, **more})
    return f'<tool_call>{{"name":"set_light","arguments":{arguments}}}</tool_call>'


class DrawingEngine:
    """Draws one text after the other."""

    context = 400

    def __init__(self, *texts: str) -> None:
        self.texts, self.asked = list(texts), []

    def tokenise(self, text: str) -> list[int]:
        return list(text.encode())[:20]

    def generate(self, prompt_ids: Any, *args: Any, sampling: Sampling = GREEDY, **options: Any) -> Generation:
        self.asked.append(sampling)
        text = self.texts[(len(self.asked) - 1) % len(self.texts)]
        scores = (TokenScore(text.encode(), -0.25), TokenScore(b"", -0.75))
        return Generation(text, 10, len(prompt_ids), -0.5, -0.75, "stop", scores=scores)

    def set_adapters(self, adapters: Any) -> None: ...

    def close(self) -> None: ...


def student(*texts: str, calibration: Calibration | None = None) -> tuple[Student, DrawingEngine]:
    engine = DrawingEngine(*texts)
    return Student(PromptSpec(), engine, "s@1", calibration=calibration), engine


def test_the_action_that_most_agree_on_is_answered_with_the_tokens_of_all() -> None:
    one, engine = student(call("hall"), call("attic", level=1), '<tool_call>{"name"', call("attic", level=1))
    answer = Voting(4, 0.5).answer(one, REQUEST)
    assert json.loads(answer.message["tool_calls"][0]["function"]["arguments"]) == {"room": "attic", "level": 1}
    assert answer.vote_share == 0.5
    assert answer.score == pytest.approx(math.log(0.5))
    assert answer.usage["completion_tokens"] == 40
    assert answer.usage["prompt_tokens"] == len(one.prompt_ids(REQUEST))
    assert engine.asked == [DRAWING] * 4
    assert (DRAWING.temperature, DRAWING.top_p) == (0.4, 0.8)


def test_too_few_votes_defer_unless_it_is_a_copy() -> None:
    one, _ = student(call("hall"), call("attic"), call("cellar"))
    with pytest.raises(Undecided, match="33% of the drawn answers agree, fewer than 50%"):
        Voting(3, 0.5).answer(one, REQUEST)
    answer = Voting(3, 0.5).answer(one, REQUEST, served=False)
    assert "hall" in answer.message["tool_calls"][0]["function"]["arguments"]
    assert answer.score == pytest.approx(math.log(1 / 3))


def test_nothing_valid_is_invalid() -> None:
    one, _ = student('<tool_call>{"name"', '<tool_call>{"name":"fly","arguments":{}}</tool_call>')
    with pytest.raises(InvalidOutput, match="unclosed"):
        Voting(4, 0.5).answer(one, REQUEST)


def message(*calls: dict[str, Any], text: str | None = None) -> dict[str, Any]:
    wire = [
        {"function": {"name": "set_light", "arguments": json.dumps(c)}, "id": "x", "type": "function"} for c in calls
    ]
    return {"role": "assistant", "content": text, **({"tool_calls": wire} if wire else {})}


def test_actions_are_equal_whatever_their_writing() -> None:
    hall, attic = {"room": "hall", "level": 1}, {"level": 1, "room": "attic"}
    assert vote([message(hall), message(dict(reversed(hall.items())), text="So be it.")]) == (0, 1.0)
    assert vote([message(hall, attic), message(attic, hall)]) == (0, 1.0)
    assert vote([message(text="Yes. "), message(text="Yes."), message(hall)]) == (0, pytest.approx(2 / 3))
    assert vote([message(hall), message(hall, hall)]).share == 0.5


def test_ties_go_to_the_group_seen_first_and_what_is_none_counts_against_all() -> None:
    hall, attic = message({"room": "hall"}), message({"room": "attic"})
    assert vote([None, attic, hall, attic, hall]) == (1, 0.4)
    assert vote([attic, hall]) == (0, 0.5)
    assert vote([None, None]) == (0, 0.0)


@given(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=12))
def test_the_winner_is_of_a_largest_group(rooms: list[str | None]) -> None:
    found = vote([None if room is None else message({"room": room}) for room in rooms])
    sizes = [0 if room is None else rooms.count(room) for room in rooms]
    assert found.share == max(sizes) / len(rooms)
    assert found.winner == (sizes.index(max(sizes)) if max(sizes) else 0)


def test_patterns_choose_their_samples() -> None:
    samples = {"p1": 8, "p2": 1, "*": 4}
    assert [voting_for(pattern, samples, 0.5) for pattern in ("p1", "p2", "p3")] == [
        Voting(8, 0.5),
        None,
        Voting(4, 0.5),
    ]
    assert voting_for("p1", {}, 0.5) is None


def served(one: Student, headers: dict[str, str], **options: Any) -> httpx.Response:
    class Pool:
        versions, problems = ("s@1",), {}

        def get(self, version: str) -> Student:
            return one

        def lane(self, version: str) -> str:
            return one.lane

    server = StudentServer(ServingOptions(data="unused", **options), cast(Any, Pool()))

    async def go() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(server.app), base_url="http://s") as client:
            return await client.post("/v1/chat/completions", json=REQUEST, headers=headers)

    return asyncio.run(go())


def test_the_server_votes_where_the_pattern_says_so_and_the_proxy_reads_the_score() -> None:
    options = {"samples": {"p1": 2}, "least_share": 0.6}
    one, engine = student(call("hall"), call("attic"))
    refused = served(one, {"x-tutelage-pattern": "p1"}, **options)
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "low_confidence")
    assert "student_low_confidence" in SHED
    copied = served(one, {"x-tutelage-pattern": "p1", "x-tutelage-copy": "shadow"}, **options)
    assert read_student(copied).score == pytest.approx(math.log(0.5), abs=1e-6)
    assert read_student(copied).usage[1] == 20
    plain = served(one, {"x-tutelage-pattern": "p2"}, **options)
    assert read_student(plain).score == pytest.approx(-0.5)
    assert len(engine.asked) == 5
    assert "x-tutelage-probability" not in plain.headers


def test_a_calibrated_version_tells_a_probability_beside_its_score() -> None:
    calibration = Calibration(knots=[(-1.0, 0.2), (0.0, 0.8)], calls=50, error=0.02)
    answer = served(student(call("hall"), calibration=calibration)[0], {})
    told = {name: float(answer.headers[f"x-tutelage-{name}"]) for name in ("confidence", "lowest", "probability")}
    assert told == {"confidence": -0.5, "lowest": -0.75, "probability": pytest.approx(0.5)}


def test_samples_of_a_real_engine_share_the_prompt(tiny_gguf: Path) -> None:
    engine = LlamaEngine(tiny_gguf, slots=2, threads=1, context=512)
    one = Student(PromptSpec(), engine, max_tokens=200)
    request = {**REQUEST, "tools": [], "tool_choice": None}
    drawn = one.draw(request, 3, Sampling(0.4, 0.8, seed=1))
    assert len(drawn) == 3
    engine.close()
