"""How fast students answer, on one machine with the same student and the same prompts.

    python -m benchmarks.serving [--quick] [--seed N] [--json FILE] [--data DIR] [--base NAME] [--only NAMES]

The prompts are calls of home assistants (`ha_device_actions` of the recorded traffic), as the student reads them: full,
and internalised with the form that training would learn from them. The student is a random LoRA on the base: what it
says does not matter here, what it costs does. Each engine runs in a process of its own:

    torch        torch in eight bits (see `serving.torch_engine`), one adapter
    torch 16     the same with 16 adapters: calls for all of them through the student server's schedule, beside the
                 same calls for one (see `serving_turns`)
    llama        llama.cpp, the base as it is served (see `serving.requantise`), one adapter
    llama file   the same on the base's own file
    llama 16     the same with 16 adapters, as above, in turns; and all 16 loaded but only one in use
    reference    HfEngine: transformers and peft, one answer at a time
    generate     transformers' own `generate`, in batches of one and of eight

Tokens are written behind the internalised prompts; `generate` gets the same ones, padded, as one batch that nothing
leaves before the end, and the engines' answers have no end either. Each of `torch` and `llama` has the
bars. `--only torch,generate` leaves the others out.

Speeds are per second of CPU time (see `serving_engine`), so that other work on the machine changes them little; the
speeds by the clock stand in the JSON file. The machine's own speed may change within minutes, so what eight calls at
once write is measured in turns, and the bars are medians of ratios within a round. GPUs and vLLM are not measured here.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from tutelage.distill.curate import CallRef, Trajectory
from tutelage.distill.prompt_form import learnt_form
from tutelage.serving import bases
from tutelage.serving.gguf_lora import convert_adapter
from tutelage.serving.grammar import grammar_for
from tutelage.serving.render import RENDER_VERSION, prompt_segments
from tutelage.serving.requantise import fast_file
from tutelage.traffic.students import ADAPTER, ADAPTER_GGUF, PromptSpec

from .patterns import calls_of, recognise, runs_of
from .report import ROOT, Bar, Run, at_least, at_most, finish, start
from .serving_engine import Task

FILE = "ha_device_actions.jsonl.gz"
FASTER, CONSTRAINT, ADAPTERS, SOONER = 3.0, 0.10, 0.15, 5.0
LOADS = [(128, 1), (32, 4)]
EIGHT, ROUNDS = "at 8", 3
"""Clients, and calls of each: 8 waiting for each of 16 adapters, and 2."""
_LEARNT_FROM = 150
Row = dict[str, Any]


def prompts_of(runs: list[Row], count: int) -> tuple[list[list[str]], list[list[str]], Row]:
    """(full, internalised) prompts as the texts of their segments, of calls in different homes; and one request."""
    _, registry = recognise(runs[:_LEARNT_FROM])
    skeletons = [list(entry.skeleton) for entry in registry.found() if entry.skeleton]
    if not skeletons:
        raise SystemExit("No pattern with a constant prompt was found in the traffic.")
    full = PromptSpec(mode="full", version=RENDER_VERSION)
    spec = PromptSpec(skeleton=max(skeletons, key=lambda lines: sum(map(len, lines))), version=RENDER_VERSION)
    spec = learnt_form(map(_trajectory, runs[:_LEARNT_FROM]), spec)
    calls = [(run["meta"].get("home"), body) for run, body in calls_of(runs)]
    first = {home: number for number, (home, _) in reversed(list(enumerate(calls)))}
    ordered = sorted(range(len(calls)), key=lambda number: (first[calls[number][0]] != number, number))
    bodies = [calls[number][1] for number in ordered[:count]]
    texts = [[_texts(body, one) for body in bodies] for one in (full, spec)]
    return texts[0], texts[1], bodies[0]


def _texts(body: Row, spec: PromptSpec) -> list[str]:
    return [part.text for part in prompt_segments(body["messages"], body["tools"], spec)]


def _trajectory(run: Row) -> Trajectory:
    key = run["trajectory_id"]
    calls = tuple(CallRef(f"{key}/{call['i']}", call["i"], "p", "teacher", "t", 0.0) for call in run["calls"])
    return Trajectory(key, key, "a", True, "label", run["tools"], run["messages"], calls)


def write_adapter(root: Path, gguf: Path, seed: int) -> Path:
    """A random LoRA on q and v of all layers (rank 16), as peft writes it, with its GGUF beside; its folder."""
    from gguf import GGUFReader
    from safetensors.numpy import save_file

    shapes = {t.name: [int(n) for n in t.shape] for t in GGUFReader(gguf).tensors if t.name.startswith("blk.")}
    rng, tensors = np.random.default_rng(seed), {}
    for name, (inner, outer) in ((n, s) for n, s in shapes.items() if n.split(".")[2] in ("attn_q", "attn_v")):
        _, layer, part, _ = name.split(".")
        module = f"base_model.model.model.layers.{layer}.self_attn.{part[-1]}_proj"
        tensors[f"{module}.lora_A.weight"] = rng.normal(0, 0.02, (16, inner)).astype("float32")
        tensors[f"{module}.lora_B.weight"] = rng.normal(0, 0.02, (outer, 16)).astype("float32")
    folder = root / ADAPTER
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 16, "lora_alpha": 32, "target_modules": ["q_proj", "v_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": "base"}))
    convert_adapter(folder, gguf, root / ADAPTER_GGUF)
    return folder


def copies_of(folder: Path, count: int) -> list[str]:
    """The same adapter under several names: what it says is all one here, the engine keeps each for itself."""
    source = folder.parent / ADAPTER_GGUF
    return [str(shutil.copy(source, source.with_name(f"{number}.gguf"))) for number in range(count)]


def measured(task: Task) -> dict[str, Any]:
    """The results of a task, from a process of its own."""
    command = [sys.executable, "-m", "tutelage.benchmarks.serving_engine"]
    done = subprocess.run(command, input=msgspec.json.encode(task), stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.rsplit(b"\n", 1)[-1])


def tasks_of(run: Run, base: bases.Base, adapter: Path, texts: tuple[list[list[str]], ...], grammar: str) -> Any:
    """What is measured, by name."""
    from transformers import AutoTokenizer

    folder = bases.hf_folder(base)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    full, internalised = (
        [[i for part in one for i in tokenizer(part, add_special_tokens=False)["input_ids"]] for one in every]
        for every in texts
    )
    rng = np.random.default_rng(run.seed)
    short = rng.integers(500, min(10_000, len(tokenizer) - 1), (8, 48)).tolist()
    files = copies_of(adapter, 16)
    at_once = [1, 8] if run.quick else [1, 8, 32]
    prompts = {"full": full[: 2 if run.quick else 6], "internalised": internalised, "short": short}
    same = {**prompts, "grammar": grammar, "tokens": 16 if run.quick else 48}
    fast, own, hf, one = str(fast_file(base)), str(base.gguf), str(folder), [str(adapter)]
    few = {**same, "full": [], "internalised": []}
    loads = [(16, 1)] if run.quick else LOADS
    yield "torch", Task("torch", hf, files[:1], at_once=at_once, **same)
    yield "torch 16", Task("torch", hf, files, at_once=[8], parts=["turns"], loads=loads, **few)
    yield "llama", Task("llama", fast, files[:1], at_once=at_once, **same)
    yield "llama 16", Task("llama", fast, files, at_once=[8], parts=["turns"], loads=loads, **few)
    yield "llama file", Task("llama", own, files[:1], at_once=at_once, parts=["first", "decode"], **same)
    yield "generate 1", Task("generate", hf, one, at_once=[1], parts=["decode"], **same)
    yield "reference", Task("reference", hf, one, at_once=[1], parts=["first", "decode"], **same)
    eight = {"at_once": [8], "parts": ["decode"], **same}
    yield f"torch {EIGHT}", Task("torch", hf, files[:1], **eight)
    yield f"torch 16 loaded {EIGHT}", Task("torch", hf, files, used=1, **eight)
    yield f"llama {EIGHT}", Task("llama", fast, files[:1], **eight)
    yield f"llama 16 loaded {EIGHT}", Task("llama", fast, files, used=1, **eight)
    yield f"generate {EIGHT}", Task("generate", hf, one, **eight)


def measure(tasks: Mapping[str, Task], rounds: int, ask: Callable[[Task], Row]) -> Row:
    """The results by name. What is written eight at once is compared between processes: in turns, `rounds` times."""
    raw: Row = {}
    turns = [name for name in tasks if name.endswith(EIGHT)]
    for name in (*(name for name in tasks if name not in turns), *turns * rounds):
        found = ask(tasks[name])
        print(name, json.dumps(found), flush=True)
        if name in turns:
            raw.setdefault(name, []).append(found["decode"]["8"] | {"memory_mb": found["memory_mb"]})
        else:
            raw[name] = found
    return raw


def bars_of(raw: dict[str, Any]) -> list[Bar]:
    """The figures that have a bar, of each engine that was measured."""
    return [bar for engine in ("torch", "llama") if engine in raw for bar in _bars(raw, engine)]


def _bars(raw: dict[str, Any], engine: str) -> list[Bar]:
    first = raw[engine]["first"]
    faster = _times(raw, f"{engine} {EIGHT}", f"generate {EIGHT}")
    loaded = 1 - _times(raw, f"{engine} 16 loaded {EIGHT}", f"{engine} {EIGHT}")
    sooner = first["full"]["first_token_cpu_s"] / first["internalised"]["first_token_cpu_s"]
    # Only llama.cpp's versions take turns.
    slower = "slower" if engine == "llama" else "mixed_slower"
    loads = raw[f"{engine} 16"]["turns"].items()
    return [
        at_least(f"{engine}: decode at 8 at once, over transformers", faster, "x", FASTER),
        at_most(f"{engine}: constraint slows decode by", raw[engine]["constraint"]["slower"], "", CONSTRAINT),
        at_most(f"{engine}: 16 adapters, one in use, slow decode by", loaded, "", ADAPTERS),
        *(at_most(f"{engine}: 16 adapters, {load}, slow calls by", told[slower], "", ADAPTERS) for load, told in loads),
        at_least(f"{engine}: internalised first token sooner", sooner, "x", SOONER),
    ]


def _times(raw: dict[str, Any], over: str, under: str) -> float:
    """How many times as fast, in the median of the rounds."""
    pairs = zip(raw[over], raw[under], strict=True)
    return statistics.median(one["per_cpu_s"] / other["per_cpu_s"] for one, other in pairs)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit code."""
    own = argparse.ArgumentParser(add_help=False)
    own.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "dev")
    own.add_argument("--base", default=bases.DEFAULT)
    own.add_argument("--only", default="", help="first words of the engines' names")
    options, others = own.parse_known_args(arguments)
    run = start("serving", __doc__, others)
    if not (options.data / FILE).exists():
        print(f"Expected {FILE} in {options.data}; name its folder with --data.")
        return 2
    full, internalised, body = prompts_of(runs_of(options.data / FILE), 8 if run.quick else 32)
    base = bases.resolve(options.base)
    with tempfile.TemporaryDirectory() as root:
        adapter = write_adapter(Path(root) / "student", base.gguf, run.seed)
        tasks = dict(tasks_of(run, base, adapter, (full, internalised), grammar_for(body["tools"]) or ""))
        only = options.only.split(",") if options.only else ["torch", "llama", "generate", "reference"]
        chosen = {name: task for name, task in tasks.items() if name.split()[0] in only}
        raw = measure(chosen, 1 if run.quick else ROUNDS, measured)
    return finish(run, bars_of(raw), raw, ["xllamacpp", "torch", "transformers", "peft"])


if __name__ == "__main__":
    sys.exit(main())
