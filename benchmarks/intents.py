"""Are intents what people mean by them? Groups found by embeddings, against the labels of recorded runs.

    python -m benchmarks.intents [--data DIR] [--quick] [--seed N] [--json FILE]

Needs the extra `intents`, and recorded traffic as `benchmarks.patterns` does. Each part of the traffic (`domain`) is
taken for one pattern; the text of a session is its first user message.

    label      ha_*: category of the device or question; agentdojo_*, tau_*: the task, which is finer than an intent
    purity     share of sessions that carry the most frequent label of their group (`floor`: with all in one group)
    V          harmonic mean of homogeneity and completeness (Rosenberg and Hirschberg 2007)
    ARI        adjusted Rand index: agreement about pairs, 0 for chance
    other      share of sessions that are in no group
    kept       of the sessions of a run over four fifths of them, the share that has the same id after a second run,
               over all and with the first run known

The bar is on `kept` for all parts together: ids that do not last are of no use. The others have no bar, for no label in
these files says what an intent is.
"""

import argparse
import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.distill.intents import Embed, find_intents, minilm
from tutelage.traffic.errors import MissingExtra
from tutelage.traffic.intents import OTHER, Opening

from .patterns import SETS, runs_of
from .report import ROOT, at_least, finish, start

KEPT = 0.9
Row = dict[str, Any]


def parts_of(folder: Path, most: int | None) -> dict[str, list[Row]]:
    """The runs with a user message by domain, at most `most` each."""
    parts: dict[str, list[Row]] = defaultdict(list)
    for name in SETS:
        for run in runs_of(folder / f"{name}.jsonl.gz"):
            if opening_of(run):
                parts[run["domain"]].append(run)
    return {name: list(islice(runs, most)) for name, runs in parts.items()}


def opening_of(run: Row) -> str:
    """The first user message; empty without."""
    return next((str(message["content"]) for message in run["messages"] if message["role"] == "user"), "")


def measure(runs: Sequence[Row], embed: Embed) -> dict[str, Any]:
    """All figures of one part."""
    from sklearn.metrics import adjusted_rand_score, v_measure_score

    openings = [Opening(str(number), opening_of(run)) for number, run in enumerate(runs)]
    labels = [str(run["meta"].get("category") or run["task_id"]) for run in runs]
    texts = list(dict.fromkeys(opening.text for opening in openings))
    began = time.perf_counter()
    known = dict(zip(texts, embed(texts), strict=True))
    seconds = time.perf_counter() - began

    def look_up(wanted: Sequence[str]) -> Any:
        return np.stack([known[text] for text in wanted])

    began = time.perf_counter()
    fresh = find_intents("p", openings, look_up)
    grouping = time.perf_counter() - began
    before = find_intents("p", openings[: len(openings) * 4 // 5], look_up)
    was, now = before.by_session(), find_intents("p", openings, look_up, known=before).by_session()
    found = fresh.by_session()
    groups: dict[str, Counter[str]] = defaultdict(Counter)
    for number, label in enumerate(labels):
        groups[found[str(number)]][label] += 1
    ids = [found[str(number)] for number in range(len(runs))]
    return {
        "sessions": len(runs),
        "texts": len(texts),
        "labels": len(set(labels)),
        "intents": len(fresh.intents),
        "other": ids.count(OTHER) / len(ids),
        "purity": sum(max(group.values()) for group in groups.values()) / len(ids),
        "floor": max(Counter(labels).values()) / len(ids),
        "v": float(v_measure_score(labels, ids)),
        "ari": float(adjusted_rand_score(labels, ids)),
        "kept": sum(now[one] == intent for one, intent in was.items()) / max(1, len(was)),
        "embedding_s": seconds,
        "grouping_s": grouping,
        "largest": [f"{intent.name}: {len(intent.sessions)}" for intent in fresh.intents[:5]],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit code."""
    own = argparse.ArgumentParser(add_help=False)
    own.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "dev")
    options, others = own.parse_known_args(arguments)
    run = start("intents", __doc__, others)
    if not all((options.data / f"{name}.jsonl.gz").exists() for name in SETS):
        print(f"Expected {', '.join(SETS)} (.jsonl.gz) in {options.data}; name their folder with --data.")
        return 2
    try:
        embed = minilm()
    except MissingExtra as error:
        print(error)
        return 2
    raw: dict[str, Any] = {}
    for name, runs in parts_of(options.data, 100 if run.quick else None).items():
        raw[name] = measure(runs, embed)
        print(name, json.dumps(raw[name], ensure_ascii=False))
    sessions = sum(found["sessions"] for found in raw.values())
    kept = sum(found["kept"] * found["sessions"] for found in raw.values()) / sessions
    return finish(run, [at_least("ids kept", kept, "", KEPT)], raw, ["scikit-learn", "transformers", "torch"])


if __name__ == "__main__":
    sys.exit(main())
