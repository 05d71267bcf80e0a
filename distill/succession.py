"""Whether a version may follow the one before it, which has been examined on the same held-out calls.

A version that is better may. One that is only as good would take labels and a share of α for nothing, and is rejected,
unless it brings something: the one before has lost a pattern or does not know one, or the new one's prompts are
shorter. Then it is enough not to be worse, by the sign test over sessions, for the turns of one session are correlated.
The floor has to be beaten in any case, and no version is promoted by this: only the gate does that, on live traffic.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from typing import NamedTuple

from .measures import Answered

WORSE = 0.05
"""Probability, under a fair coin, of so many sessions on the other side below which a version counts as worse."""
MARGIN = 0.05
"""Agreement that a version which is needed may lie below the one before: few sessions prove little."""
SHORTER = 0.9
"""Prompts of at most this part of the tokens are shorter."""


@dataclass(frozen=True)
class Paired:
    """Two contenders on the same calls, session by session."""

    better: int
    """Sessions in which the student's mean loss is the smaller one."""
    worse: int

    @property
    def p_worse(self) -> float:
        """Probability of so many worse sessions or more among those that differ, were both as good (sign test)."""
        n = self.better + self.worse
        return sum(comb(n, k) for k in range(self.worse, n + 1)) / 2**n


@dataclass(frozen=True)
class PromptTokens:
    """Length of the prompts of the same calls, in the forms of two versions."""

    ours: int
    theirs: int


class Reason(NamedTuple):
    """What a version brings beside its agreement; empty: nothing."""

    asked_for: str = ""
    """Why the run was asked for, where the version before cannot go on: it has lost a pattern or does not know one."""
    tokens: PromptTokens | None = None
    """Of the held-out calls; None: not counted."""

    @property
    def shorter(self) -> bool:
        """Whether the prompts are so much shorter that it pays."""
        return self.tokens is not None and self.tokens.ours <= SHORTER * self.tokens.theirs


def paired(ours: Sequence[Answered], theirs: Sequence[Answered]) -> Paired:
    """How the sessions of `theirs` went for both; calls that only one of them was asked are left out."""
    known = {one.question.call.call_id: one.loss for one in ours}
    sessions: dict[str, list[float]] = {}
    for other in theirs:
        if (loss := known.get(other.question.call.call_id)) is not None:
            sessions.setdefault(other.question.session, []).append(other.loss - loss)
    # Sums of thirds and tenths are not exact: what is as good must not look better.
    sums = [sum(differences) for differences in sessions.values()]
    return Paired(sum(one > 1e-9 for one in sums), sum(one < -1e-9 for one in sums))


def objection(name: str, ours: float, theirs: float, sessions: Paired, brings: Reason) -> str:
    """Why a version of agreement `ours` may not follow `name`, of agreement `theirs`; empty: it may."""
    if ours > theirs + 1e-9:
        return ""
    level = abs(ours - theirs) <= 1e-9
    said = f"agreement {ours:.3f} does not beat {theirs:.3f} of {name}"
    if not (brings.asked_for or (level and brings.shorter)):
        return f"{said}, and nothing else asks for it" if level else said
    if sessions.p_worse < WORSE:
        p = f"{sessions.p_worse:.3f}"
        return f"{said}: it is worse in {sessions.worse} sessions and better in {sessions.better} (sign test, p = {p})"
    return "" if ours >= theirs - MARGIN - 1e-9 else f"{said}: more than {MARGIN} below"
