"""How well a small student learns a voice assistant's device actions from recorded answers, on this machine.

    python -m benchmarks.ha_actions --data DIR [--epochs N] [--sizes 112,224,all] [--answers FILE] [--json FILE]

DIR holds `dev/ha_device_actions.jsonl.gz`, `judge_ha_actions.py` (the rule that says whether an action is right) and
`baseline_ha_actions.py` (the floor without a model). Sentences are split as there: a fifth, by hash, is the test. The
student learns from the right actions of the other sentences, by the same functions as `tutelage distill run`, and is
served by the engine that agents meet. `--sizes` trains a student on each of so many sentences, for the learning curve;
the bars are the last one's. Confidence thresholds are chosen on one half of the test and measured on the other, both
ways.
"""

import argparse
import hashlib
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tutelage.distill.balance import balanced_rows
from tutelage.distill.curate import CallRef, Trajectory, is_sound
from tutelage.distill.curve import nested
from tutelage.distill.options import DistillOptions
from tutelage.distill.parts import BaseParts
from tutelage.distill.progress import Progress
from tutelage.distill.prompt_form import learnt_form
from tutelage.distill.rows import rows_of
from tutelage.distill.train import train
from tutelage.serving.engine import EngineError
from tutelage.serving.render import RENDER_VERSION, InvalidOutput, prompt_segments, token_ids
from tutelage.serving.student import Student
from tutelage.traffic.skeleton import reduce
from tutelage.traffic.students import PromptSpec

from . import report
from .patterns import runs_of

Item = dict[str, Any]
Judge = Callable[[Item, Any], tuple[bool | None, str]]
RISKS = (0.05, 0.10)


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and compare with the bars; the exit code."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--sizes", default="all")
    parser.add_argument("--answers", type=Path)
    mine, rest = parser.parse_known_args(arguments)
    run = report.start("ha_actions", __doc__, rest)
    judge = _module(mine.data / "judge_ha_actions.py").judge
    items = runs_of(mine.data / "dev" / "ha_device_actions.jsonl.gz")
    taught = [_trajectory(item) for item in items if not is_test(item) and item["trajectory_success"]]
    taught = [item for item in taught if item.trainable]
    asked = [item for item in items if is_test(item) and item["trajectory_success"] is not None]
    if run.quick:
        taught, asked = taught[:64], asked[:24]
    sizes = [len(taught) if size == "all" else int(size) for size in mine.sizes.split(",")]
    parts = BaseParts("smollm2-135m")
    prompts = _prompt_tokens(parts, taught)
    trials = [_trial(parts, nested(taught, size), asked, judge, mine.epochs, run.seed) for size in sizes]
    if mine.answers:
        mine.answers.write_text(json.dumps([asdict(trial) for trial in trials], indent=1))
    best = trials[-1]
    teacher = sum(bool(item["trajectory_success"]) for item in asked) / len(asked)
    floor = _floor(mine.data)
    served = {risk: served_share(best.told, risk) for risk in RISKS}
    bars = [
        report.at_least("student right (test fifth) beside the floor", best.accuracy, "share", floor),
        report.at_least("student right beside the teacher − .02", best.accuracy, "share", round(teacher - 0.02, 4)),
        *(report.at_least(f"calls served at risk ≤ {risk}", share, "share", 0) for risk, (share, _) in served.items()),
    ]
    raw = {
        "teacher": teacher,
        "floor": floor,
        "prompt_tokens": prompts,
        "served": {str(risk): {"share": share, "risk": wrong} for risk, (share, wrong) in served.items()},
        "trials": [{**asdict(trial), "told": len(trial.told), "errors": _errors(trial)} for trial in trials],
        "seconds_per_answer": median(one.seconds for one in best.told),
    }
    print(json.dumps({name: raw[name] for name in ("teacher", "floor", "prompt_tokens", "served")}), file=sys.stderr)
    return report.finish(run, bars, raw, ("torch", "transformers", "peft", "trl", "xllamacpp"))


def is_test(item: Item) -> bool:
    """Whether a sentence belongs to the test fifth; the rule of the floor without a model."""
    return int(hashlib.sha256(item["messages"][1]["content"].encode()).hexdigest(), 16) % 5 == 0


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


