"""Whether a vote over several drawn answers beats one greedy answer, on a voice assistant's device actions.

    python -m benchmarks.ha_votes --data DIR --student DATA [--samples 4,8] [--json FILE]

DATA is the data folder in which `python -m benchmarks.ha_actions --keep DATA` has registered a student; its newest one
is asked the test fifth of that benchmark, greedily and by vote (serving/sag.py), with the same engine. Thresholds, on
the score or on the share of votes, are chosen on one half of the test and measured on the other, both ways. The bars
say only that a vote loses nothing; what it gains, and what it costs in tokens, is in the table.
"""

import argparse
import json
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tutelage.distill.parts import BaseParts
from tutelage.serving.sag import Voting
from tutelage.serving.student import Answer, Answering, Student
from tutelage.traffic.layout import DataDir
from tutelage.traffic.students import ADAPTER_GGUF, StudentRegister

from . import report
from .ha_actions import is_test
from .ha_student import RISKS, Item, Judge, answers, module_of, served_share
from .patterns import runs_of

SLACK = 0.02
"""Share of right answers that a vote may lie below the greedy answer by the luck of its draws."""


@dataclass
class Arm:
    """One way of answering, and what it has spent."""

    student: Answering
    samples: int
    """Answers that are drawn; 1: one is written greedily."""
    written: int = 0
    """Completion tokens."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, request: dict[str, Any]) -> Answer:
        """As `Student.answer`, by vote where there is one; it never defers."""
        voting = Voting(self.samples, 0.0) if self.samples > 1 else None
        given = voting.answer(self.student, request, served=False) if voting else self.student.answer(request)
        with self._lock:
            self.written += given.usage["completion_tokens"]
        return given


def measured(arm: Arm, asked: Sequence[Item], judge: Judge) -> dict[str, Any]:
    """Right answers, shares served with a threshold, tokens and time of one arm."""
    begun = time.process_time()
    told = list(answers(arm, asked, judge))
    served = {str(risk): served_share(told, risk) for risk in RISKS}
    return {
        "samples": arm.samples,
        "right": sum(one.right for one in told) / len(told),
        "served": {risk: {"share": share, "risk": wrong} for risk, (share, wrong) in served.items()},
        "tokens_per_call": arm.written / len(told),
        "cpu_seconds_per_call": (time.process_time() - begun) / len(told),
        "refused": sum(one.why.startswith("refused") for one in told),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and compare with the bars; the exit code."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--student", type=Path, required=True)
    parser.add_argument("--samples", default="4,8")
    mine, rest = parser.parse_known_args(arguments)
    run = report.start("ha_votes", __doc__, rest)
    judge = module_of(mine.data / "judge_ha_actions.py").judge
    items = runs_of(mine.data / "dev" / "ha_device_actions.jsonl.gz")
    asked = [item for item in items if is_test(item) and item["trajectory_success"] is not None]
    register = StudentRegister(DataDir(mine.student))
    manifest = max(register.list(), key=lambda one: one.created_at)
    engine = BaseParts(manifest.base).engine({manifest.version: register.path(manifest.version) / ADAPTER_GGUF})
    try:
        student = Student.of(manifest, engine, 128)
        arms = [Arm(student, count) for count in (1, *map(int, mine.samples.split(",")))]
        found = [measured(arm, asked[:24] if run.quick else asked, judge) for arm in arms]
    finally:
        engine.close()
    for one in found:
        print(json.dumps(one), file=sys.stderr)
    greedy = found[0]["right"]
    bars = [
        report.at_least(
            f"right by vote of {one['samples']}, beside greedy − {SLACK}", one["right"], "share", greedy - SLACK
        )
        for one in found[1:]
    ]
    return report.finish(run, bars, {"version": manifest.version, "arms": found}, ("torch", "xllamacpp"))


if __name__ == "__main__":
    sys.exit(main())
