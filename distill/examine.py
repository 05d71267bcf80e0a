"""Everything that is asked of a trained student before it is registered, and of its forerunners during the training.

The engine answers questions, as it will when it serves; torch is asked for what an engine does not tell (see
`weights`).
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from ..serving.engine import Engine
from ..serving.render import prompt_segments, token_ids
from ..serving.student import Student
from ..traffic.calibration import Calibration
from ..traffic.errors import TutelageError
from ..traffic.students import ADAPTER, ADAPTER_GGUF, MODEL_GGUF, Manifest, PromptSpec, StudentRegister
from .anchors import anchors
from .canaries import Canary, Leaks, probe
from .curate import Curated
from .evaluate import Previous, Scores, ask_all, evaluate, questions_of
from .forgetting import Forgetting, base_answers, forgetting
from .measures import Answered, Measure, agreement, reasons
from .parts import BaseParts, Parts
from .progress import Progress
from .succession import PromptTokens, Reason, objection
from .weights import opened
from .work import Work

PARALLEL = 4


@dataclass(frozen=True)
class EpochScore:
    """How the weights after an epoch did on the first held-out sessions."""

    epoch: int
    agreement: Measure
    reasons: dict[str, int]


@dataclass
class Examiner:
    """Examines what one run trains."""

    work: Work
    parts: Parts
    spec: PromptSpec
    chosen: Curated
    canaries: Sequence[Canary] = ()
    epochs: list[EpochScore] = field(default_factory=list)

    def after_epoch(self, number: int, folder: Path) -> None:
        """Examine the weights in `folder` on `epoch_sessions` held-out sessions."""
        with TemporaryDirectory(dir=folder.parent) as scratch:
            answered = self._ask(convert(self.parts, folder, Path(scratch)), self.work.options.epoch_sessions)
        found = EpochScore(number, agreement(answered), reasons(answered))
        self.epochs.append(found)
        measured = found.agreement
        self.work.log(
            Progress(
                "train",
                min(1.0, number / self.work.options.epochs),
                f"agreement {measured.share or 0:.3f} ({measured.low:.3f} to {measured.high:.3f}) "
                f"on {measured.sessions} held-out sessions after epoch {number}",
            )
        )

    def quick(self) -> Measure:
        """Agreement of the draft on all held-out sessions."""
        return agreement(self._ask(served_file(self.work.draft), len(self.chosen.held_out)))

    def _ask(self, gguf: Path, sessions: int) -> list[Answered]:
        engine, adapter = self._served(gguf, "draft")
        try:
            questions = questions_of(self.chosen.held_out[:sessions])
            return ask_all(Student(self.spec, engine, adapter), questions, PARALLEL)
        finally:
            engine.close()

    def _served(self, gguf: Path, name: str) -> tuple[Engine, str]:
        """An engine with the weights in a file, and the adapter's name there: empty for a whole model."""
        return (self.parts.whole(gguf), "") if gguf.name == MODEL_GGUF else (self.parts.engine({name: gguf}), name)

    def examine(self, version: str, previous: Manifest | None) -> "Examined":
        """The whole examination of the draft. `previous`: the version that has the agent's patterns now."""
        with ExitStack() as stack:
            engine, adapter = self._served(served_file(self.work.draft), version)
            stack.callback(engine.close)
            base = engine
            if not adapter:
                base = self.parts.engine({})
                stack.callback(base.close)
            before = self._previous(previous, stack)
            found = evaluate(
                Student(self.spec, engine, adapter),
                self.chosen.held_out,
                self.chosen.train,
                base=Student(self.spec, base),
                base_sessions=self.work.options.base_sessions,
                previous=before[0] if before else None,
                parallel=PARALLEL,
                progress=lambda fraction: self.work.log(Progress("evaluate", fraction)),
            )
            forgotten, leaks = self._inspect(engine, adapter, base)
        tokens = PromptTokens(self._prompt_tokens(self.spec, self.parts), before[1]) if before else None
        return Examined(found.scores, found.calibration, forgotten, leaks, list(self.epochs), tokens)

    def _inspect(self, engine: Engine, adapter: str, base: Engine) -> tuple[Forgetting | None, Leaks | None]:
        """What torch tells about the draft; nothing where neither anchors nor canaries are wanted."""
        prompts, canaries = anchors()[: self.work.options.anchors], self.canaries
        if not prompts and not canaries:
            return None, None
        answers = base_answers(base, prompts, self.spec)
        with opened(self.parts.folder, self.work.draft / ADAPTER, self.work.options.threads) as weights:
            leaks = probe(canaries, engine, adapter, self.spec, weights) if canaries else None
            return forgetting(weights, answers), leaks

    def _prompt_tokens(self, spec: PromptSpec, parts: Parts) -> int:
        """Length of all held-out prompts in this form."""
        bodies = [question.request for question in questions_of(self.chosen.held_out)]
        read = (prompt_segments(body["messages"], body.get("tools") or [], spec) for body in bodies)
        return sum(len(token_ids(prompt, parts.tokenise)) for prompt in read)

    def _previous(self, previous: Manifest | None, stack: ExitStack) -> tuple[Previous, int] | None:
        """The version before as a contender, and the tokens of its prompts; None where there is none, or it cannot be
        asked any more."""
        if previous is None:
            return None
        try:
            same = previous.base_digest == self.parts.digest
            options = self.work.options
            parts = self.parts if same else BaseParts(previous.base, options.threads, engine=options.engine)
            gguf = served_file(StudentRegister(self.work.data).path(previous.version))
            whole = previous.kind == "model"
            engine = parts.whole(gguf) if whole else parts.engine({previous.version: gguf})
        except TutelageError as error:
            self.work.notes.append(f"{previous.version}, the version before, could not be examined beside it: {error}")
            return None
        stack.callback(engine.close)
        student = Student(previous.prompt, engine, "" if whole else previous.version)
        before = Previous(previous.version, student, previous.pattern_ids)
        return before, self._prompt_tokens(previous.prompt, parts)


