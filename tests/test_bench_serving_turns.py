"""The load on many adapters: all are asked for equally often, and the schedule keeps them apart."""

import asyncio
import random
import threading
from collections import Counter

from tutelage.benchmarks.serving_turns import Load, asked_by, compared, served


def test_all_adapters_are_asked_for_equally_often() -> None:
    asked = asked_by(Load(8, 3), ["a", "b", "c"], random.Random(1))
    assert [len(one) for one in asked] == [3] * 8
    assert Counter(adapter for one in asked for adapter in one) == {"a": 8, "b": 8, "c": 8}


def test_in_turns_one_adapter_is_written_at_a_time() -> None:
    inside, seen, lock = Counter[str](), set[frozenset[str]](), threading.Lock()

    def write(adapter: str) -> None:
        with lock:
            inside[adapter] += 1
            seen.add(frozenset(name for name, count in inside.items() if count))
        with lock:
            inside[adapter] -= 1

    waited = asyncio.run(served(4, asked_by(Load(12, 2), ["a", "b", "c"], random.Random(1)), write, lanes=True))
    assert waited >= 0
    assert seen == {frozenset("a"), frozenset("b"), frozenset("c")}


def test_costs_are_compared_call_by_call() -> None:
    used, asked = [0.0], Counter[str]()

    def write(adapter: str) -> None:
        asked[adapter] += 1
        used[0] += 0.5

    found = compared(write, ["a", "b"], 1, [Load(2, 2)], lambda: used[0])
    told = found["2 x 2"]
    assert (told["one_cpu_s"], told["turns_cpu_s"], told["slower"], told["mixed_slower"]) == (0.5, 0.5, 0.0, 0.0)
    assert asked == {"a": 8, "b": 4}
