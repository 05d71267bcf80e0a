"""How well a small student takes a voice assistant's first decisions, learnt from the runs of several teachers.

    python -m benchmarks.ha_assist --data DIR [--epochs N] [--sessions N] [--answers FILE] [--keep DATA] [--json FILE]

DIR holds `dev/ha_assist.jsonl.gz`, `dev/ha_gold.json.gz` (by task, the first decisions of all runs that ended well) and
`judge_ha.py` (their canonical form). The agent is that of the commonest system prompt; its runs are curated, split,
rendered, trained on and served as `tutelage distill run` does it. A session is a sentence here: what is asked in the
test was taught in no home, by no teacher. A decision is right when a run that ended well took the same; of a teacher,
another run than its own. So a right decision that nobody took counts as wrong.
"""

import argparse
import gzip
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tutelage.distill.curate import CallRef, Curated, Trajectory, held_out, is_sound
from tutelage.distill.curve import nested
from tutelage.distill.duplicates import by_words
from tutelage.distill.floors import Neighbours
from tutelage.distill.measures import Measure, Question, measure
from tutelage.distill.parts import BaseParts
from tutelage.distill.prompt_form import learnt_form
from tutelage.distill.selection import curate
from tutelage.serving.render import RENDER_VERSION
from tutelage.traffic.skeleton import Skeleton, mask, reduce, system_text
from tutelage.traffic.students import PromptSpec

from . import report
from .ha_student import RISKS, Item, Lesson, Told, module_of, served_share, trial
from .patterns import runs_of

TEST = 0.3
"""Share of the sentences that is asked and not taught."""


@dataclass(frozen=True)
class Rule:
    """The data's own rule."""

    canonical: Any
    """From the calls of an answer to a text that is the same for the same decision."""
    gold: dict[str, Any]

    def judge(self, item: Item, calls: Any) -> tuple[bool | None, str]:
        """Whether a run that ended well began so."""
        decision = self.canonical(calls)
        accepted = self._accepted(item)
        if decision in accepted:
            return True, ""
        return False, _why(_tools(decision), [_tools(one) for one in accepted])

    def teacher(self, item: Item) -> bool:
        """Whether another run that ended well began as this one did."""
        times = self._accepted(item).get(self.canonical(item["messages"][2].get("tool_calls")), 0)
        return times - bool(item["trajectory_success"]) > 0

    def _accepted(self, item: Item) -> dict[str, int]:
        return self.gold[f"{item['domain']}|{item['task_id']}"]["accepted_first"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and compare with the bars; the exit code."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--epochs", type=float, default=2.0)
    parser.add_argument("--sessions", type=int, default=400)
    parser.add_argument("--answers", type=Path)
    parser.add_argument("--keep", type=Path)
    mine, rest = parser.parse_known_args(arguments)
    run = report.start("ha_assist", __doc__, rest)
    rule = Rule(module_of(mine.data / "judge_ha.py").canon, _gold(mine.data / "dev" / "ha_gold.json.gz"))
    items, lines = of_one_agent(runs_of(mine.data / "dev" / "ha_assist.jsonl.gz"))
    chosen = chosen_of(items, lines)
    taught = nested(chosen.train, 48 if run.quick else mine.sessions)
    spec = learnt_form(taught, PromptSpec(skeleton=lines, version=RENDER_VERSION))
    known = {item.session for item in taught}
    asked = once([item for item in items if held_out(_sentence(item), TEST)])
    again = once([item for item in items if _sentence(item) in known], per_task=1)
    if run.quick:
        asked, again = asked[:12], again[:12]
    how = Lesson("ha-assist", mine.epochs, run.seed, mine.keep)
    made = trial(BaseParts("smollm2-135m"), taught, spec, [*asked, *again], rule.judge, how)
    if mine.answers:
        mine.answers.write_text(json.dumps(asdict(made), indent=1))
    new = {item["trajectory_id"]: item for item in asked}
    told = [one for one in made.told if one.task in new]
    right = _measured((_sentence(new[one.task]), one.right) for one in told)
    floor = _floor(taught, asked, rule)
    raw = {
        "sessions": {"recorded": len(items), "train": len(taught), "dropped": chosen.dropped},
        "sentences": {"taught": len(known), "asked": right.sessions},
        "new sentences": asdict(right),
        "taught sentences": asdict(_again(made.told, again)),
        "errors": dict(Counter(one.why for one in told if not one.right).most_common()),
        "floor": asdict(floor),
        "teachers": _teachers(items, rule),
        "served": {str(risk): dict(zip(("share", "risk"), served_share(told, risk), strict=True)) for risk in RISKS},
        "training": {"rows": made.rows, "seconds": made.train_seconds, "cpu_seconds": made.train_cpu_seconds},
    }
    print(json.dumps(raw, indent=1), file=sys.stderr)
    bars = [report.at_least("student right (new sentences) beside the floor", right.share or 0, "share", _of(floor))]
    return report.finish(run, bars, raw, ("torch", "transformers", "peft", "trl", "xllamacpp"))


