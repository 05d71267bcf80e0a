"""Does any model make valid calls? The untrained base on recorded tool sets, each with one call that must come.

    python -m benchmarks.valid_calls [--data DIR] [--sets N] [--base NAME] [--quick] [--seed N] [--json FILE]

DIR holds bfcl.jsonl.gz and agentdojo.jsonl.gz (docs/recorded-traffic.md). Each distinct tool set is put to the base
with a user's message that it was recorded with, `tool_choice` required, through the code that serves students: prompt,
grammar, engine, check. Its answers are

    valid     calls of offered tools with arguments that fit their schemas, by the `jsonschema` package alone
    refused   before anything was written, with the reason: the schema has no value, or is none
    invalid   anything else

and the bar is that none is invalid. Whether the calls are right is another question: nobody has trained this model.
"""

import argparse
import gzip
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jsonschema import Draft202012Validator

from tutelage.serving.bare import BareBase
from tutelage.serving.bases import DEFAULT
from tutelage.serving.engine import ContextTooLong
from tutelage.serving.engines import engines_for
from tutelage.serving.options import ServingOptions
from tutelage.serving.render import InvalidOutput
from tutelage.serving.schemas import Uncompilable

from .report import ROOT, at_least, at_most, finish, start

SOURCES = ("bfcl", "agentdojo")
QUICK_SETS = 20


class Question(NamedTuple):
    """A tool set and a message that came with it."""

    source: str
    tools: list[dict[str, Any]]
    user: str


def questions(data: Path) -> list[Question]:
    """The distinct tool sets of the recorded sets, each with the first message that it was recorded with."""
    found: dict[str, Question] = {}
    for source in SOURCES:
        with gzip.open(data / f"{source}.jsonl.gz") as lines:
            for line in lines:
                item = json.loads(line)
                asked = item.get("request") or item
                said = [one["content"] for one in asked.get("messages") or () if one["role"] == "user"]
                if asked.get("tools") and said and isinstance(said[0], str):
                    key = json.dumps(asked["tools"], sort_keys=True)
                    found.setdefault(key, Question(source, asked["tools"], said[0]))
    return list(found.values())


def ask(base: BareBase, question: Question) -> str:
    """`valid`, `refused: …` or `invalid: …`."""
    request = {"messages": [{"role": "user", "content": question.user}], "tools": question.tools}
    try:
        answer = base.answer({**request, "tool_choice": "required", "parallel_tool_calls": False})
    except (Uncompilable, ContextTooLong) as error:
        return f"refused: {error}"
    except InvalidOutput as error:
        return f"invalid: {error.reason}"
    return judged(answer.message, question.tools)


def judged(message: dict[str, Any], tools: Sequence[dict[str, Any]]) -> str:
    """`valid` or `invalid: …`, by nothing that serving itself uses but the schemas."""
    schemas = {tool["function"]["name"]: tool["function"].get("parameters") or {} for tool in tools}
    calls = message.get("tool_calls") or []
    for call in calls:
        name = call["function"]["name"]
        if name not in schemas:
            return "invalid: unknown tool"
        arguments = json.loads(call["function"]["arguments"])
        if not isinstance(arguments, dict) or not Draft202012Validator(schemas[name]).is_valid(arguments):
            return f"invalid: arguments of {name}"
    return "valid" if calls else "invalid: no call"


def measure(base: str, chosen: Sequence[Question]) -> dict[str, Any]:
    """The report on these questions."""
    options = ServingOptions(data="", slots=1, context=8192)
    engine = engines_for(options)(base, {})
    student, outcomes, began = BareBase(engine, options.max_tokens), Counter[str](), time.process_time()
    missed = []
    for number, question in enumerate(chosen, 1):
        outcome = ask(student, question)
        outcomes[outcome] += 1
        if outcome != "valid":
            missed.append({"number": number, "outcome": outcome, **question._asdict()})
        if outcome != "valid" or not number % 25:
            print(f"{number}: {outcome}; {outcomes['valid']} valid", file=sys.stderr, flush=True)
    engine.close()
    refused = sum(n for outcome, n in outcomes.items() if outcome.startswith("refused"))
    asked = len(chosen) - refused
    return {
        "base": base,
        "sets": len(chosen),
        "sources": Counter(question.source for question in chosen),
        "valid": outcomes["valid"],
        "refused": refused,
        "rate": outcomes["valid"] / asked if asked else 0.0,
        "outcomes": dict(outcomes.most_common()),
        "missed": missed,
        "cpu_s": round(time.process_time() - began, 1),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit code."""
    own = argparse.ArgumentParser(add_help=False)
    own.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "dev")
    own.add_argument("--sets", type=int, default=500)
    own.add_argument("--base", default=DEFAULT)
    options, others = own.parse_known_args(arguments)
    run = start("valid_calls", __doc__, others)
    if not all((options.data / f"{name}.jsonl.gz").exists() for name in SOURCES):
        print(f"Expected {', '.join(SOURCES)} (.jsonl.gz) in {options.data}; name their folder with --data.")
        return 2
    chosen = questions(options.data)
    random.Random(run.seed).shuffle(chosen)
    raw = measure(options.base, chosen[: QUICK_SETS if run.quick else options.sets])
    print(json.dumps(raw))
    bars = [
        at_least("valid calls of those that were not refused", 100 * raw["rate"], "%", 100.0),
        at_most("refused before anything was written", raw["refused"] / raw["sets"], "of all", 0.01),
    ]
    return finish(run, bars, raw, ["torch", "xllamacpp", "jsonschema"])


if __name__ == "__main__":
    sys.exit(main())
