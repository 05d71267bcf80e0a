"""How well and how fast patterns are found in recorded traffic.

    python -m benchmarks.patterns [--data DIR] [--quick] [--seed N] [--json FILE]

DIR holds `*.jsonl.gz` files in the form of docs/recorded-traffic.md: ha_device_actions, ha_assist, tau, agentdojo.
Every call is fed in the order of the file, as ingest would; a call that waits gets its pattern when it is settled.

    true label    what the sender's software sends: system prompt without the clock and the device list, tool set,
                  and the role of the last message (user turns and tool turns are patterns of their own)
    purity        share of assigned calls whose label is the most frequent one in their pattern
    completeness  share of calls, after the first 30 of their label, that are in their label's largest pattern;
                  a call without a pattern counts as lost
    unassigned    share of all calls that end without a pattern
    patterns      number of ids given
    warm          µs of a request when its prompt's lines and its tools have been seen before
    cold          µs of the first request of a process that knows the patterns but has seen no prompt

Beside ours stand three others on the same calls (`patterns_peers`): sha of prompt, tool names only, and Drain3.

The label is cut by rules written for these files alone; the recogniser knows nothing of them. Purity `by domain` adds
the name of the file's part to the label. In ha_assist three parts use the same prompts and tools, so that no
recogniser that looks at these can reach more than the ceiling printed beside it.
"""

import argparse
import gzip
import json
import random
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tutelage.traffic import facts as request_facts
from tutelage.traffic import skeleton
from tutelage.traffic.discovery import Discovery
from tutelage.traffic.patterns import Registry, facts_of

from .patterns_peers import PEERS, Peer, identified
from .patterns_stability import stability
from .report import ROOT, Bar, at_least, at_most, finish, percentile, start

SETS = ("ha_device_actions", "ha_assist", "tau", "agentdojo")
WARM_UP = 30
Row = dict[str, Any]


@dataclass
class Outcome:
    """One set of traffic after recognition."""

    patterns: int = 0
    agents: int = 0
    rows: list[Row] = field(default_factory=list)
    """Per call: `pattern` (None without), `label`, `domain`, `home`, in order of arrival."""

    def purity(self, label: Callable[[Row], Hashable]) -> float:
        """Share of assigned calls that carry the most frequent label of their pattern."""
        assigned = [row for row in self.rows if row["pattern"]]
        return _majority(assigned, lambda row: row["pattern"], label)

    def ceiling(self, label: Callable[[Row], Hashable]) -> float:
        """The purity of the finest patterns that prompt and tools allow."""
        return _majority(self.rows, lambda row: row["label"], label)

    def completeness(self) -> float:
        """Share of calls after warm-up that are in the largest pattern of their label."""
        seen: Counter[Hashable] = Counter()
        parts: dict[Hashable, Counter[str | None]] = defaultdict(Counter)
        for row in self.rows:
            seen[row["label"]] += 1
            if seen[row["label"]] > WARM_UP:
                parts[row["label"]][row["pattern"]] += 1
        total = sum(part.total() for part in parts.values())
        return sum(max((n for p, n in part.items() if p), default=0) for part in parts.values()) / total

    def unassigned(self) -> float:
        """Share of calls without a pattern."""
        return sum(row["pattern"] is None for row in self.rows) / len(self.rows)


def _majority(rows: list[Row], group: Callable[[Row], Hashable], label: Callable[[Row], Hashable]) -> float:
    groups: dict[Hashable, Counter[Hashable]] = defaultdict(Counter)
    for row in rows:
        groups[group(row)][label(row)] += 1
    return sum(max(counts.values()) for counts in groups.values()) / len(rows) if rows else 1.0


