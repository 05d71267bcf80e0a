"""Self-consistent action generation: several drawn answers to one request, and the action that most of them agree on.

After "Distilling LLM Agent into Small Models" (arXiv 2505.17612), with two differences. Nothing is executed: actions
are compared in canonical form, so that the order of arguments or a space decides nothing. And where the answers do not
agree, none is given: the call defers to the teacher. The share of votes is the confidence.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from ..traffic.actions import action_of
from ..traffic.canonical import canonical
from .engine import Sampling
from .render import InvalidOutput, Message
from .student import Answer, Answering

DRAWING = Sampling(temperature=0.4, top_p=0.8)
ALL = "*"


class Undecided(Exception):
    """Too few of the answers agree."""

    def __init__(self, share: float, least: float) -> None:
        super().__init__(f"Only {share:.0%} of the drawn answers agree, fewer than {least:.0%}.")
        self.share = share


class Vote(NamedTuple):
    """How a vote went."""

    winner: int
    """Position of the first member of the largest group."""
    share: float
    """Members of that group among all drawn answers, valid or not; in (0, 1]."""


@dataclass(frozen=True)
class Voting:
    """Whether, and how, a request is voted on."""

    samples: int
    least_share: float
    """A smaller share defers to the teacher."""

    def answer(
        self,
        student: Answering,
        request: dict[str, Any],
        should_stop: Callable[[], bool] | None = None,
        served: bool = True,
    ) -> Answer:
        """The elected answer, with the tokens of all in its usage. A copy for comparison (`served` False) never
        defers: its score says how the vote went.

        Raises Undecided, InvalidOutput when none was valid, and what `Student.answer` raises."""
        drawn = student.draw(request, self.samples, DRAWING, should_stop)
        found = vote([None if isinstance(one, InvalidOutput) else one.message for one in drawn])
        chosen = drawn[found.winner]
        if isinstance(chosen, InvalidOutput):
            raise chosen
        if served and found.share < self.least_share:
            raise Undecided(found.share, self.least_share)
        return replace(chosen, vote_share=found.share)


def voting_for(pattern: str, samples: dict[str, int], least_share: float) -> Voting | None:
    """The voting of a pattern, by its id or `*`; None: its answers are written once."""
    count = samples.get(pattern, samples.get(ALL, 1))
    return Voting(count, least_share) if count > 1 else None


def vote(messages: Sequence[Message | None]) -> Vote:
    """The largest group of equal actions; ties go to the group seen first. None stands for an answer that was none.

    `messages` holds at least one; when all are None, the first wins with a share of 0."""
    keys = [None if message is None else _key(message) for message in messages]
    groups = Counter(key for key in keys if key is not None)
    if not groups:
        return Vote(0, 0.0)
    # most_common keeps the order in which groups were seen where their sizes are equal.
    largest, size = groups.most_common(1)[0]
    return Vote(keys.index(largest), size / len(keys))


def _key(message: Message) -> bytes:
    """The action in canonical form: calls in any order, text without the space around it."""
    action = action_of(message)
    if action.kind != "tools":
        return canonical([action.kind, action.text.strip()])
    return b"\n".join(sorted(canonical([call.name, call.arguments]) for call in action.calls))