def _trajectory(item: Item) -> Trajectory:
    answer = item["messages"][2]
    sound = is_sound(answer, item["tools"])
    call = CallRef(item["trajectory_id"], 2, "actions", "teacher", item["teacher"], 0.0, sound)
    name = item["trajectory_id"]
    return Trajectory(name, name, "house", item["trajectory_success"], "rule", item["tools"], item["messages"], (call,))


def _spec(taught: Sequence[Trajectory]) -> PromptSpec:
    """The form of the prompt, learnt from these sessions."""
    [(lines, _)] = Counter(tuple(reduce(item.messages[0]["content"]).lines) for item in taught).most_common(1)
    return learnt_form(taught, PromptSpec(skeleton=list(lines), version=RENDER_VERSION))


def _prompt_tokens(parts: BaseParts, taught: Sequence[Trajectory]) -> dict[str, float]:
    """Median length of the prompts in tokens: whole, without the constant part, and in the learnt form."""
    learnt = _spec(taught)
    specs = {
        "full": PromptSpec(mode="full", version=RENDER_VERSION),
        "without the constant part": PromptSpec(skeleton=learnt.skeleton),
        "learnt form": learnt,
    }
    sample = nested(taught, 60)
    return {
        name: median(
            len(token_ids(prompt_segments(item.messages[:2], item.tools, spec), parts.tokenise)) for item in sample
        )
        for name, spec in specs.items()
    }


def _trial(
    parts: BaseParts, taught: list[Trajectory], asked: Sequence[Item], judge: Judge, epochs: float, seed: int
) -> Trial:
    """Train on these sessions and examine the student."""
    spec = _spec(taught)
    # A step reads two packs of up to six sentences of one house; adapters sit on the upper two thirds of the base.
    form: dict[str, Any] = {
        "batch": 2,
        "pack": 6,
        "rare": 0.4,
        "targets": ("all-linear",),
        "layers_from": 10,
        "checkpoint_s": 0.0,
    }
    options = DistillOptions(data="", epochs=epochs, learning_rate=2e-3, seed=seed, **form)
    rows = balanced_rows(rows_of(taught, spec, parts.tokenise, options.max_length).rows, taught, options.rare)
    with tempfile.TemporaryDirectory() as folder:
        adapter, gguf = Path(folder) / "adapter", Path(folder) / "adapter.gguf"
        trained = train(rows, parts.folder, adapter, options, _tell)
        parts.convert(adapter, gguf)
        engine = parts.engine({"student": gguf})
        try:
            told = list(_answers(Student(spec, engine, "student", 128), asked, judge))
        finally:
            engine.close()
    accuracy = sum(one.right for one in told) / len(told)
    print(f"{len(taught)} sentences: {accuracy:.3f} right", file=sys.stderr, flush=True)
    return Trial(len(taught), len(rows), accuracy, trained.seconds, trained.cpu_seconds, trained.losses, told)


def _answers(student: Student, asked: Sequence[Item], judge: Judge) -> Iterator[Told]:
    def answer(item: Item) -> Told:
        started = time.perf_counter()
        request = {"messages": item["messages"][:2], "tools": item["tools"]}
        try:
            given = student.answer(request)
        except (InvalidOutput, EngineError) as error:
            return Told(item["trajectory_id"], False, f"refused: {error}", -99.0, time.perf_counter() - started)
        right, why = judge(item, given.message.get("tool_calls"))
        return Told(item["trajectory_id"], bool(right), why, given.mean_logprob, time.perf_counter() - started)

    # Four at once, as many as the engine writes; requests of one house follow one another and share its beginning.
    with ThreadPoolExecutor(4) as pool:
        yield from pool.map(answer, sorted(asked, key=lambda item: item["meta"]["home"]))


def _errors(trial: Trial) -> dict[str, int]:
    return dict(Counter(one.why for one in trial.told if not one.right).most_common())


def _tell(progress: Progress) -> None:
    print(f"\r{progress.stage} {progress.fraction:.0%} {progress.message}", end="", file=sys.stderr, flush=True)


def _floor(folder: Path) -> float:
    """What the floor without a model says of itself on the whole test fifth."""
    said = subprocess.run(
        [sys.executable, str(folder / "baseline_ha_actions.py")], capture_output=True, text=True, check=True
    ).stdout
    found = re.findall(r"0\.\d{3}", said)
    return float(found[-1])


def _module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise SystemExit(f"Expected {path}: give the folder of the recorded traffic as --data.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    sys.exit(main())
