"""The row of gates: fixed order, accepted answers only, and how often a bad threshold is accepted."""

import math
import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.proxy.gate import Gate
from tutelage.proxy.threshold import CALIBRATION, SHARES, Ladder, accepts, grid_of

ITEMS = st.lists(st.tuples(st.floats(-5, 0), st.sampled_from([0.0, 0.0, 0.0, 1.0])), max_size=4)


def ladder(**fields: object) -> Ladder:
    return msgspec.structs.replace(Ladder(epsilon=0.05, alpha=0.05), **fields)


def calibrated(rng: random.Random) -> Ladder:
    state = ladder()
    for _ in range(CALIBRATION):
        state = state.update([(rng.uniform(-1, 0), 0.0) for _ in range(5)])
    return state


def test_the_grid_comes_from_the_first_scores_and_is_strictest_first() -> None:
    state = calibrated(random.Random(1))
    assert len(state.grid) == len(SHARES) == len(state.gates)
    assert list(state.grid) == sorted(state.grid, reverse=True)
    assert state.scores == ()
    assert all(gate.n == 0 for gate in state.gates)


def test_the_grid_does_not_look_at_losses() -> None:
    rng, other = random.Random(1), ladder()
    for _ in range(CALIBRATION):
        other = other.update([(rng.uniform(-1, 0), 1.0) for _ in range(5)])
    assert other.grid == calibrated(random.Random(1)).grid


@given(st.lists(st.floats(-9, 0), min_size=1, max_size=80))
def test_no_threshold_accepts_everything(scores: list[float]) -> None:
    grid = grid_of(scores)
    assert len(set(grid)) == len(grid)
    assert all(threshold > min(scores) for threshold in grid)


def test_scores_that_are_all_alike_make_no_thresholds() -> None:
    state = ladder()
    for _ in range(CALIBRATION + 50):
        state = state.update([(-0.5, 0.0)])
    assert (state.grid, state.threshold, state.hopeful(1000)) == ((), None, False)


@given(st.lists(ITEMS, max_size=60))
def test_each_gate_hears_the_accepted_answers_alone(sessions: list[list[tuple[float, float]]]) -> None:
    state = begun = calibrated(random.Random(2))
    for items in sessions:
        state = state.update(items)
    for gate, threshold, fresh in zip(state.gates, begun.grid, begun.gates, strict=True):
        by_hand = fresh
        for items in sessions:
            losses = [loss for score, loss in items if score >= threshold]
            if losses and not by_hand.crossed:
                by_hand = by_hand.update(math.fsum(losses) / len(losses))
        assert gate == by_hand
    assert state.n == CALIBRATION + len(sessions)
    assert msgspec.json.decode(msgspec.json.encode(state), type=Ladder) == state


def test_the_loosest_threshold_needs_all_stricter_ones() -> None:
    """A looser gate that has crossed counts for nothing while a stricter one has not."""
    crossed = Gate(epsilon=0.05, alpha=0.05).fold([0.0] * 200)
    waiting = Gate(epsilon=0.05, alpha=0.05)
    state = ladder(scored=CALIBRATION, grid=(-0.1, -0.2), gates=(waiting, crossed))
    assert state.update([(-0.15, 0.0)]).threshold is None
    state = ladder(scored=CALIBRATION, grid=(-0.1, -0.2), gates=(crossed, crossed)).update([(-0.15, 0.0)])
    assert (state.passed, state.threshold, state.rests) == (2, -0.2, True)


def test_it_waits_for_a_looser_threshold_as_long_again() -> None:
    crossed, waiting = Gate(epsilon=0.05, alpha=0.05).fold([0.0] * 200), Gate(epsilon=0.05, alpha=0.05)
    state = ladder(scored=CALIBRATION, n=99, grid=(-0.1, -0.2), gates=(crossed, waiting)).update([(-0.15, 1.0)])
    assert (state.passed, state.passed_at, state.rests) == (1, 100, False)
    for _ in range(100):
        state = state.update([])
    assert state.rests


def test_hope_ends_with_the_strictest_gate_or_with_the_patience() -> None:
    futile = Gate(epsilon=0.05, alpha=0.05).fold([1.0] * 20)
    assert not ladder().hopeful(100)  # no score seen
    assert ladder(scored=5).hopeful(100)
    assert not ladder(scored=5, n=100).hopeful(100)
    assert not ladder(scored=CALIBRATION, grid=(-0.1,), gates=(futile,)).hopeful(100)
    assert ladder(scored=CALIBRATION, n=500, passed=1, grid=(-0.1,), gates=(futile,)).hopeful(100)


def test_false_acceptance_over_the_whole_row_stays_within_alpha() -> None:
    """Risk at the limit above every threshold, a look after every session: at most α, up to Monte-Carlo error."""
    rng, accepted, runs = random.Random(11), 0, 150
    for _ in range(runs):
        state = msgspec.structs.replace(
            ladder(epsilon=0.2, alpha=0.1, scored=CALIBRATION),
            grid=(-0.3, -0.6),
            gates=(Gate(epsilon=0.2, alpha=0.1),) * 2,
        )
        for _ in range(150):
            state = state.update([(rng.uniform(-0.6, 0), float(rng.random() < 0.2))])
        accepted += state.passed > 0
    assert accepted / runs <= 0.1 + 3 * math.sqrt(0.1 * 0.9 / runs)


@pytest.mark.parametrize(
    ("threshold", "score", "served"),
    [
        (None, None, True),
        (None, -9.0, True),
        (-1.0, -0.5, True),
        (-1.0, -1.0, True),
        (-1.0, -1.1, False),
        (-1.0, None, False),
        (-1.0, math.nan, False),
    ],
)
def test_what_may_be_served(threshold: float | None, score: float | None, served: bool) -> None:
    assert accepts(threshold, score) is served


def test_facts_are_plain_json() -> None:
    facts = calibrated(random.Random(3)).update([(-0.01, 1.0)]).facts()
    assert msgspec.json.decode(msgspec.json.encode(facts)) == facts
    assert facts["rungs"][0]["risk"] == 1.0
