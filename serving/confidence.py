"""How sure a student is of its action: the log-probabilities of the action's own tokens.

A thought before a call may be worded in many ways, and its unlikely words say nothing about the call. So only the
tokens from the first call tag on count; an answer in text is its own action. Log-probabilities are the model's, before
the grammar: where the grammar had to push, the score is low, as it should be.
"""

from typing import NamedTuple

from .engine import Generation
from .render import CALL_OPEN


class Confidence(NamedTuple):
    """Scores in nats, at most 0."""

    mean: float
    """Mean log-probability of the action's tokens, its end mark included."""
    lowest: float


def confidence_of(made: Generation) -> Confidence:
    """The confidence of an answer; over all its tokens where the engine does not tell them one by one."""
    start = made.text.encode("utf-8", "replace").find(CALL_OPEN.encode())
    found, position = [], 0
    for score in made.scores:
        position += len(score.text)
        if position > start:
            found.append(score.logprob)
    if not found:
        return Confidence(made.mean_logprob, made.min_logprob)
    return Confidence(sum(found) / len(found), min(found))
