"""The examination: the student's next action beside the teacher's, on sessions it has never seen.

Every call of a held-out session is put to the student exactly as the proxy would put it, with the teacher's own turns
as history, and its answer is compared by `traffic.compare`. Beside it stand the untrained base, when asked for, and
the floor: always giving the commonest answer of the training sessions. A student that does not beat the floor has
learnt nothing.

Agreement here says that a student is worth trying. It does not promote: only the gate does, on live traffic.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any, Protocol

from ..serving.engine import EngineError
from ..serving.render import InvalidOutput
from ..serving.student import ContextTooLong
from ..traffic.actions import action_of
from ..traffic.canonical import canonical
from ..traffic.compare import compare
from ..traffic.errors import BadInput
from ..traffic.shares import share_of
from .curate import CallRef, Message, Trajectory


class Reply(Protocol):
    """An answer as `serving.student.Answer` gives it."""

    @property
    def message(self) -> Message: ...

    @property
    def finish(self) -> str: ...


class Answering(Protocol):
    """A student under examination; safe to call from several threads."""

    def answer(self, request: dict[str, Any]) -> Reply:
        """The answer to a chat-completion request. Raises InvalidOutput, EngineError or BadInput."""
        ...


@dataclass(frozen=True)
class Question:
    """One call of a held-out session."""

    trajectory: Trajectory
    call: CallRef

    @property
    def teacher(self) -> Message:
        return self.trajectory.messages[self.call.index]

    @property
    def request(self) -> dict[str, Any]:
        """What the agent sent."""
        body: dict[str, Any] = {"messages": self.trajectory.messages[: self.call.index], "temperature": 0}
        return {**body, "tools": self.trajectory.tools} if self.trajectory.tools else body


@dataclass(frozen=True)
class PatternScore:
    """How a pattern went."""

    pattern_id: str
    calls: int
    sessions: int
    agreement: float
    """1 − mean loss over the calls, 0 to 1."""
    low: float
    """95 % Wilson interval of the agreement over sessions (turns of one session are correlated): lower end."""
    high: float
    floor: float
    """Agreement of the commonest training answer."""
    reasons: dict[str, int]
    """Losses by reason."""


@dataclass(frozen=True)
class Scores:
    """The whole examination."""

    calls: int
    sessions: int
    agreement: float
    low: float
    high: float
    floor: float
    base: float | None
    """Agreement of the untrained base on the first `base_sessions` sessions; None when it was not asked."""
    base_sessions: int
    patterns: list[PatternScore]

    @property
    def beats_floor(self) -> bool:
        """Whether the student is better than no model at all."""
        return self.calls > 0 and self.agreement > self.floor

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class _Marked:
    question: Question
    loss: float
    reason: str
    floor_loss: float


def evaluate(
    student: Answering,
    held_out: Sequence[Trajectory],
    train: Sequence[Trajectory],
    *,
    base: Answering | None = None,
    base_sessions: int = 0,
    parallel: int = 4,
    progress: Callable[[float], None] = lambda fraction: None,
) -> Scores:
    """Examine a student on `held_out`; `train` gives the floor. `parallel`: questions asked at the same time."""
    questions = [Question(item, call) for item in held_out for call in item.trainable]
    floor = commonest(train)
    outcomes = _ask_all(student, questions, parallel, progress)
    marked = [
        _Marked(question, loss, reason, _loss(question, floor.get(question.call.pattern_id)))
        for question, (loss, reason) in zip(questions, outcomes, strict=True)
    ]
    chosen = [Question(item, call) for item in held_out[:base_sessions] for call in item.trainable]
    base_losses = _ask_all(base, chosen, parallel, lambda fraction: None) if base and chosen else []
    whole = _score("", marked)
    names = sorted({question.call.pattern_id for question in questions})
    return Scores(
        calls=whole.calls,
        sessions=whole.sessions,
        agreement=whole.agreement,
        low=whole.low,
        high=whole.high,
        floor=whole.floor,
        base=1 - _mean([loss for loss, _ in base_losses]) if base_losses else None,
        base_sessions=min(base_sessions, len(held_out)) if base_losses else 0,
        patterns=[_score(name, [m for m in marked if m.question.call.pattern_id == name]) for name in names],
    )


def commonest(train: Sequence[Trajectory]) -> dict[str, Message]:
    """By pattern, the answer that the teacher gave most often in the training sessions."""
    answers: dict[str, Counter[bytes]] = {}
    examples: dict[bytes, Message] = {}
    for item in train:
        for call in item.trainable:
            message = item.messages[call.index]
            key = _action_key(message)
            examples.setdefault(key, message)
            answers.setdefault(call.pattern_id, Counter())[key] += 1
    return {pattern: examples[tally.most_common(1)[0][0]] for pattern, tally in answers.items()}


def _action_key(message: Message) -> bytes:
    action = action_of(message)
    return canonical([action.kind, [[call.name, call.arguments] for call in action.calls], action.text])


def _ask_all(
    student: Answering, questions: Sequence[Question], parallel: int, progress: Callable[[float], None]
) -> list[tuple[float, str]]:
    """(loss, reason) of each question, in order.

    The questions of one session follow one another: the engine need not read their common beginning again."""
    found: list[tuple[float, str]] = []
    sessions = [list(group) for _, group in groupby(questions, lambda question: question.trajectory.trajectory_id)]
    with ThreadPoolExecutor(max_workers=max(1, parallel)) as pool:
        for outcomes in pool.map(lambda session: [_ask(student, question) for question in session], sessions):
            found += outcomes
            progress(len(found) / len(questions))
    return found


def _ask(student: Answering, question: Question) -> tuple[float, str]:
    try:
        reply = student.answer(question.request)
    except InvalidOutput as error:
        return 1.0, f"invalid:{error.reason}"
    except (EngineError, ContextTooLong, BadInput):
        # Such a call falls open to the teacher when served: for the student it is a loss.
        return 1.0, "refused"
    verdict = compare(question.teacher, reply.message, question.trajectory.tools, finish=reply.finish)
    return verdict.loss, verdict.reason


def _loss(question: Question, answer: Message | None) -> float:
    return compare(question.teacher, answer, question.trajectory.tools).loss


def _score(pattern_id: str, marked: Sequence[_Marked]) -> PatternScore:
    by_session: dict[str, list[float]] = {}
    for item in marked:
        by_session.setdefault(item.question.trajectory.trajectory_id, []).append(item.loss)
    agreed = sum(1 - _mean(losses) for losses in by_session.values())
    interval = share_of(agreed, len(by_session))
    return PatternScore(
        pattern_id=pattern_id,
        calls=len(marked),
        sessions=len(by_session),
        agreement=1 - _mean([item.loss for item in marked]),
        low=interval.low,
        high=interval.high,
        floor=1 - _mean([item.floor_loss for item in marked]),
        reasons=dict(Counter(item.reason for item in marked if item.loss > 0)),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 1.0
