"""How far a student has moved from its base, on the base's own answers."""

from typing import Any

import pytest
import torch

from tutelage.distill.forgetting import base_answers, forgetting
from tutelage.distill.weights import Weights
from tutelage.serving.engine import Generation
from tutelage.traffic.students import PromptSpec


class Bytes:
    context = 1_000

    def tokenise(self, text: str) -> list[int]:
        return list(text.encode())

    def generate(self, prompt_ids: list[int], adapter: str = "", **_: Any) -> Generation:
        assert adapter == ""
        return Generation("" if b"silent" in bytes(prompt_ids) else "ab", 2, 1, 0.0, 0.0, "stop")


def table(weight: float) -> Any:
    """A model that writes `a` after anything but `a`, and `b` after `a`; the higher `weight`, the surer."""

    def model(input_ids: torch.Tensor) -> Any:
        logits = torch.zeros(1, input_ids.shape[1], 256)
        for at, byte in enumerate(input_ids[0].tolist()):
            logits[0, at, ord("b") if byte == ord("a") else ord("a")] = weight
        return type("Output", (), {"logits": logits})

    return model


ANSWERS = base_answers(Bytes(), ["hello", "silent", "bye"], PromptSpec(mode="full"))  # pyright: ignore[reportArgumentType]


def test_the_base_answers_greedily_and_silence_is_left_out() -> None:
    assert [bytes(answer) for _, answer in ANSWERS] == [b"ab", b"ab"]
    assert bytes(ANSWERS[0][0]).decode() == "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"


def test_the_same_weights_have_forgotten_nothing() -> None:
    found = forgetting(Weights(table(5.0), table(5.0)), ANSWERS)
    assert found is not None
    assert (found.mean_kl, found.same_token, found.anchors, found.tokens) == (0.0, 1.0, 2, 4)


def test_divergence_is_that_of_the_distributions() -> None:
    base, student = table(5.0), table(1.0)
    found = forgetting(Weights(base, student), ANSWERS)
    assert found is not None
    p, q = (torch.log_softmax(torch.tensor([weight] + [0.0] * 255), 0) for weight in (5.0, 1.0))
    assert found.mean_kl == pytest.approx(float((p.exp() * (p - q)).sum()), abs=1e-5)
    assert found.same_token == 1.0


def test_another_next_token_is_counted() -> None:
    found = forgetting(Weights(table(5.0), table(-5.0)), ANSWERS)
    assert found is not None
    assert found.same_token == 0.0
    assert forgetting(Weights(table(1.0), table(1.0)), []) is None
