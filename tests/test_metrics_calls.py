"""What is counted of calls and labels, and that no agent can make the series grow without end."""

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.proxy.metrics_calls import MEANS_S, MODELS, OTHER, UNKNOWN, CallMetrics, Histogram, Names
from tutelage.proxy.options import Price
from tutelage.proxy.shadow import Label, Task

PRICES = {"big": Price(2.0, 8.0), "student": Price(0.1, 0.1)}
COLUMNS: dict[str, Any] = {
    "route": "teacher",
    "reason": "observe",
    "model": "big",
    "pattern_id": "p_1",
    "status": 200,
    "stream": False,
    "fallback": "",
    "student": "",
    "first_byte_ms": 400.0,
    "latency_ms": 400.0,
    "prompt_tokens": 1000,
    "completion_tokens": 100,
}


class World:
    """Metrics with a clock, and a teacher whose mean call is known."""

    now = 0.0
    asked = 0

    def __init__(self, patterns: int = 2) -> None:
        self.metrics = CallMetrics(PRICES, self.means, lambda: self.now, patterns)

    def means(self) -> dict[str, dict[str, Any]]:
        self.asked += 1
        return {"p_1": {"model": "big", "prompt": 2000.0, "completion": 50.0}}

    def play(self, *rows: dict[str, Any]) -> CallMetrics:
        full = [COLUMNS | row for row in rows]
        self.metrics.calls(pa.table({name: [row[name] for row in full] for name in COLUMNS}))
        return self.metrics


def test_a_call_is_counted_where_it_belongs() -> None:
    counted = World().play({}, {"status": 429, "model": "big", "prompt_tokens": None, "completion_tokens": None})
    assert counted.requests.sums == {
        ("teacher", "big", "p_1", "200"): 1,
        ("teacher", "big", "p_1", "429"): 1,
    }
    assert counted.tokens.sums["teacher", "input"] == 1000
    assert counted.tokens.sums["teacher", "output"] == 100
    assert counted.cost.sums["teacher",] == pytest.approx(1000 * 2e-6 + 100 * 8e-6)
    assert not counted.unpriced.sums
    # An answer in one piece has no first token to speak of.
    assert counted.first_token.steps == {}
    assert sum(counted.duration.steps["teacher",][:-1]) == 2


def test_a_streamed_call_has_a_first_token() -> None:
    counted = World().play({"stream": True, "first_byte_ms": 90.0})
    assert counted.first_token.steps["teacher",][-1] == pytest.approx(0.09)


def test_what_a_student_spares_is_the_teachers_mean_call() -> None:
    world = World()
    served = {"route": "student", "model": "s@1", "student": "s@1", "prompt_tokens": 10, "completion_tokens": 10}
    counted = world.play(served, served, {**served, "pattern_id": "p_9"})
    assert counted.saved.sums[()] == pytest.approx(2 * (2000 * 2e-6 + 50 * 8e-6))
    assert counted.cost.sums["student",] == pytest.approx(3 * 20 * 0.1e-6)
    assert world.asked == 1
    world.now += MEANS_S
    world.play(served)
    assert world.asked == 2


def test_a_model_without_a_price_is_said_and_not_free() -> None:
    counted = World().play({"model": "nobody-knows-it"}, {"prompt_tokens": None, "completion_tokens": None})
    assert counted.unpriced.sums == {("teacher",): 2}
    assert counted.cost.sums["teacher",] == 0


def test_a_fallback_is_counted_by_its_reason() -> None:
    counted = World().play({"fallback": "student_timeout", "student": "s@1"})
    assert counted.fallbacks.sums == {("student_timeout",): 1}


@pytest.mark.parametrize("reason", ["imported", "recorded", "recorded:plugin:langchain"])
def test_calls_made_elsewhere_are_in_no_other_metric(reason: str) -> None:
    counted = World().play({"reason": reason})
    assert counted.recorded.sums == {(reason.partition(":")[0],): 1}
    assert not counted.requests.sums
    assert not counted.duration.steps
    assert counted.tokens.sums["teacher", "input"] == 0


def test_invented_models_and_further_patterns_share_one_label() -> None:
    world = World(patterns=2)
    counted = world.play(*({"model": f"invented-{n}", "status": 404} for n in range(500)))
    assert {key[1] for key in counted.requests.sums} == {OTHER}
    counted = world.play(*({"model": f"m-{n}", "pattern_id": f"p_{n}"} for n in range(100)))
    assert len({key[1] for key in counted.requests.sums}) <= MODELS + 1
    assert {key[2] for key in counted.requests.sums} == {"p_1", "p_0", OTHER}


@given(st.lists(st.one_of(st.none(), st.text(max_size=3)), max_size=60), st.integers(0, 5))
def test_a_label_never_has_more_values_than_it_may(names: list[str | None], limit: int) -> None:
    label = Names(limit)
    given = [label.of(name) for name in names]
    assert len(set(given) - {OTHER, UNKNOWN}) <= limit
    # A name keeps the label that it got first, unless that was `other`.
    assert [label.of(name) for name in names] == given or limit == 0 or OTHER in given
    assert all(found in (name, OTHER, UNKNOWN) for name, found in zip(names, given, strict=True))


@given(st.lists(st.floats(0, 1000)))
def test_every_value_lies_in_one_step(values: list[float]) -> None:
    histogram = Histogram((0.5, 1.0, 10.0))
    for value in values:
        histogram.note((), value)
    steps = histogram.steps.get((), [0.0] * 5)
    assert steps[:-1] == [
        sum(value <= 0.5 for value in values),
        sum(0.5 < value <= 1.0 for value in values),
        sum(1.0 < value <= 10.0 for value in values),
        sum(value > 10.0 for value in values),
    ]
    assert steps[-1] == pytest.approx(sum(values))


def label(kind: str = "shadow", loss: float = 0.0, **fields: Any) -> Label:
    task = Task(kind, "c1", "p_1", "t1", "s@1", {"model": "big"}, {"content": "hi"})
    return Label(task, loss, "same", 1, {"content": "hi"}, 1.0, 5.0, (100, 10), **fields)


def test_labels_are_counted_with_what_they_cost() -> None:
    counted = World().metrics
    for one in (label(), label(loss=1.0), label(loss=1.0, waits=True), label("audit")):
        counted.label(one)
    assert counted.pairs.sums == {
        ("p_1", "shadow", "same"): 1,
        ("p_1", "shadow", "different"): 1,
        ("p_1", "shadow", "unsure"): 1,
        ("p_1", "audit", "same"): 1,
    }
    assert counted.cost.sums["audit",] == pytest.approx(100 * 2e-6 + 10 * 8e-6)
    assert counted.cost.sums["shadow",] == pytest.approx(3 * 110 * 0.1e-6)
