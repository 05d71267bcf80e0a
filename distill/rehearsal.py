"""Rehearsal rows: what the base itself says to frozen prompts, trained along with an agent's rows against forgetting.

The answers are sampled from the base, so a row asks the weights to stay where they are and teaches nothing. Each
answer is a conversation like any other from there on: the same rendering, labels and audit.
"""

import random

from ..serving.engine import Engine, Sampling
from ..serving.render import InvalidOutput, parse_action, prompt_segments, token_ids
from ..traffic.students import PromptSpec
from .anchors import anchors
from .curate import CallRef, Message, Trajectory

PREFIX = "rehearsal/"
"""Begin of the names of such conversations: no call of anybody stands behind them."""


def rehearsal(
    engine: Engine, spec: PromptSpec, count: int, *, seed: int, max_tokens: int = 96, temperature: float = 0.7
) -> list[Trajectory]:
    """At most `count` conversations, sampled from the base that `engine` holds.

    Prompts come in a seeded order, and again with other answers where `count` is larger than their number. What the
    base does not end within `max_tokens`, or repeats, is left out."""
    prompts = list(anchors("rehearse"))
    random.Random(seed).shuffle(prompts)
    found: dict[tuple[str, str], Trajectory] = {}
    for number in range(count):
        prompt = prompts[number % len(prompts)]
        messages: list[Message] = [{"role": "user", "content": prompt}]
        ids = token_ids(prompt_segments(messages, [], spec), engine.tokenise)
        sampling = Sampling(temperature, seed=seed + number)
        made = engine.generate(ids, max_tokens=max_tokens, sampling=sampling)
        if made.finish != "stop":
            continue
        try:
            answer = parse_action(made.text, [])
        except InvalidOutput:
            continue
        if answer.get("tool_calls"):
            continue
        name = f"{PREFIX}{number}"
        call = CallRef(name, 1, "", "teacher", "base", 0.0)
        trajectory = Trajectory(name, name, "", True, "base", [], [*messages, answer], (call,))
        found.setdefault((prompt, str(answer["content"])), trajectory)
    return list(found.values())
