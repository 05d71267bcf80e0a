"""One engine in a process of its own, measured: `python -m benchmarks.serving_engine` reads a Task as JSON.

All speeds are per second of CPU time, over all threads of the process. That makes runs comparable on a machine that
does other work meanwhile; with N cores and nothing beside it, the speed by the clock is up to N times as much.
"""

import itertools
import os
import random
import resource
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from tutelage.serving.engine import Engine, Generation
from tutelage.serving.hf_engine import HfEngine
from tutelage.serving.llama import LlamaEngine
from tutelage.serving.threads import quiet_threads
from tutelage.serving.torch_engine import TorchEngine

from .serving_turns import Load, compared

_ENDLESS = "root ::= . root"
"""Any text without an end: answers that end sooner would leave the batch, which `generate` is not allowed to either."""


@dataclass
class Task:
    """What to measure on which engine."""

    kind: str
    """`llama`, `torch`, `reference` (transformers, one at a time) or `generate` (transformers' own batches)."""
    weights: str
    """A GGUF for llama, a Hugging Face folder for the others."""
    adapters: list[str]
    """Files or folders; the calls take them in turn."""
    full: list[list[int]]
    internalised: list[list[int]]
    short: list[list[int]]
    """Prompts of some tokens, for what does not depend on them: the constraint and the turns."""
    grammar: str
    tokens: int
    """Written per answer."""
    at_once: list[int]
    threads: int = 0
    slots: int = 8
    written_after: str = "internalised"
    """Behind which prompts tokens are written: `internalised` or `short`."""
    used: int = 0
    """How many of the adapters the calls take in turn; 0: all."""
    loads: list[tuple[int, int]] = field(default_factory=list)
    """For `turns`: clients, and calls of each."""
    parts: list[str] = field(default_factory=lambda: ["first", "decode", "calls", "constraint"])

    @property
    def written(self) -> list[list[int]]:
        """Prompts behind which tokens are written, as many as are ever at once; they may repeat."""
        some: list[list[int]] = getattr(self, self.written_after)
        return [some[number % len(some)] for number in range(max(self.at_once))]


@dataclass(frozen=True)
class Spent:
    """What some calls cost."""

    cpu_s: float
    wall_s: float
    made: list[Generation]

    @property
    def written(self) -> int:
        return sum(one.token_count for one in self.made)

    def per_s(self, count: float) -> dict[str, float]:
        return {"per_cpu_s": count / self.cpu_s, "per_s": count / self.wall_s}


Ask = Callable[[Sequence[int], str, str | None, int], Generation]


