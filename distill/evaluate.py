"""The examination: the student's next action beside the teacher's, on sessions it has never seen.

Every call of a held-out session is put to the student exactly as the proxy would put it, with the teacher's own turns
as history, and its answer is compared by `traffic.compare`. Beside it stand, on the same calls, the version before it,
the floors without a model (see `floors`) and, when asked for, the untrained base.

Agreement here says that a student is worth trying. It does not promote: only the gate does, on live traffic.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Protocol

import msgspec

from ..serving.engine import EngineError
from ..serving.render import InvalidOutput
from ..serving.student import ContextTooLong
from ..traffic.calibration import Calibration
from ..traffic.compare import compare
from ..traffic.errors import BadInput
from .confidence import Served, calibration_of, served
from .curate import Message, Trajectory
from .floors import Neighbours, commonest
from .measures import Answered, Measure, Question, agreement, measures, reasons
from .succession import Paired, paired

COMMONEST, NEIGHBOUR, BASE = "commonest answer", "nearest neighbour", "untrained base"


class Reply(Protocol):
    """An answer as `serving.student.Answer` gives it."""

    @property
    def message(self) -> Message: ...

    @property
    def finish(self) -> str: ...

    @property
    def mean_logprob(self) -> float: ...


class Answering(Protocol):
    """A student under examination; safe to call from several threads."""

    def answer(self, request: dict[str, Any]) -> Reply:
        """The answer to a chat-completion request. Raises InvalidOutput, EngineError or BadInput."""
        ...


@dataclass(frozen=True)
class Previous:
    """The version that has this agent's patterns now."""

    version: str
    student: Answering
    pattern_ids: Sequence[str]
    """Patterns that it may serve: calls of others would go to the teacher, which counts as a loss."""


@dataclass(frozen=True)
class Contender:
    """What the student is compared with, on the same calls."""

    name: str
    """`commonest answer`, `nearest neighbour`, `untrained base`, or a version."""
    agreement: Measure
    student: float | None
    """Agreement of the student on those calls."""
    sessions: Paired
    """In how many sessions the student is better, and in how many worse."""


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
    """Agreement of the better floor."""
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
    """Agreement of the better floor."""
    base: float | None
    """Agreement of the untrained base on the first `base_sessions` sessions; None when it was not asked."""
    base_sessions: int
    patterns: list[PatternScore]
    measures: dict[str, Measure]
    """Parts of the agreement; see `measures.measures`."""
    contenders: list[Contender]
    served: list[Served]
    """What could be served with a threshold; empty where there are too few answers to say."""

    @property
    def whole(self) -> Measure:
        """The agreement on all calls."""
        return Measure(self.agreement, self.low, self.high, self.calls, self.sessions)

    @property
    def beats_floor(self) -> bool:
        """Whether the student is better than no model at all; level with it only where nothing can be better."""
        return self.calls > 0 and (self.agreement > self.floor or self.agreement == 1.0)

    def to_json(self) -> dict[str, Any]:
        return msgspec.to_builtins(self)


@dataclass(frozen=True)
class Examination:
    """The scores, and the calibration that goes with them."""

    scores: Scores
    calibration: Calibration | None


def questions_of(sessions: Sequence[Trajectory]) -> list[Question]:
    """Every call of these sessions that the teacher answered."""
    return [Question(item, call) for item in sessions for call in item.trainable]


