"""How well a pattern holds together while its software changes what it may change, and comes apart when it must.

Requests of one recorded agent are varied in one way at a time. What is asked for is a function from requests to ids, so
ours and those of others are held against the same traffic.
"""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

Row = dict[str, Any]
Places = Callable[[Iterable[Row]], list[str | None]]
"""The id of each request once all have been seen; None without."""


def variations(run: Row) -> dict[str, Callable[[int], Row]]:
    """Ways in which one agent's requests differ, each as number of the call → request."""
    lines = run["messages"][0]["content"].split("\n")
    middle = len(lines) // 2

    def request(number: int, inserted: list[str], tools: list[Row] | None = None) -> Row:
        prompt = "\n".join([*lines[:middle], *inserted, *lines[middle:]])
        messages = [{"role": "system", "content": prompt}, {"role": "user", "content": f"question {number}"}]
        return {"messages": messages, "tools": tools or run["tools"]}

    def reordered(number: int) -> Row:
        tools = [dict(reversed(tool.items())) for tool in run["tools"]]
        return request(number, [], random.Random(number).sample(tools, len(tools)))

    def retrieved(number: int) -> Row:
        dice = random.Random(number)
        return request(number, [f"Passage {dice.random()} of the handbook" for _ in range(dice.randint(0, 40))])

    def examples(number: int) -> Row:
        chosen = random.Random(number).sample("ABCDEFGH", 3)
        return request(number, [f"Example {one}: question and answer" for one in chosen])

    return {
        "reordered tools and keys": reordered,
        "a clock": lambda number: request(number, [f"It is {number // 60 % 24:02}:{number % 60:02}."]),
        "retrieved text": retrieved,
        "a line per user": lambda number: request(number, [f"The customer is called Person{number % 40} today."]),
        "rotating examples": examples,
    }


def stability(run: Row, calls: int, places: Places) -> dict[str, float]:
    """For each variation, the share of calls under the most frequent id; and for a prompt edit, the purity."""
    shares: dict[str, float] = {}
    for name, request in variations(run).items():
        found = Counter(place for place in places([request(number) for number in range(calls)]) if place)
        shares[name] = max(found.values(), default=0) / calls
    plain = variations(run)["a clock"]
    edited = [json.loads(json.dumps(plain(number)).replace("policy", "rule")) for number in range(calls)]
    found = places([*(plain(number) for number in range(calls)), *edited])
    groups: dict[str, Counter[bool]] = {}
    for number, place in enumerate(found):
        if place:
            groups.setdefault(place, Counter())[number < calls] += 1
    assigned = sum(group.total() for group in groups.values())
    shares["prompt edit: purity"] = sum(max(group.values()) for group in groups.values()) / (assigned or 1)
    return shares
