"""How well a small student learns a voice assistant's device actions from recorded answers, on this machine.

    python -m benchmarks.ha_actions --data DIR [--epochs N] [--sizes 112,224,all] [--answers FILE] [--keep DATA]
                                    [--json FILE]

DIR holds `dev/ha_device_actions.jsonl.gz`, `judge_ha_actions.py` (the rule that says whether an action is right) and
`baseline_ha_actions.py` (the floor without a model). Sentences are split as there: a fifth, by hash, is the test. The
student learns from the right actions of the other sentences, by the same functions as `tutelage distill run`, and is
served by the engine that agents meet. `--sizes` trains a student on each of so many sentences, for the learning curve;
the bars are the last one's. `--keep` registers the students in a data folder, from which they can be served.
Confidence thresholds are chosen on one half of the test and measured on the other, both ways.
"""

import argparse
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

from tutelage.distill.curate import CallRef, Trajectory, is_sound
from tutelage.distill.curve import nested
from tutelage.distill.parts import BaseParts

from . import report
from .ha_student import RISKS, Item, Lesson, module_of, served_share, trial
from .patterns import runs_of
from .prompts import learnt, lengths, medians


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and compare with the bars; the exit code."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--sizes", default="all")
    parser.add_argument("--answers", type=Path)
    parser.add_argument("--keep", type=Path)
    mine, rest = parser.parse_known_args(arguments)
    run = report.start("ha_actions", __doc__, rest)
    judge = module_of(mine.data / "judge_ha_actions.py").judge
    items = runs_of(mine.data / "dev" / "ha_device_actions.jsonl.gz")
    taught = [_trajectory(item) for item in items if not is_test(item) and item["trajectory_success"]]
    taught = [item for item in taught if item.trainable]
    asked = [item for item in items if is_test(item) and item["trajectory_success"] is not None]
    if run.quick:
        taught, asked = taught[:64], asked[:24]
    sizes = [len(taught) if size == "all" else int(size) for size in mine.sizes.split(",")]
    parts = BaseParts("smollm2-135m")
    prompts = medians(lengths(nested(taught, 60), learnt(taught), parts.tokenise))
    how = Lesson("ha-actions", mine.epochs, run.seed, mine.keep)
    parts_taught = [nested(taught, size) for size in sizes]
    trials = [trial(parts, part, learnt(part), asked, judge, how) for part in parts_taught]
    if mine.answers:
        mine.answers.write_text(json.dumps([asdict(one) for one in trials], indent=1))
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
        "trials": [{**asdict(one), "told": len(one.told), "errors": one.errors} for one in trials],
        "seconds_per_answer": median(one.seconds for one in best.told),
    }
    print(json.dumps({name: raw[name] for name in ("teacher", "floor", "prompt_tokens", "served")}), file=sys.stderr)
    return report.finish(run, bars, raw, ("torch", "transformers", "peft", "trl", "xllamacpp"))


def is_test(item: Item) -> bool:
    """Whether a sentence belongs to the test fifth; the rule of the floor without a model."""
    return int(hashlib.sha256(item["messages"][1]["content"].encode()).hexdigest(), 16) % 5 == 0


def _trajectory(item: Item) -> Trajectory:
    answer = item["messages"][2]
    sound = is_sound(answer, item["tools"])
    call = CallRef(item["trajectory_id"], 2, "actions", "teacher", item["teacher"], 0.0, sound)
    name = item["trajectory_id"]
    return Trajectory(name, name, "house", item["trajectory_success"], "rule", item["tools"], item["messages"], (call,))


def _floor(folder: Path) -> float:
    """What the floor without a model says of itself on the whole test fifth."""
    said = subprocess.run(
        [sys.executable, str(folder / "baseline_ha_actions.py")], capture_output=True, text=True, check=True
    ).stdout
    found = re.findall(r"0\.\d{3}", said)
    return float(found[-1])


if __name__ == "__main__":
    sys.exit(main())
