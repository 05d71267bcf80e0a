"""The confidence of an action: its own tokens count, the thought's do not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.serving.confidence import confidence_of
from tutelage.serving.engine import Generation, TokenScore


def generation(*tokens: tuple[str, float]) -> Generation:
    scores = tuple(TokenScore(text.encode(), logprob) for text, logprob in tokens)
    text = "".join(text for text, _ in tokens)
    return Generation(text, len(tokens), 3, -9.0, -99.0, "stop", scores=scores)


def test_a_thought_before_a_call_does_not_count() -> None:
    made = generation(("Hm, ", -8.0), ("é ", -7.0), ("<tool", -0.5), ("_call>", -0.1), ("{}", -0.3), ("", -0.1))
    assert confidence_of(made) == (pytest.approx(-0.25), -0.5)


def test_a_token_that_reaches_into_the_call_belongs_to_it() -> None:
    assert confidence_of(generation(("Hm", -8.0), (" <", -4.0), ("tool_call>{}", -2.0))) == (-3.0, -4.0)


def test_an_answer_in_text_is_its_own_action() -> None:
    assert confidence_of(generation(("Yes", -1.0), (".", -2.0), ("", -3.0))) == (-2.0, -3.0)


def test_without_single_scores_the_engines_own_are_taken() -> None:
    assert confidence_of(Generation("<tool_call>", 1, 1, -0.5, -2.0, "stop")) == (-0.5, -2.0)


@given(st.lists(st.tuples(st.text(max_size=5), st.floats(-50, 0)), min_size=1))
def test_the_mean_is_never_below_the_lowest(tokens: list[tuple[str, float]]) -> None:
    mean, lowest = confidence_of(generation(*tokens))
    assert lowest - 1e-9 <= mean <= 0
