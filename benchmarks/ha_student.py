"""What the two measurements of a voice assistant's students share: training as `tutelage distill run` does it, asking
the engine that agents meet, and counting with and without a threshold on the score.

A sentence is never on both sides: what is asked was not taught in other words of the same request.
"""

import hashlib
import importlib.util
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tutelage.distill.balance import balanced_rows
from tutelage.distill.curate import Trajectory
from tutelage.distill.options import DistillOptions
from tutelage.distill.parts import BaseParts
from tutelage.distill.progress import Progress
from tutelage.distill.rows import rows_of
from tutelage.distill.train import Trained, train
from tutelage.serving.engine import EngineError
from tutelage.serving.render import InvalidOutput
from tutelage.serving.student import Answer, Student
from tutelage.traffic.layout import DataDir
from tutelage.traffic.students import (
    ADAPTER,
    ADAPTER_GGUF,
    Manifest,
    PromptSpec,
    StudentRegister,
    adapter_digest,
)

Item = dict[str, Any]
Judge = Callable[[Item, Any], tuple[bool | None, str]]
"""From a recorded run and the calls of an answer to whether they are right, and why not."""
RISKS = (0.05, 0.10)


class Asked(Protocol):
    """Whoever answers a request; raises as `Student.answer` does."""

    def answer(self, request: Item) -> Answer: ...


@dataclass(frozen=True)
class Told:
    """One answer of the student."""

    task: str
    right: bool
    why: str
    mean_logprob: float
    seconds: float


@dataclass(frozen=True)
class Trial:
    """One student."""

    sentences: int
    rows: int
    accuracy: float
    train_seconds: float
    train_cpu_seconds: float
    losses: list[float]
    told: list[Told]

    @property
    def errors(self) -> dict[str, int]:
        """Wrong answers by reason, the commonest first."""
        return dict(Counter(one.why for one in self.told if not one.right).most_common())


@dataclass(frozen=True)
class Lesson:
    """How the students of a measurement are trained."""

    name: str
    epochs: float
    seed: int
    keep: Path | None = None
    """Data folder in which the student is registered, so that it can be served; None: it is thrown away."""

    @property
    def options(self) -> DistillOptions:
        # A step reads two packs of up to six rows of one house; adapters sit on the upper two thirds of the base.
        return DistillOptions(
            data="",
            epochs=self.epochs,
            learning_rate=2e-3,
            seed=self.seed,
            batch=2,
            pack=6,
            rare=0.4,
            targets=("all-linear",),
            layers_from=10,
            checkpoint_s=0.0,
        )


def trial(
    parts: BaseParts, taught: Sequence[Trajectory], spec: PromptSpec, asked: Sequence[Item], judge: Judge, how: Lesson
) -> Trial:
    """Train on these sessions and put `asked` to the student."""
    options = how.options
    rows = balanced_rows(rows_of(taught, spec, parts.tokenise, options.max_length).rows, taught, options.rare)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder)
        trained = train(rows, parts.folder, made / ADAPTER, options, _tell)
        parts.convert(made / ADAPTER, made / ADAPTER_GGUF)
        if how.keep:
            register(made, how, spec, parts)
        engine = parts.engine({"student": made / ADAPTER_GGUF})
        try:
            told = list(answers(Student(spec, engine, "student", 128), asked, judge))
        finally:
            engine.close()
    return _counted(taught, len(rows), trained, told)


def _counted(taught: Sequence[Trajectory], rows: int, trained: Trained, told: list[Told]) -> Trial:
    accuracy = sum(one.right for one in told) / len(told)
    print(f"{len(taught)} sessions: {accuracy:.3f} right", file=sys.stderr, flush=True)
    return Trial(len(taught), rows, accuracy, trained.seconds, trained.cpu_seconds, trained.losses, told)


def register(made: Path, how: Lesson, spec: PromptSpec, parts: BaseParts) -> str:
    """Register the weights in `made` in the data folder `how.keep`; the version's name."""
    data = DataDir(how.keep or made).prepare()
    version = f"{how.name}@{adapter_digest(made / ADAPTER)}"
    manifest = Manifest(
        version=version,
        name=how.name,
        status="candidate",
        created_at=time.time(),
        agent_id="house",
        pattern_ids=["actions"],
        base=parts.name,
        base_digest=parts.digest,
        prompt=spec,
        snapshot_at=time.time(),
        data_digest="",
    )
    StudentRegister(data).publish(Path(shutil.copytree(made, data.runs / version)), manifest)
    return version


def answers(student: Asked, asked: Sequence[Item], judge: Judge) -> Iterator[Told]:
    """What the student makes of the first call of each of these runs."""

    def answer(item: Item) -> Told:
        started = time.perf_counter()
        request = {"messages": item["messages"][:2], "tools": item["tools"]}
        try:
            given = student.answer(request)
        except (InvalidOutput, EngineError) as error:
            return Told(item["trajectory_id"], False, f"refused: {error}", -99.0, time.perf_counter() - started)
        right, why = judge(item, given.message.get("tool_calls"))
        return Told(item["trajectory_id"], bool(right), why, given.score, time.perf_counter() - started)

    # Four at once, as many as the engine writes; requests of one house follow one another and share its beginning.
    with ThreadPoolExecutor(4) as pool:
        yield from pool.map(answer, sorted(asked, key=lambda item: item["meta"]["home"]))


def served_share(told: Sequence[Told], risk: float) -> tuple[float, float]:
    """(share of the calls served, share of those that were wrong) with the threshold chosen on the other half."""
    halves = [[one for one in told if _half(one) == side] for side in (0, 1)]
    served: list[Told] = []
    for chosen, measured in (halves, halves[::-1]):
        least = _threshold(chosen, risk)
        served += [one for one in measured if one.mean_logprob >= least]
    wrong = sum(not one.right for one in served)
    return len(served) / len(told), wrong / len(served) if served else 0.0


def _half(one: Told) -> int:
    return hashlib.sha256(one.task.encode()).digest()[0] % 2


def _threshold(told: Sequence[Told], risk: float) -> float:
    """The lowest score down to which at most `risk` of the answers are wrong."""
    least, wrong = float("inf"), 0
    for place, one in enumerate(sorted(told, key=lambda one: -one.mean_logprob), 1):
        wrong += not one.right
        if wrong <= risk * place:
            least = one.mean_logprob
    return least


def _tell(progress: Progress) -> None:
    print(f"\r{progress.stage} {progress.fraction:.0%} {progress.message}", end="", file=sys.stderr, flush=True)


def module_of(path: Path) -> Any:
    """The Python file of a data set's own rule."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise SystemExit(f"Expected {path}: give the folder of the recorded traffic as --data.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
