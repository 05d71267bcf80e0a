"""Are agent runs found again when nobody names them? Recorded runs, 50 agents at once, without ids.

    python -m benchmarks.trajectories [--data DIR] [--quick] [--seed N] [--json FILE]

DIR holds `*.jsonl.gz` files in the form of docs/recorded-traffic.md: tau, agentdojo, ha_assist. Each call is written
down as the data plane would: the whole conversation in the request, the session key, no trajectory id, one caller for
all agents. Which of the 50 agents calls next is drawn at random. The records go through ingest in batches of 500, and
what the store says is compared with the recorded ids.

    pair        two calls of one recorded run
    precision   share of the pairs that the store puts into one trajectory, that are pairs
    recall      share of the pairs that the store puts into one trajectory

Two runs open identically when their first requests (messages and tools) are equal: then both begin with the same bytes,
and until their answers differ nothing tells them apart. Three groups of runs, each with a bar; a wrong pair between a
run of the group and any other run counts against it, and a group without pairs is left out:

    alone     no other run of the file has the same first request
    distinct  no other run has the same first request and the same first answer; `alone` is a part of it
    all       every run, without a bar: runs that stay equal beyond their first answer are dealt out by a rule
              (docs/trajectories.md), and those that are equal to the end nobody can tell apart
"""

import argparse
import json
import random
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from tutelage.proxy.identify import session_key
from tutelage.proxy.recorded import RecordedCall, RecordedTrajectory, read_recorded
from tutelage.traffic.ingest import Ingest
from tutelage.traffic.records import CallRecord, encode, new_call_id
from tutelage.traffic.store import Store

from .report import ROOT, Bar, at_least, finish, start

SETS = ("tau", "agentdojo", "ha_assist")
AGENTS = 50
BATCH = 500
BAR = 0.999
CALLER = "0011223344556677"


class Pairs(NamedTuple):
    """Pairs of calls, counted."""

    right: int
    """Of one run, and in one trajectory."""
    found: int
    """In one trajectory."""
    real: int
    """Of one run."""

    @property
    def precision(self) -> float:
        return self.right / self.found if self.found else 1.0

    @property
    def recall(self) -> float:
        return self.right / self.real if self.real else 1.0


def compare(recorded: Mapping[str, int], found: Mapping[str, str], counts: Callable[[int], bool]) -> Pairs:
    """Pairs with at least one call of a run for which `counts` holds.

    `recorded`: number of the run by call id; `found`: trajectory by call id."""
    return Pairs(
        _pairs(recorded, lambda call: (recorded[call], found[call]), counts),
        _pairs(recorded, lambda call: found[call], counts),
        _pairs(recorded, lambda call: recorded[call], counts),
    )