def convert(parts: Parts, weights: Path, folder: Path) -> Path:
    """The trained weights in the engines' forms, in `folder`: an adapter or a whole model, as they are."""
    if (weights / "adapter_config.json").is_file():
        parts.convert(weights, folder / ADAPTER_GGUF)
        if not (folder / ADAPTER).exists():
            (folder / ADAPTER).symlink_to(weights.resolve())
    else:
        parts.convert_whole(weights, folder / MODEL_GGUF)
    return served_file(folder)


def served_file(folder: Path) -> Path:
    """The file in a version's folder that an engine loads."""
    whole = folder / MODEL_GGUF
    return whole if whole.is_file() else folder / ADAPTER_GGUF


@dataclass(frozen=True)
class Examined:
    """What came of it."""

    scores: Scores
    calibration: Calibration | None
    forgetting: Forgetting | None
    leaks: Leaks | None
    epochs: list[EpochScore]
    prompt_tokens: PromptTokens | None
    """Of the held-out calls, beside those of the version before; None without one."""

    def to_json(self) -> dict[str, Any]:
        """For the manifest: the scores, and beside them what else was found."""
        others = {
            "forgetting": self.forgetting,
            "leaks": self.leaks,
            "epochs": self.epochs,
            "prompt_tokens": self.prompt_tokens,
        }
        return {**self.scores.to_json(), **msgspec.to_builtins(others)}

    def objections(self, previous: str, asked_for: str = "") -> list[str]:
        """Why this version is rejected; empty for a candidate.

        `previous`: the version that it follows; `asked_for`: why that one cannot go on (see `succession`)."""
        scores, found = self.scores, []
        if not scores.beats_floor:
            found.append(f"agreement {scores.agreement:.3f} does not beat the floor {scores.floor:.3f}")
        for contender in scores.contenders:
            if contender.name == previous:
                theirs, brings = contender.agreement.share or 0.0, Reason(asked_for, self.prompt_tokens)
                found += filter(None, [objection(previous, scores.agreement, theirs, contender.sessions, brings)])
        if self.leaks and self.leaks.written:
            found.append(f"it wrote out {self.leaks.written} of {self.leaks.canaries} planted secrets")
        return found