def runs_of(path: Path) -> list[Row]:
    """The recorded agent runs of a file."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def calls_of(runs: list[Row]) -> Iterator[tuple[Row, Row]]:
    """Each call as (run, request body)."""
    for run in runs:
        for call in run["calls"]:
            yield run, {"messages": run["messages"][: call["i"]], "tools": run["tools"]}


def true_label(run: Row, body: Row) -> tuple[str, str, str]:
    """Prompt without clock and devices, tool set, role of the last message."""
    text = body["messages"][0]["content"]
    marker = "devices in this smart home:\n"
    if marker in text:
        head, _, rest = text.partition(marker)
        after_list = rest.rpartition("\n\n")[2] if "\n\n" in rest.rstrip() else ""
        text = head + marker + after_list
    # A clock may stand at the start or at the end: where it stands belongs to the prompt, what it shows does not.
    prompt = "\n".join("<clock>" if line.startswith("Current time is") else line for line in text.strip().split("\n"))
    tools = sorted(json.dumps(tool, sort_keys=True) for tool in body["tools"])
    return prompt, "\n".join(tools), body["messages"][-1]["role"]


def recognise(runs: list[Row]) -> tuple[Outcome, Registry]:
    """Feed all calls in order."""
    registry, outcome = Registry(), Outcome()
    places = _places((body for _, body in calls_of(runs)), registry)
    for place, (run, body) in zip(places, calls_of(runs), strict=True):
        label = hash(true_label(run, body))
        row = {"pattern": place, "label": label, "domain": run["domain"], "home": run["meta"].get("home")}
        outcome.rows.append(row)
    entries = registry.entries()
    outcome.patterns, outcome.agents = len(entries), len({entry.agent_id for entry in entries})
    return outcome, registry


def microseconds(registry: Registry, bodies: list[Row]) -> list[float]:
    """Time of `facts_of` and `identify` for each request; callers see to what is warm."""
    times: list[float] = []
    for body in bodies:
        start = time.perf_counter()
        facts = facts_of(body)
        if facts is not None:
            registry.identify(facts)
        times.append((time.perf_counter() - start) * 1e6)
    return times


def ten_kilobytes(run: Row, number: int) -> Row:
    """A request with a system prompt of 10 KB whose clock, and a few of whose device states, differ each time."""
    head, marker, devices = run["messages"][0]["content"].partition("devices in this smart home:\n")
    lines = (devices * (1 + 10_240 // max(1, len(devices)))).split("\n")
    dice = random.Random(number)
    for index in dice.sample(range(len(lines)), 5):
        lines[index] = lines[index].replace("'on'", "'off'")
    _, _, head = head.partition("\n")
    clock = f"Current time is {number // 60 % 24:02}:{number % 60:02}:00. Today's date is 2024-08-11.\n"
    prompt = (clock + head + marker + "\n".join(lines))[:10_240]
    return {"messages": [{"role": "system", "content": prompt}, run["messages"][1]], "tools": run["tools"]}


def measure_speed(runs: list[Row], registry: Registry, count: int) -> dict[str, float]:
    """Median and 95th percentile in µs over recorded requests, each a fresh object as if just parsed."""
    times: list[float] = []
    for _, body in list(calls_of(runs))[-count:]:
        times += microseconds(registry, [json.loads(json.dumps(body))])
    return {"warm_us": statistics.median(times), "warm_p95_us": percentile(times, 0.95)}


def measure_cold(runs: list[Row], registry: Registry, count: int) -> dict[str, float]:
    """Median in µs of a first request: the patterns are known, but no prompt line and no tool has been seen."""
    bodies = [body for _, body in calls_of(runs[:: max(1, len(runs) // count)])][:count]
    times: list[float] = []
    for body in bodies:
        for cached in (request_facts._reduced, request_facts._tools_in, request_facts._agent_key, request_facts._key):
            cached.cache_clear()
        skeleton._masked.clear()
        times += microseconds(registry, [json.loads(json.dumps(body))])
    return {"cold_us": statistics.median(times), "cold_p95_us": percentile(times, 0.95)}


def peers(runs: list[Row], ours: Outcome) -> dict[str, Any]:
    """The same figures for what others would take for a pattern; `not installed` for one that is missing."""
    found: dict[str, Any] = {}
    for name, make in PEERS.items():
        peer = make()
        if peer is None:
            found[name] = "not installed"
            continue
        ids, times = identified(peer, (body for _, body in calls_of(runs)))
        rows = [{**row, "pattern": place} for row, place in zip(ours.rows, ids, strict=True)]
        outcome = Outcome(len(set(ids)), 0, rows)
        found[name] = {
            "patterns": outcome.patterns,
            "purity": outcome.purity(lambda row: row["label"]),
            "completeness": outcome.completeness(),
            "unassigned": outcome.unassigned(),
            "median_us": statistics.median(times),
        }
    return found


def _ids(make: Callable[[], Peer | None], bodies: Iterable[Row]) -> list[str | None]:
    peer = make()
    return [] if peer is None else [*identified(peer, bodies)[0]]


def measure_large(run: Row, registry: Registry, count: int) -> dict[str, float]:
    """Median and 95th percentile in µs for 10 KB prompts that differ each time, and for one that never does."""
    bodies = [ten_kilobytes(run, number) for number in range(2 * count)]
    microseconds(registry, bodies[:count])
    changing = microseconds(registry, bodies[count:])
    fixed = microseconds(registry, [json.loads(json.dumps(bodies[0])) for _ in range(count)])
    p95 = percentile(changing, 0.95)
    return {"changing_us": statistics.median(changing), "changing_p95_us": p95, "fixed_us": statistics.median(fixed)}


def _figures(outcome: Outcome) -> dict[str, Any]:
    return {
        "calls": len(outcome.rows),
        "labels": len({row["label"] for row in outcome.rows}),
        "patterns": outcome.patterns,
        "agents": outcome.agents,
        "purity": outcome.purity(lambda row: row["label"]),
        "completeness": outcome.completeness(),
        "unassigned": outcome.unassigned(),
        "purity_by_domain": outcome.purity(lambda row: (row["label"], row["domain"])),
        "ceiling_by_domain": outcome.ceiling(lambda row: row["domain"]),
    }


def _places(bodies: Iterable[Row], registry: Registry | None = None) -> list[str | None]:
    """The pattern of each call once all have been seen."""
    discovery = Discovery(registry if registry is not None else Registry())
    places: list[str | None] = []
    for number, body in enumerate(bodies):
        facts = facts_of(body)
        place = discovery.observe(str(number), facts) if facts else None
        places.append(place.pattern_id if place else None)
        for settled in discovery.settled():
            places[int(settled.call_id)] = settled.pattern_id
    return places


def measure(folder: Path, quick: bool, seed: int) -> tuple[list[Bar], dict[str, Any]]:
    """All figures, and the bars they are held against."""
    bars: list[Bar] = []
    raw: dict[str, Any] = {}
    for name in SETS:
        runs = runs_of(folder / f"{name}.jsonl.gz")[: 400 if quick else None]
        outcome, registry = recognise(runs)
        figures = _figures(outcome) | measure_speed(runs, registry, 1_000) | measure_cold(runs, registry, 50)
        figures["others"] = peers(runs, outcome)
        if name == "ha_device_actions":
            figures["purity_by_home"] = outcome.purity(lambda row: row["home"])
            raw["prompt_10_kb"] = measure_large(runs[0], registry, 200 if quick else 1_000)
        random.Random(seed).shuffle(runs)
        figures["shuffled"] = _figures(recognise(runs)[0])
        raw[name] = figures
        for order, values in (("", figures), (", shuffled", figures["shuffled"])):
            bars.append(at_least(f"{name}{order}: purity", values["purity"], "", 0.999))
            bars.append(at_least(f"{name}{order}: completeness", values["completeness"], "", 0.95))
        bars.append(at_most(f"{name}: warm median", figures["warm_us"], "µs", 150))
    for kind in ("changing", "fixed"):
        bars.append(at_most(f"10 KB prompt, {kind}: median", raw["prompt_10_kb"][f"{kind}_us"], "µs", 100))
    one = runs_of(folder / "tau.jsonl.gz")[0]
    raw["stability"] = stability(one, 120, _places)
    raw["stability_of_others"] = {
        name: stability(one, 120, partial(_ids, make)) for name, make in PEERS.items() if make() is not None
    }
    bars += [at_least(f"stable under {name}", share, "", 0.95) for name, share in raw["stability"].items()]
    return bars, raw


def main() -> int:
    """Measure, print and compare."""
    own = argparse.ArgumentParser(add_help=False)
    own.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "dev")
    options, others = own.parse_known_args()
    run = start("patterns", __doc__, others)
    if not all((options.data / f"{name}.jsonl.gz").exists() for name in SETS):
        print(f"Expected {', '.join(SETS)} (.jsonl.gz) in {options.data}; name their folder with --data.")
        return 2
    bars, raw = measure(options.data, run.quick, run.seed)
    for name, figures in raw.items():
        print(name, json.dumps(_short(figures)))
    return finish(run, bars, raw, ["drain3"])


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _short(item) for key, item in value.items()}
    return round(value, 4) if isinstance(value, float) else value


if __name__ == "__main__":
    raise SystemExit(main())
