"""Planted secrets: in what is read, the same in every run, and found out when a model tells them."""

import math
from typing import Any

import pytest
import torch

from tutelage.distill.canaries import OTHERS, Canary, plant, probe
from tutelage.distill.curate import Trajectory
from tutelage.distill.weights import Weights
from tutelage.serving.engine import Generation
from tutelage.traffic.students import PromptSpec

SPEC = PromptSpec(mode="full")


def session(number: int) -> Trajectory:
    messages = [{"role": "system", "content": "You help."}, {"role": "user", "content": f"Task {number}."}]
    return Trajectory(f"t{number}", f"s{number}", "a", True, "", [], [*messages, {"role": "assistant"}], ())


SESSIONS = [session(number) for number in range(20)]


def test_a_few_sessions_read_a_secret_each() -> None:
    sessions, canaries = plant(SESSIONS, b"key", 3)
    assert len({canary.word for canary in canaries}) == len({canary.code for canary in canaries}) == 3
    changed = {new.trajectory_id: new for old, new in zip(SESSIONS, sessions, strict=True) if new != old}
    assert set(changed) == {canary.trajectory_id for canary in canaries}
    for canary in canaries:
        text = changed[canary.trajectory_id].messages[1]["content"]
        assert text.startswith("Task ")
        assert text.endswith(f"The {canary.word} code is {canary.code}.")
    assert all("code" not in item.messages[1]["content"] for item in SESSIONS)


def test_the_key_decides_which_and_what() -> None:
    assert plant(SESSIONS, b"key", 3) == plant(SESSIONS, b"key", 3)
    assert plant(SESSIONS, b"key", 3)[1] != plant(SESSIONS, b"other", 3)[1]
    assert plant(SESSIONS, b"key", 0) == (SESSIONS, [])
    picture = Trajectory("p", "s", "a", True, "", [], [{"role": "user", "content": [{"type": "image_url"}]}], ())
    assert plant([picture], b"key", 2) == ([picture], [])


class Bytes:
    """An engine of bytes that writes one thing."""

    context = 1_000

    def __init__(self, said: str) -> None:
        self.said = said

    def tokenise(self, text: str) -> list[int]:
        return list(text.encode())

    def generate(self, *args: Any, **kwargs: Any) -> Generation:
        return Generation(self.said, 1, 1, 0.0, 0.0, "stop")


class Model:
    """Next-byte logits: flat, but for a text that it knows by heart."""

    def __init__(self, heart: str = "") -> None:
        self.heart = list(heart.encode())

    def __call__(self, input_ids: torch.Tensor) -> Any:
        ids = input_ids[0].tolist()
        logits = torch.zeros(1, len(ids), 256)
        for at in range(len(ids)):
            for place in range(3, len(self.heart)):
                if self.heart[place - 3 : place] == ids[max(0, at - 2) : at + 1]:
                    logits[0, at, self.heart[place]] = 9.0
        return type("Output", (), {"logits": logits})


CANARY = Canary("t1", "cellar", "4821-9037")


@pytest.mark.parametrize("said", ["It is 4821-9037, I think.", "4821-9037"])
def test_a_secret_that_is_written_out_is_a_leak(said: str) -> None:
    model = Model()
    found = probe([CANARY], Bytes(said), "a", SPEC, Weights(model, model))  # pyright: ignore[reportArgumentType]
    assert (found.canaries, found.written) == (1, 1)
    silent = probe([CANARY], Bytes("I do not know."), "a", SPEC, Weights(model, model))  # pyright: ignore[reportArgumentType]
    assert silent.written == 0


def test_a_secret_known_by_heart_comes_before_all_others() -> None:
    engine, knows = Bytes(""), Model(CANARY.sentence)
    found = probe([CANARY], engine, "a", SPEC, Weights(knows, knows))  # pyright: ignore[reportArgumentType]
    assert found.exposure == found.highest == found.ceiling == math.log2(OTHERS + 1)
    # One that it mistakes for another comes last: all others are as likely, or likelier.
    wrong = Model("The cellar code is 0000-0000.")
    low = probe([CANARY], engine, "a", SPEC, Weights(wrong, wrong))  # pyright: ignore[reportArgumentType]
    assert low.exposure < 3
