"""What does training a session at once save, beside plain trl on one row per call?

    python -m benchmarks.train [--data DIR] [--quick] [--seed N] [--json FILE]

Recorded sessions of one agent (`agentdojo` of the recorded traffic, four calls and more, cut to what a CPU bears) are
trained from the real base by three arms in turns, each in a process of its own: see `train_arm`. `--quick` takes
made-up sessions and a random model of two layers, under the same bars. Needs the extras `distill` and `serving`.

    supervised tokens per CPU second   trained tokens of a pass over the sessions by the CPU time of that pass
    ratio                              median over the rounds of ours beside plain trl's in the same round
    peak                               highest resident memory of the process, libraries and weights included
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tutelage.serving.bases import DEFAULT, hf_folder, resolve
from tutelage.traffic.errors import TutelageError
from tutelage.traffic.students import PromptSpec

from .patterns import runs_of
from .report import ROOT, Bar, at_least, at_most, finish, start
from .train_arm import Job, prompt_tokens

ARMS = ("trl", "full", "internalised")
FULL, INTERNALISED = 3.0, 3.0
"""Times plain trl's supervised tokens per CPU second."""
MOST_TOKENS = 2000
"""Of a session with the whole prompt."""
PACKAGES = ("torch", "transformers", "trl", "peft")
Run = dict[str, Any]


def recorded(folder: Path, count: int, rng: random.Random, tokenizer: Any) -> list[Run]:
    """Sessions of one agent: the successful ones of at least four calls that are short enough."""
    spec, found = PromptSpec(mode="full"), []
    runs = [run for run in runs_of(folder / "agentdojo.jsonl.gz") if run["domain"] == "agentdojo_banking"]
    usable = [run for run in runs if run["trajectory_success"] and len(run["calls"]) >= 4]
    for run in rng.sample(usable, len(usable)):
        if len(found) < count and prompt_tokens(run, spec, tokenizer) <= MOST_TOKENS:
            found.append(run)
    return found


def made_up(count: int, turns: int = 4) -> list[Run]:
    """Sessions of a parcel desk with three tools."""
    words = ["parcel", "order", "customer", "address", "weight", "depot", "driver", "route"]
    tools = [_tool(name, words) for name in ("track_parcel", "change_address", "cancel_order")]
    return [_made_up(number, turns, tools) for number in range(count)]


def _tool(name: str, words: Sequence[str]) -> Run:
    properties = {word: {"type": "string", "description": f"The {word} of the {name}."} for word in words}
    about = {"name": name, "description": f"Use it to {name.replace('_', ' ')}.", "parameters": {"type": "object"}}
    return {"type": "function", "function": {**about, "parameters": {"type": "object", "properties": properties}}}


def _made_up(number: int, turns: int, tools: list[Run]) -> Run:
    messages: list[Run] = [{"role": "system", "content": "You work at a parcel desk.\nBe brief.\nNever guess."}]
    calls = []
    for turn in range(turns):
        function = {"name": "track_parcel", "arguments": json.dumps({"parcel": f"P{number}-{turn}"})}
        messages.append({"role": "user", "content": f"Where is P{number}-{turn}?"})
        calls.append({"i": len(messages)})
        call = {"id": f"c{turn}", "type": "function", "function": function}
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": f"c{turn}", "content": f"in depot {turn}"})
        calls.append({"i": len(messages)})
        messages.append({"role": "assistant", "content": f"It is in depot {turn}."})
    return {"trajectory_id": f"m{number}", "teacher": "made up", "tools": tools, "messages": messages, "calls": calls}


def random_base(folder: Path, tokenizer: Any) -> Path:
    """A llama of two layers with random weights and the real tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape: Run = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), num_hidden_layers=2, **shape)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def measure(base: Path, sessions: list[Run], rounds: int, batch: int) -> list[dict[str, dict[str, float]]]:
    """Each round's figures by arm. The arms take turns, in another order every round."""
    skeleton = str(sessions[0]["messages"][0]["content"]).splitlines()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            arms = ARMS[number % 3 :] + ARMS[: number % 3]
            found.append({arm: _arm(Job(arm, str(base), sessions, skeleton, batch, 1), Path(folder)) for arm in arms})
    return found


def _arm(job: Job, folder: Path) -> dict[str, float]:
    path = folder / "job.json"
    path.write_text(json.dumps(asdict(job)))
    command = [sys.executable, "-m", "benchmarks.train_arm", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        raise TutelageError(f"The arm {job.arm} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def bars_of(rounds: Sequence[dict[str, dict[str, float]]], quick: bool = False) -> list[Bar]:
    """The figures beside their bars."""

    def speed(arm: dict[str, float]) -> float:
        return arm["trained"] / arm["cpu_seconds"]

    ratios = {arm: statistics.median(speed(r[arm]) / speed(r["trl"]) for r in rounds) for arm in ARMS[1:]}
    peaks = {
        arm: max(r[arm]["peak_mib"] for r in rounds) / max(r["trl"]["peak_mib"] for r in rounds) for arm in ARMS[1:]
    }
    trained = {arm: rounds[0][arm]["trained"] for arm in ARMS}
    bars = [
        at_least("whole sessions, full prompts: supervised tokens per CPU second", ratios["full"], "x trl", FULL),
        at_least("whole sessions, internalised: the same", ratios["internalised"], "x trl", INTERNALISED),
        at_most("peak memory, full", peaks["full"], "x trl", 1.25),
        at_most("peak memory, internalised", peaks["internalised"], "x trl", 1.0),
        at_least("trained tokens beside trl's", trained["full"] / trained["trl"], "x", 0.99),
    ]
    # A random model of two layers is all head: what its layers read matters little.
    further = at_least("internalised beside full", ratios["internalised"] / ratios["full"], "x", 1.0)
    return bars if quick else [*bars, further]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, compare."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "dev")
    parser.add_argument("--sessions", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    options, rest = parser.parse_known_args(arguments)
    run = start("train", __doc__, rest)
    if not run.quick and not (options.data / "agentdojo.jsonl.gz").is_file():
        print(
            f"There is no recorded traffic in {options.data}; name its folder with --data, or take --quick.",
            file=sys.stderr,
        )
        return 2
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory() as folder:
        real = hf_folder(resolve(DEFAULT))
        tokenizer = AutoTokenizer.from_pretrained(real)
        if run.quick:
            base, sessions = random_base(Path(folder), tokenizer), made_up(2)
        else:
            base, sessions = real, recorded(options.data, options.sessions, random.Random(run.seed), tokenizer)
        rounds = measure(base, sessions, 1 if run.quick else options.rounds, batch=1)
    return finish(run, bars_of(rounds, run.quick), {"rounds": rounds, "sessions": len(sessions)}, PACKAGES)


if __name__ == "__main__":
    sys.exit(main())
