"""How many tokens does a student read of a request, once it knows the constant part by heart?

    python -m benchmarks.prompts [--data DIR] [--quick] [--seed N] [--json FILE]

For each agent of the recorded traffic (`ha_device_actions`, `ha_assist`, `agentdojo` by domain): tokens of the prompts
of its calls with the whole prompt and the tools' schemas, without the lines that never change and the schemas, and in
the form that a distillation run would learn from these sessions (`distill.prompt_form`). SmolLM2's tokenizer.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from tutelage.distill.curate import CallRef, Trajectory, is_sound
from tutelage.distill.curve import nested
from tutelage.distill.parts import BaseParts
from tutelage.distill.prompt_form import learnt_form
from tutelage.serving.render import RENDER_VERSION, prompt_segments, token_ids
from tutelage.traffic.skeleton import reduce, system_text
from tutelage.traffic.students import PromptSpec

from .patterns import runs_of
from .report import ROOT, at_least, finish, start

SETS = ("ha_device_actions", "ha_assist", "agentdojo")
FULL, BARE, LEARNT = "whole", "without the constant part", "learnt form"
FACTOR = 2.0
"""Times fewer tokens at the median, at least, of every agent."""


def session(run: dict[str, Any]) -> Trajectory:
    """A recorded run with all its calls."""
    name, messages, tools = run["trajectory_id"], run["messages"], run["tools"]
    calls = tuple(
        CallRef(
            f"{name}/{call['i']}", call["i"], run["domain"], "teacher", "", 0.0, is_sound(messages[call["i"]], tools)
        )
        for call in run["calls"]
    )
    return Trajectory(name, name, run["domain"], run["trajectory_success"], "recorded", tools, messages, calls)


def agents(runs: Iterable[dict[str, Any]]) -> dict[str, list[Trajectory]]:
    """Successful sessions by domain."""
    found: dict[str, list[Trajectory]] = {}
    for run in runs:
        if run["trajectory_success"] and (made := session(run)).trainable:
            found.setdefault(run["domain"], []).append(made)
    return found


def learnt(sessions: Sequence[Trajectory]) -> PromptSpec:
    """What these sessions would teach: the lines of their commonest system prompt, and the form of the rest."""
    [(lines, _)] = Counter(tuple(reduce(system_text(item.messages)).lines) for item in sessions).most_common(1)
    return learnt_form(sessions, PromptSpec(skeleton=list(lines), version=RENDER_VERSION))


def lengths(
    sessions: Sequence[Trajectory], spec: PromptSpec, tokenise: Callable[[str], list[int]]
) -> dict[str, list[int]]:
    """Tokens of each call's prompt in the three forms; `spec`: the learnt one."""
    specs = {
        FULL: PromptSpec(mode="full", version=RENDER_VERSION),
        BARE: PromptSpec(skeleton=spec.skeleton),
        LEARNT: spec,
    }
    return {name: [count for item in sessions for count in _tokens(item, one, tokenise)] for name, one in specs.items()}


def _tokens(item: Trajectory, spec: PromptSpec, tokenise: Callable[[str], list[int]]) -> Iterable[int]:
    for call in item.trainable:
        yield len(token_ids(prompt_segments(item.messages[: call.index], item.tools, spec), tokenise))


def medians(found: dict[str, list[int]]) -> dict[str, float]:
    """The median of each form."""
    return {name: median(counts) for name, counts in found.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, and tell whether all bars are met."""
    own = argparse.ArgumentParser(add_help=False)
    own.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "dev")
    mine, others = own.parse_known_args(arguments)
    run = start("prompts", __doc__, others)
    tokenise = BaseParts("smollm2-135m").tokenise
    raw: dict[str, Any] = {}
    for name in SETS:
        for agent, sessions in agents(runs_of(mine.data / f"{name}.jsonl.gz")).items():
            sample = nested(sessions, 10 if run.quick else 60)
            found = lengths(sample, learnt(sessions), tokenise)
            raw[agent] = {
                "sessions": len(sample),
                "calls": len(found[FULL]),
                "median": medians(found),
                "p95": {form: quantiles(counts, n=20)[-1] for form, counts in found.items()},
            }
    bars = [
        at_least(f"{agent}: {FULL} / {LEARNT}", one["median"][FULL] / one["median"][LEARNT], "x", FACTOR)
        for agent, one in raw.items()
    ]
    return finish(run, bars, raw, ("transformers",))


if __name__ == "__main__":
    sys.exit(main())
