"""What an examination's answers amount to: agreement, tools, arguments, holding back, text, each with its interval.

Every measure is a mean over calls. Its interval counts sessions, for the turns of one session are correlated.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..traffic.actions import Action, action_of, parameters
from ..traffic.compare import DEFAULT_POLICY, differences, pair_calls
from ..traffic.shares import share_of
from .curate import CallRef, Message, Trajectory


@dataclass(frozen=True)
class Question:
    """One call of a held-out session."""

    trajectory: Trajectory
    call: CallRef

    @property
    def session(self) -> str:
        return self.trajectory.trajectory_id

    @property
    def teacher(self) -> Message:
        return self.trajectory.messages[self.call.index]

    @property
    def request(self) -> dict[str, Any]:
        """What the agent sent."""
        body: dict[str, Any] = {"messages": self.trajectory.messages[: self.call.index], "temperature": 0}
        return {**body, "tools": self.trajectory.tools} if self.trajectory.tools else body


@dataclass(frozen=True)
class Answered:
    """One question with what was made of it."""

    question: Question
    message: Message | None
    """None: there was no answer that could be carried out."""
    loss: float
    """In [0, 1], by `traffic.compare`."""
    reason: str
    score: float | None = None
    """Mean log-probability of the answer's tokens; None without an answer."""


@dataclass(frozen=True)
class Measure:
    """A mean over calls, with the 95 % Wilson interval over sessions."""

    share: float | None
    """None: no call to measure it on."""
    low: float
    high: float
    calls: int
    sessions: int


def measure(values: Iterable[tuple[str, float]]) -> Measure:
    """The mean of (session, value in [0, 1]) pairs."""
    by_session: dict[str, list[float]] = {}
    for session, value in values:
        by_session.setdefault(session, []).append(value)
    calls = sum(map(len, by_session.values()))
    interval = share_of(sum(sum(found) / len(found) for found in by_session.values()), len(by_session))
    mean = sum(sum(found) for found in by_session.values()) / calls if calls else None
    return Measure(mean, interval.low, interval.high, calls, len(by_session))


def agreement(answered: Sequence[Answered]) -> Measure:
    """1 − loss."""
    return measure((one.question.session, 1 - one.loss) for one in answered)


def reasons(answered: Sequence[Answered]) -> dict[str, int]:
    """Losses by the comparator's reason, the commonest first."""
    return dict(Counter(one.reason for one in answered if one.loss > 0).most_common())


def measures(answered: Sequence[Answered]) -> dict[str, Measure]:
    """The parts of agreement, by name:

    `acts`: calls that the teacher answered with tools, and the student too. `holds_back`: calls that the teacher
    answered without a tool, and the student too. `tools`: of the calls where both act, those with the same tools.
    `arguments`: share of equal arguments where the tools are the same. `text`: of the calls where both write, those
    whose texts say the same by the rules; what only a judge could tell counts as different.
    """
    pairs = [(one, _action(one.question.teacher), _action(one.message)) for one in answered]
    acting = [(one, theirs, ours) for one, theirs, ours in pairs if theirs and theirs.kind == "tools"]
    idle = [(one, theirs, ours) for one, theirs, ours in pairs if theirs and theirs.kind != "tools"]
    both = [(one, theirs, ours) for one, theirs, ours in acting if ours and ours.kind == "tools"]
    same = [(one, theirs, ours) for one, theirs, ours in both if _names(theirs) == _names(ours)]
    written = [(one, theirs, ours) for one, theirs, ours in idle if ours and ours.kind == theirs.kind]
    return {
        "acts": measure((one.question.session, float(_is(ours, "tools"))) for one, _, ours in acting),
        "holds_back": measure(
            (one.question.session, float(ours is not None and ours.kind != "tools")) for one, _, ours in idle
        ),
        "tools": measure((one.question.session, float(_names(theirs) == _names(ours))) for one, theirs, ours in both),
        "arguments": measure(
            (one.question.session, equal) for one, theirs, ours in same for equal in _equal(one, theirs, ours)
        ),
        "text": measure((one.question.session, 1 - one.loss) for one, _, _ in written),
    }


def _action(message: Message | None) -> Action | None:
    return None if message is None else action_of(message)


def _is(action: Action | None, kind: str) -> bool:
    return action is not None and action.kind == kind


def _names(action: Action) -> Counter[str]:
    return Counter(call.name for call in action.calls)


def _equal(one: Answered, theirs: Action, ours: Action) -> list[float]:
    """1 for each argument that is equal, 0 for each that is not; both sides' arguments are looked at."""
    schemas = parameters(one.question.trajectory.tools)
    found = []
    for first, second in pair_calls(theirs.calls, ours.calls, schemas, DEFAULT_POLICY):
        if first is not None and second is not None:
            leaves = differences(first, second, schemas.get(first.name), DEFAULT_POLICY.of(first.name))
            found += [float(not leaf.why) for leaf in leaves]
    return found
