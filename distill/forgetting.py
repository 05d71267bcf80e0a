"""Forgetting: how far a student has moved from its base on talk that has nothing to do with the agent's work.

The base answers frozen prompts (`anchors`). On these very answers, token by token, the student's distribution is
compared with the base's. A student is asked for its agent's work alone, so forgetting is reported and rejects nobody;
where it is high, rehearsal rows keep more of the base.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ..serving.engine import Engine
from ..serving.render import prompt_segments, token_ids
from ..traffic.students import PromptSpec
from .weights import Weights

ANSWER_TOKENS = 24
"""Of the base's answer to each prompt."""


@dataclass(frozen=True)
class Forgetting:
    """How much of the base is left, over the tokens of its own answers."""

    mean_kl: float
    """Mean Kullback-Leibler divergence of the student from the base, nats a token; 0: nothing was forgotten."""
    same_token: float
    """Share of places at which both would write the same token next."""
    anchors: int
    tokens: int


def base_answers(engine: Engine, prompts: Sequence[str], spec: PromptSpec) -> list[tuple[list[int], list[int]]]:
    """(prompt ids, ids of the base's greedy answer) for each prompt that the base answers at all."""
    found = []
    for prompt in prompts:
        ids = token_ids(prompt_segments([{"role": "user", "content": prompt}], [], spec), engine.tokenise)
        answer = engine.tokenise(engine.generate(ids, max_tokens=ANSWER_TOKENS).text)
        if answer:
            found.append((ids, answer))
    return found


def forgetting(weights: Weights, answers: Sequence[tuple[list[int], list[int]]]) -> Forgetting | None:
    """Compare on the base's answers; None without any."""
    total, same, tokens = 0.0, 0, 0
    for prompt, answer in answers:
        ids = [*prompt, *answer]
        places = slice(len(prompt) - 1, len(ids) - 1)
        theirs, ours = weights.base(ids)[places], weights.student(ids)[places]
        total += float((theirs.exp() * (theirs - ours)).sum())
        same += int((theirs.argmax(dim=-1) == ours.argmax(dim=-1)).sum())
        tokens += len(answer)
    if not tokens:
        return None
    return Forgetting(max(0.0, total / tokens), same / tokens, len(answers), tokens)
