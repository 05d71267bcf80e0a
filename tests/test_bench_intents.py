"""The intents' benchmark: its figures are what was put in."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from tutelage.benchmarks.intents import main, measure

pytest.importorskip("sklearn", reason="the extra 'intents' is not installed")


def table(texts: Sequence[str]) -> Any:
    vectors = np.array([[1.0, 0.0, 0.1] if "lamp" in text else [0.0, 1.0, 0.1] for text in texts], dtype="float32")
    vectors[:, 2] += [0.01 * (sum(map(ord, text)) % 7) for text in texts]
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def run_of(number: int) -> dict[str, Any]:
    kind = ("lamp", "door")[number % 2]
    messages = [{"role": "system", "content": "S"}, {"role": "user", "content": f"{kind} {number}"}]
    return {"messages": messages, "meta": {"category": kind if number else "door"}, "task_id": "t"}


def test_it_measures_what_it_says() -> None:
    found = measure([run_of(number) for number in range(40)], table)
    assert (found["sessions"], found["texts"], found["labels"], found["intents"]) == (40, 40, 2, 2)
    assert (found["purity"], found["floor"], found["other"], found["kept"]) == (39 / 40, 21 / 40, 0, 1)
    assert 0.5 < found["v"] < 1
    assert 0.5 < found["ari"] < 1


def test_it_says_where_it_looked_for_traffic(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(tmp_path)]) == 2
    assert str(tmp_path) in capsys.readouterr().out