def cpu_s() -> float:
    """CPU time of this process so far, all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Bench:
    """The measurements on one engine, through `ask(prompt, adapter, grammar, tokens)`."""

    def __init__(self, task: Task, names: Sequence[str], ask: Ask) -> None:
        self._task, self._names, self._ask = task, names[: task.used] if task.used else names, ask
        # `generate` is given a batch; the engines make their own of the calls that come.
        self._batched = task.kind == "generate"

    def spend(self, prompts: Sequence[Sequence[int]], at_once: int, tokens: int, grammar: str | None = None) -> Spent:
        """All prompts, so many at once."""
        jobs = [(prompt, self._names[number % len(self._names)]) for number, prompt in enumerate(prompts)]
        cpu, began = cpu_s(), time.perf_counter()
        with ThreadPoolExecutor(at_once) as pool:
            made = list(pool.map(lambda job: self._ask(job[0], job[1], grammar, tokens), jobs))
        return Spent(cpu_s() - cpu, time.perf_counter() - began, made)

    def first(self) -> dict[str, Any]:
        """Prompts of both kinds until the first token, one after the other."""
        found: dict[str, Any] = {}
        for kind, prompts in (("full", self._task.full), ("internalised", self._task.internalised)):
            spent = self.spend(prompts, 1, 1)
            read = sum(len(prompt) for prompt in prompts)
            found[kind] = {
                "prompt_tokens": read / len(prompts),
                "cached_tokens": sum(one.cached_tokens for one in spent.made) / len(prompts),
                "first_token_cpu_s": spent.cpu_s / len(prompts),
                "first_token_s": spent.wall_s / len(prompts),
                "prefill": spent.per_s(read),
            }
        return found

    def decode(self) -> dict[str, Any]:
        """Tokens behind prompts that have been read; as many calls as are at once. `generate` makes one call of all."""
        found = {}
        for at_once in self._task.at_once:
            calls = 1 if self._batched else at_once
            prompts = self._task.written[:calls]
            read = self.spend(prompts, calls, 1)
            spent = self.spend(prompts, calls, self._task.tokens, _ENDLESS)
            if self._batched:
                # It keeps no cache between calls: what reading and the first tokens took is taken off.
                cpu, wall = spent.cpu_s - read.cpu_s, spent.wall_s - read.wall_s
                spent = Spent(cpu, wall, [replace(one, token_count=one.token_count - at_once) for one in spent.made])
            found[str(at_once)] = spent.per_s(spent.written) | {"written": spent.written, "read_cpu_s": read.cpu_s}
        return found

    def calls(self) -> dict[str, Any]:
        """Whole answers to internalised prompts."""
        found = {}
        for at_once in self._task.at_once:
            some = self._task.internalised
            prompts = [some[number % len(some)] for number in range(max(at_once, 2))]
            found[str(at_once)] = (spent := self.spend(prompts, at_once, self._task.tokens)).per_s(len(spent.made))
        return found

    def constraint(self, rounds: int = 15) -> dict[str, float]:
        """CPU seconds per token with the grammar and without, in turn."""
        costs: dict[str, list[float]] = {"free": [], "held": []}
        prompts = [self._task.short[number % len(self._task.short)] for number in range(8)]
        self.spend(prompts, 8, 1)
        for _ in range(rounds):
            for name, grammar in (("free", None), ("held", self._task.grammar)):
                spent = self.spend(prompts, 8, self._task.tokens, grammar)
                costs[name].append(spent.cpu_s / max(1, spent.written))
        free, held = (sorted(costs[name])[rounds // 2] for name in ("free", "held"))
        return {"free_cpu_s": free, "held_cpu_s": held, "slower": held / free - 1}

    def turns(self) -> dict[str, Any]:
        """Calls for many adapters through the schedule, beside calls for one."""
        short, fresh = self._task.short, itertools.count()

        def write(adapter: str) -> Generation:
            # The tokens of the short prompts in an order that was never read before.
            number = next(fresh)
            prompt = random.Random(number).sample(short[number % len(short)], len(short[0]))
            return self._ask(prompt, adapter, None, self._task.tokens)

        loads = [Load(*one) for one in self._task.loads]
        return compared(write, self._names, self._task.slots, loads, cpu_s)


def run(task: Task) -> dict[str, Any]:
    """All parts of a task, with start-up and memory."""
    quiet_threads()
    began, cpu = time.perf_counter(), cpu_s()
    adapters = {f"a{number}": Path(path) for number, path in enumerate(task.adapters)}
    ask = _generate(task, adapters) if task.kind == "generate" else _asking(_engine(task, adapters))
    found: dict[str, Any] = {"start_s": time.perf_counter() - began, "start_cpu_s": cpu_s() - cpu}
    bench = Bench(task, list(adapters) or [""], ask)
    bench.spend(task.short[:1], 1, 2)
    for part in task.parts:
        found[part] = getattr(bench, part)()
    return found | {"memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def _engine(task: Task, adapters: dict[str, Path]) -> Engine:
    longest = max(len(prompt) for prompt in (*task.full, *task.internalised, *task.short))
    context = longest + task.tokens + 16
    weights = Path(task.weights)
    if task.kind == "reference":
        return HfEngine(weights, adapters, threads=task.threads, context=context)
    make = {"llama": LlamaEngine, "torch": TorchEngine}[task.kind]
    return make(weights, adapters, slots=task.slots, threads=task.threads, context=context)


def _asking(engine: Engine) -> Ask:
    return lambda prompt, adapter, grammar, tokens: engine.generate(prompt, adapter, grammar, tokens)


def _generate(task: Task, adapters: dict[str, Path]) -> Ask:
    """transformers' own `generate`, all prompts in one batch: that is to it what `at_once` is to the engines."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(task.weights, dtype=torch.float32)
    for name, path in list(adapters.items())[:1]:
        model = PeftModel.from_pretrained(model, str(path), adapter_name=name)
    model.eval()
    longest = max(map(len, task.written))
    # Padded on the left, as a batch of prompts of different lengths must be.
    batch = torch.tensor([[0] * (longest - len(one)) + one for one in task.written])
    mask = torch.tensor([[0] * (longest - len(one)) + [1] * len(one) for one in task.written])

    def ask(prompt: Sequence[int], adapter: str, grammar: str | None, tokens: int) -> Generation:
        with torch.inference_mode():
            made = model.generate(
                input_ids=batch,
                attention_mask=mask,
                max_new_tokens=tokens,
                min_new_tokens=tokens,
                do_sample=False,
                pad_token_id=0,
            )
        return Generation("", made[:, longest:].numel(), int(mask.sum()), 0.0, 0.0, "length")

    return ask


def main() -> None:
    """Measure the task on standard input."""
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    sys.stdout.buffer.write(b"\n" + msgspec.json.encode(run(task)))
    sys.stdout.flush()
    # llama.cpp's threads would keep the process.
    os._exit(0)


if __name__ == "__main__":
    main()