def evaluate(
    student: Answering,
    held_out: Sequence[Trajectory],
    train: Sequence[Trajectory],
    *,
    base: Answering | None = None,
    base_sessions: int = 0,
    previous: Previous | None = None,
    parallel: int = 4,
    progress: Callable[[float], None] = lambda fraction: None,
) -> Examination:
    """Examine a student on `held_out`; `train` gives the floors. `parallel`: questions asked at the same time."""
    questions = questions_of(held_out)
    answered = ask_all(student, questions, parallel, progress)
    majority, neighbours = commonest(train), Neighbours(train)
    floors = {
        COMMONEST: [_marked(question, majority.get(question.call.pattern_id)) for question in questions],
        NEIGHBOUR: [_marked(question, neighbours.answer(question)) for question in questions],
    }
    others = {name: marked for name, marked in floors.items() if marked}
    if asked := questions_of(held_out[:base_sessions]) if base else []:
        others[BASE] = ask_all(base, asked, parallel) if base else []
    if previous and questions:
        others[previous.version] = _previously(previous, questions, parallel)
    contenders = [_contender(name, marked, answered) for name, marked in others.items()]
    floor = max(floors.values(), key=lambda marked: agreement(marked).share or 0.0)
    scores = _scores(answered, floor, contenders)
    if BASE in others:
        scores = replace(scores, base=agreement(others[BASE]).share, base_sessions=len({one.session for one in asked}))
    return Examination(scores, calibration_of(answered))


def _scores(answered: list[Answered], floor: list[Answered], contenders: list[Contender]) -> Scores:
    whole = _pattern("", answered, floor)
    names = sorted({one.question.call.pattern_id for one in answered})
    return Scores(
        calls=whole.calls,
        sessions=whole.sessions,
        agreement=whole.agreement,
        low=whole.low,
        high=whole.high,
        floor=whole.floor,
        base=None,
        base_sessions=0,
        patterns=[_pattern(name, _of(name, answered), _of(name, floor)) for name in names],
        measures=measures(answered),
        contenders=contenders,
        served=served(answered),
    )


def _of(pattern_id: str, answered: Sequence[Answered]) -> list[Answered]:
    return [one for one in answered if one.question.call.pattern_id == pattern_id]


def _pattern(pattern_id: str, answered: Sequence[Answered], floor: Sequence[Answered]) -> PatternScore:
    found = agreement(answered)
    return PatternScore(
        pattern_id=pattern_id,
        calls=found.calls,
        sessions=found.sessions,
        agreement=found.share or 0.0,
        low=found.low,
        high=found.high,
        floor=agreement(floor).share or 0.0,
        reasons=reasons(answered),
    )


def _previously(previous: Previous, questions: Sequence[Question], parallel: int) -> list[Answered]:
    known = [question for question in questions if question.call.pattern_id in previous.pattern_ids]
    unknown = [question for question in questions if question.call.pattern_id not in previous.pattern_ids]
    return ask_all(previous.student, known, parallel) + [Answered(one, None, 1.0, "unknown_pattern") for one in unknown]


def _contender(name: str, marked: Sequence[Answered], answered: Sequence[Answered]) -> Contender:
    calls = {one.question.call.call_id for one in marked}
    same = agreement([one for one in answered if one.question.call.call_id in calls]).share
    return Contender(name, agreement(marked), same, paired(answered, marked))


def ask_all(
    student: Answering,
    questions: Sequence[Question],
    parallel: int,
    progress: Callable[[float], None] = lambda fraction: None,
) -> list[Answered]:
    """Every question answered and compared, in order.

    The questions of one session follow one another: the engine need not read their common beginning again."""
    found: list[Answered] = []
    sessions = [list(group) for _, group in groupby(questions, lambda question: question.session)]
    with ThreadPoolExecutor(max_workers=max(1, parallel)) as pool:
        for outcomes in pool.map(lambda session: [_ask(student, question) for question in session], sessions):
            found += outcomes
            progress(len(found) / len(questions))
    return found


def _ask(student: Answering, question: Question) -> Answered:
    try:
        reply = student.answer(question.request)
    except InvalidOutput as error:
        return Answered(question, None, 1.0, f"invalid:{error.reason}")
    except (EngineError, ContextTooLong, BadInput):
        # Such a call falls open to the teacher when served: for the student it is a loss.
        return Answered(question, None, 1.0, "refused")
    verdict = compare(question.teacher, reply.message, question.trajectory.tools, finish=reply.finish)
    return Answered(question, reply.message, verdict.loss, verdict.reason, reply.mean_logprob)


def _marked(question: Question, message: Message | None) -> Answered:
    verdict = compare(question.teacher, message, question.trajectory.tools)
    return Answered(question, message, verdict.loss, verdict.reason)