def of_one_agent(items: Sequence[Item]) -> tuple[list[Item], list[str]]:
    """The runs under the commonest system prompt whose first answer follows the request, and its constant lines."""
    prompts = [tuple(reduce(item["messages"][0]["content"]).lines) for item in items]
    lines = Counter(prompts).most_common(1)[0][0]
    mine = [item for item, prompt in zip(items, prompts, strict=True) if prompt == lines]
    return [item for item in mine if item["calls"] and item["calls"][0]["i"] == 2], list(lines)


def chosen_of(items: Sequence[Item], lines: Sequence[str]) -> Curated:
    """The runs that are taught, as a distillation run would choose them; a session is a sentence."""
    skeleton = Skeleton(tuple(lines))

    def varying(messages: list[Any]) -> Any:
        return [[mask(line)[0] for line in skeleton.varying(system_text(messages))], messages[1:]]

    runs = [_trajectory(item) for item in items]
    # Word pairs, so that the choice is the same where no model of sentences is installed.
    return curate(runs, share=TEST, max_train=2000, max_held_out=len(runs), varying=varying, likeness=by_words)


def once(items: Sequence[Item], per_task: int = 3) -> list[Item]:
    """For each task its different requests, `per_task` at most: one run of each."""
    found: dict[tuple[str, bytes], Item] = {}
    for item in items:
        found.setdefault((item["task_id"], json.dumps([item["messages"][0], item["tools"]]).encode()), item)
    tasks: Counter[str] = Counter()
    kept = []
    for (task, _), item in found.items():
        tasks[task] += 1
        kept += [item] if tasks[task] <= per_task else []
    return kept


def _trajectory(item: Item) -> Trajectory:
    name, messages = item["trajectory_id"], item["messages"][:3]
    call = CallRef(name, 2, "assist", "teacher", item["teacher"], 0.0, is_sound(messages[2], item["tools"]))
    success = item["trajectory_success"]
    return Trajectory(name, _sentence(item), "house", success, "rule", item["tools"], messages, (call,))


def _sentence(item: Item) -> str:
    return " ".join(item["messages"][1]["content"].lower().split())


def _tools(decision: str) -> list[str]:
    return sorted(name for name, _ in json.loads(decision))


def _why(tools: list[str], accepted: list[list[str]]) -> str:
    if not accepted:
        return "no run ended well"
    if tools in accepted:
        return "other arguments"
    if not tools:
        return "no call"
    return "call where none was needed" if accepted == [[]] else "other tools"


def _floor(taught: Sequence[Trajectory], asked: Sequence[Item], rule: Rule) -> Measure:
    """The nearest neighbour among what was taught, on the same requests."""
    nearest = Neighbours(taught)
    runs = [_trajectory(item) for item in asked]
    found = [nearest.answer(Question(run, run.calls[0])) or {} for run in runs]
    right = [bool(rule.judge(item, one.get("tool_calls"))[0]) for item, one in zip(asked, found, strict=True)]
    return _measured((run.session, ok) for run, ok in zip(runs, right, strict=True))


def _teachers(items: Sequence[Item], rule: Rule) -> dict[str, Any]:
    """How often each teacher's first decision is right on the sentences of the test."""
    told: dict[str, list[tuple[str, bool]]] = {}
    for item in items:
        if held_out(_sentence(item), TEST):
            told.setdefault(item["teacher"], []).append((_sentence(item), rule.teacher(item)))
    return {name: asdict(_measured(pairs)) for name, pairs in sorted(told.items())}


def _again(told: Sequence[Told], again: Sequence[Item]) -> Measure:
    taught = {item["trajectory_id"]: item for item in again}
    return _measured((_sentence(taught[one.task]), one.right) for one in told if one.task in taught)


def _measured(pairs: Iterable[tuple[str, bool]]) -> Measure:
    return measure((sentence, float(right)) for sentence, right in pairs)


def _of(found: Measure) -> float:
    return round(found.share or 0.0, 4)


def _gold(path: Path) -> dict[str, Any]:
    with gzip.open(path, "rt", encoding="utf-8") as text:
        return json.load(text)


if __name__ == "__main__":
    sys.exit(main())