def _pairs(recorded: Mapping[str, int], group: Callable[[str], Any], counts: Callable[[int], bool]) -> int:
    every: Counter[Any] = Counter()
    others: Counter[Any] = Counter()
    for call, run in recorded.items():
        every[group(call)] += 1
        others[group(call)] += not counts(run)
    # All pairs of a group, less those between two calls that do not count.
    return sum(n * (n - 1) // 2 - others[key] * (others[key] - 1) // 2 for key, n in every.items())


def interleaved(runs: Sequence[RecordedTrajectory], chance: random.Random) -> Iterator[tuple[int, CallRecord]]:
    """The calls of all runs with the number of their run, AGENTS of them at a time, ten calls a second."""
    waiting = iter(enumerate(runs))
    active = [(number, run, iter(run.calls)) for number, run in islice(waiting, AGENTS)]
    at = 1_800_000_000.0
    while active:
        place = chance.randrange(len(active))
        number, run, calls = active[place]
        call = next(calls, None)
        if call is None:
            after = next(waiting, None)
            active[place : place + 1] = [] if after is None else [(*after, iter(after[1].calls))]
            continue
        at += 0.1
        yield number, record_of(run, call, at)


def record_of(run: RecordedTrajectory, call: RecordedCall, at: float) -> CallRecord:
    """One recorded call as the data plane would write it down, without any id of the run."""
    request, answer = run.request(call), run.answer(call)
    choice = {"index": 0, "message": answer, "finish_reason": "tool_calls" if answer.get("tool_calls") else "stop"}
    response = {"object": "chat.completion", "model": run.teacher, "choices": [choice]}
    return CallRecord(
        call_id=new_call_id(at),
        started_at=at,
        caller=CALLER,
        session=session_key(CALLER, "", request),
        status=200,
        request=json.dumps(request).encode(),
        response=json.dumps(response).encode(),
        response_type="application/json",
    )


def trajectories_of(records: Sequence[CallRecord], folder: Path) -> dict[str, str]:
    """The trajectory of each call, by call id."""
    with Store(folder / "store.duckdb") as store:
        ingest = Ingest(store)
        for begin in range(0, len(records), BATCH):
            ingest.apply([encode(record) for record in records[begin : begin + BATCH]], {})
        return {str(call): name for call, name in store.rows("SELECT call_id, trajectory_id FROM calls")}


def measure(runs: Sequence[RecordedTrajectory], seed: int) -> dict[str, Any]:
    """All figures of one file."""
    sent = list(interleaved(runs, random.Random(seed)))
    recorded = {record.call_id: number for number, record in sent}
    with tempfile.TemporaryDirectory(prefix="tutelage-trajectories-") as folder:
        found = trajectories_of([record for _, record in sent], Path(folder))
    openings = _repeated(_key(run, run.messages[: run.calls[0].i]) for run in runs)
    exchanges = _repeated(_key(run, run.messages[: run.calls[0].i + 1]) for run in runs)
    groups: dict[str, Callable[[int], bool]] = {
        "alone": lambda run: not openings[run],
        "distinct": lambda run: not exchanges[run],
        "all": lambda run: True,
    }
    figures: dict[str, Any] = {
        "runs": len(runs),
        "calls": len(sent),
        "trajectories": len(set(found.values())),
        "equal_to_the_end": sum(_repeated(_key(run, run.messages) for run in runs)),
    }
    for name, counts in groups.items():
        pairs = compare(recorded, found, counts)
        figures[name] = {
            "runs": sum(map(counts, range(len(runs)))),
            "pairs": pairs.real,
            "precision": pairs.precision,
            "recall": pairs.recall,
        }
    return figures


def _key(run: RecordedTrajectory, messages: Sequence[Any]) -> str:
    return json.dumps([messages, run.tools], sort_keys=True)


def _repeated(keys: Iterable[str]) -> list[bool]:
    """For each key whether it comes more than once."""
    places: dict[str, list[int]] = defaultdict(list)
    for number, key in enumerate(keys):
        places[key].append(number)
    twice = {number for found in places.values() if len(found) > 1 for number in found}
    return [number in twice for number in range(sum(map(len, places.values())))]


def bars_of(name: str, figures: dict[str, Any]) -> list[Bar]:
    """Precision and recall of the groups that have pairs."""
    return [
        at_least(f"{name}, {group} runs: {figure}", figures[group][figure], "", BAR)
        for group in ("alone", "distinct")
        if figures[group]["pairs"]
        for figure in ("precision", "recall")
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit code."""
    own = argparse.ArgumentParser(add_help=False)
    own.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "dev")
    options, others = own.parse_known_args(arguments)
    run = start("trajectories", __doc__, others)
    if not all((options.data / f"{name}.jsonl.gz").exists() for name in SETS):
        print(f"Expected {', '.join(SETS)} (.jsonl.gz) in {options.data}; name their folder with --data.")
        return 2
    raw: dict[str, Any] = {"agents": AGENTS}
    bars: list[Bar] = []
    for name in SETS:
        runs = [one for one in read_recorded(options.data / f"{name}.jsonl.gz") if one.calls]
        random.Random(run.seed).shuffle(runs)
        raw[name] = measure(runs[: 60 if run.quick else None], run.seed)
        print(name, json.dumps(raw[name]))
        bars += bars_of(name, raw[name])
    return finish(run, bars, raw, ["duckdb"])


if __name__ == "__main__":
    sys.exit(main())
