import json
from typing import Any

import pytest

from benchmarks.train import bars_of, made_up
from benchmarks.train_arm import Job, pairs_of, trajectory_of
from tutelage.distill.rows import MASKED, rows_of
from tutelage.traffic.students import PromptSpec

FULL = PromptSpec(mode="full")


def tokenise(text: str) -> list[int]:
    return list(text.encode())


def arm(trained: float, cpu: float, peak: float) -> dict[str, float]:
    return {"trained": trained, "cpu_seconds": cpu, "peak_mib": peak}


def test_both_sides_train_the_same_words():
    """What trl is given as completions is what our rows train; only how often the prompts are read differs."""
    for session in made_up(2):
        item = trajectory_of(session)
        pairs = pairs_of(item, FULL)
        row = rows_of([item], FULL, tokenise, 1_000_000).rows[0]
        trained = bytes(label for label in row.labels if label != MASKED).decode()
        assert trained == "".join(pair["completion"] for pair in pairs)
        whole = bytes(row.input_ids).decode()
        assert all(whole.startswith(pair["prompt"] + pair["completion"]) for pair in pairs)


def test_figures_are_medians_of_rounds_taken_in_turns():
    rounds = [
        {"trl": arm(100, 10, 1000), "full": arm(100, speed, 1100), "internalised": arm(100, 1, 900)}
        for speed in (2, 2.5, 5)
    ]
    bars = {bar.name: bar for bar in bars_of(rounds)}
    values = [bar.value for bar in bars.values()]
    assert values == pytest.approx([4.0, 10.0, 1.1, 0.9, 1.0, 2.5])
    assert all(bar.ok for bar in bars.values())
    slow: list[dict[str, Any]] = [{**rounds[0], "full": arm(90, 4, 1300)}]
    assert [bar.ok for bar in bars_of(slow)] == [False, True, False, True, False, True]
    assert len(bars_of(slow, quick=True)) == 5


def test_a_job_survives_its_file():
    job = Job("full", "base", made_up(1), ["You work."], 1, 1)
    again = Job(**json.loads(json.dumps(job.__dict__)))
    assert again == job
    assert (again.options.epochs, again.options.checkpoint_s) == (1, 0)
