"""What many adapters cost: the same calls for one adapter and for all, through the student server's own schedule.

A call asks for its turn, and is written by the engine when it comes. All clients ask at once; one that has its answer
asks again, for as many calls as each has. Prompts are all different, so that no arm finds anything in a cache.
"""

import asyncio
import random
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from tutelage.serving.schedule import Slots

_COST = 160.0
"""Estimated work of a call, in tokens: a short prompt and an answer."""


@dataclass(frozen=True)
class Load:
    """Who asks how often."""

    clients: int
    calls: int
    """Of each client, one after the other."""


def asked_by(load: Load, adapters: Sequence[str], rng: random.Random) -> list[list[str]]:
    """The adapters that each client asks for: all equally often, in random order."""
    count = load.clients * load.calls
    drawn = [adapters[number % len(adapters)] for number in range(count)]
    rng.shuffle(drawn)
    return [drawn[number :: load.clients] for number in range(load.clients)]


async def served(slots: int, asked: Sequence[Sequence[str]], write: Callable[[str], Any], lanes: bool) -> float:
    """All calls; the longest time that one of them waited for its turn, in seconds."""
    line = Slots(slots, sum(map(len, asked)), (lambda adapter: "engine") if lanes else (lambda adapter: ""))
    loop, waited = asyncio.get_running_loop(), [0.0]
    with ThreadPoolExecutor(slots) as writers:

        async def client(adapters: Sequence[str]) -> None:
            for adapter in adapters:
                came = time.monotonic()
                ticket = line.enter(adapter, _COST)
                try:
                    await ticket.turn
                    waited[0] = max(waited[0], time.monotonic() - came)
                    await loop.run_in_executor(writers, write, adapter)
                finally:
                    line.leave(ticket)

        await asyncio.gather(*map(client, asked))
    return waited[0]


def compared(
    write: Callable[[str], Any],
    adapters: Sequence[str],
    slots: int,
    loads: Sequence[Load],
    cpu_s: Callable[[], float],
    rounds: int = 1,
) -> dict[str, Any]:
    """By load: CPU seconds a call with one adapter, with all of them in turns, and with all but without turns; medians
    of interleaved rounds, and how much less work a second the latter two do."""
    found = {}
    for load in loads:
        costs: dict[str, list[float]] = {"one": [], "turns": [], "mixed": []}
        waits: dict[str, list[float]] = {name: [] for name in costs}
        for number in range(rounds):
            for name in costs:
                asked = asked_by(load, adapters[:1] if name == "one" else adapters, random.Random(number))
                before = cpu_s()
                waits[name].append(asyncio.run(served(slots, asked, write, lanes=name != "mixed")))
                costs[name].append((cpu_s() - before) / (load.clients * load.calls))
        middle = {name: statistics.median(some) for name, some in costs.items()}
        found[f"{load.clients} x {load.calls}"] = {
            **{f"{name}_cpu_s": cost for name, cost in middle.items()},
            "slower": 1 - middle["one"] / middle["turns"],
            "mixed_slower": 1 - middle["one"] / middle["mixed"],
            "longest_wait_s": {name: max(some) for name, some in waits.items()},
            "rounds": costs,
        }
    return found
