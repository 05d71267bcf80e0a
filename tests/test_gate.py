"""The gate against closed forms, an independent implementation (`ville`), and its own guarantee."""

import math
import random

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ville import BernoulliCS, BettingTest

from tutelage.proxy.gate import (
    BELIEFS,
    STAKE,
    WEIGHTS,
    Gate,
    alpha_for,
    confidence_sequence,
    session_loss,
    upper_bound,
)

LOSS = st.floats(0, 1, allow_nan=False)
EPSILON = st.floats(0.01, 0.5)


def wealth_by_the_book(losses: list[float], epsilon: float) -> float:
    """docs/guarantees.md, written again as plainly as it stands there."""
    fortune = 0.0
    for belief, part in zip(BELIEFS, WEIGHTS, strict=True):
        for loss in losses:
            part *= 1 + (1 - belief) / (1 - epsilon) * (epsilon - loss)
        fortune += part
    return fortune


def labels_to_promote(epsilon: float, failures: int, alpha: float = 0.05) -> int:
    """Labels needed with that many failures, one every 1/ε labels, beginning with the first."""
    places = {1 + round(j / epsilon) for j in range(failures)}
    gate = Gate(epsilon=epsilon, alpha=alpha)
    while not gate.crossed:
        gate = gate.update(1.0 if gate.n + 1 in places else 0.0)
    return gate.n


@given(st.lists(LOSS, max_size=60), EPSILON)
def test_wealth_is_the_formula(losses: list[float], epsilon: float) -> None:
    gate = Gate(epsilon=epsilon, alpha=0.05).fold(losses)
    assert gate.log_wealth == pytest.approx(math.log(wealth_by_the_book(losses, epsilon)), abs=1e-9)
    assert gate.n == len(losses)


@given(st.lists(LOSS, max_size=40), EPSILON)
def test_at_the_limit_the_bets_are_fair(losses: list[float], epsilon: float) -> None:
    """With risk ε, the expected fortune after the next session is today's: for both bettors, after any past."""
    gate = Gate(epsilon=epsilon, alpha=0.05).fold(losses)
    good, bad = gate.update(0.0), gate.update(1.0)

    def mean(after_bad: float, after_good: float) -> float:
        return epsilon * math.exp(after_bad) + (1 - epsilon) * math.exp(after_good)

    assert mean(bad.log_wealth, good.log_wealth) == pytest.approx(math.exp(gate.log_wealth), rel=1e-9)
    assert mean(bad.log_futility, good.log_futility) == pytest.approx(math.exp(gate.log_futility), rel=1e-9)


@given(st.lists(LOSS, max_size=40), EPSILON, LOSS)
def test_no_session_takes_everything(losses: list[float], epsilon: float, loss: float) -> None:
    gate = Gate(epsilon=epsilon, alpha=0.05).fold(losses)
    after = gate.update(loss)
    assert after.log_wealth - gate.log_wealth >= math.log(min(BELIEFS)) - 1e-12
    assert after.log_futility - gate.log_futility >= math.log(1 - STAKE) - 1e-12


@given(st.lists(LOSS, max_size=40), st.randoms())
def test_the_order_of_the_sessions_does_not_matter(losses: list[float], rng: random.Random) -> None:
    shuffled = rng.sample(losses, len(losses))
    one, other = (Gate(epsilon=0.05, alpha=0.05).fold(order) for order in (losses, shuffled))
    assert one.log_wealth == pytest.approx(other.log_wealth, abs=1e-9)


@given(st.lists(st.sampled_from([0.0, 0.0, 1.0]), max_size=60), st.lists(LOSS, max_size=30))
def test_weights_learned_elsewhere_are_a_fair_beginning(seen: list[float], losses: list[float]) -> None:
    """They sum to 1, so the fortune begins at 1; a part of it is spread as before, which bounds what a change costs."""
    learned = Gate(epsilon=0.05, alpha=0.05).fold(seen).learned()
    assert math.fsum(learned) == pytest.approx(1)
    fresh, taught = Gate(epsilon=0.05, alpha=0.05), Gate(epsilon=0.05, alpha=0.05, weights=learned)
    assert taught.fold(losses).log_wealth >= fresh.fold(losses).log_wealth + math.log(0.25) - 1e-9


@given(st.lists(LOSS, max_size=40), LOSS, LOSS)
def test_a_smaller_loss_is_never_worse(losses: list[float], one: float, other: float) -> None:
    gate = Gate(epsilon=0.05, alpha=0.05).fold(losses)
    assert gate.update(min(one, other)).log_wealth >= gate.update(max(one, other)).log_wealth


@pytest.mark.parametrize(
    ("epsilon", "labels"), [(0.02, (198, 329, 439, 704)), (0.05, (78, 130, 174, 279)), (0.10, (38, 64, 85, 137))]
)
def test_labels_needed_with_0_1_2_5_failures(epsilon: float, labels: tuple[int, ...]) -> None:
    """The table in docs/guarantees.md."""
    assert tuple(labels_to_promote(epsilon, failures) for failures in (0, 1, 2, 5)) == labels


@pytest.mark.parametrize("epsilon", [0.02, 0.05, 0.10])
def test_labels_without_failure_in_closed_form(epsilon: float) -> None:
    """n clean sessions make Σ w ((1 − ρε)/(1 − ε))^n of the fortune."""
    n = Gate(epsilon=epsilon, alpha=0.05).clean_needed()

    def fortune(n: int) -> float:
        return sum(w * ((1 - r * epsilon) / (1 - epsilon)) ** n for r, w in zip(BELIEFS, WEIGHTS, strict=True))

    assert fortune(n - 1) < 20 <= fortune(n)


@pytest.mark.parametrize("risk", [0.0, 0.01, 0.02, 0.03])
def test_the_expected_sessions_are_about_what_it_takes(risk: float) -> None:
    """After 60 sessions the forecast is near the mean of what follows at that risk."""
    rng = random.Random(3)
    begun = Gate(epsilon=0.05, alpha=0.03).fold([float(i in range(round(60 * risk))) for i in range(60)])
    told, took = begun.expected_more(), []
    for _ in range(120):
        gate = begun
        while not gate.crossed:
            gate = gate.update(float(rng.random() < (begun.total + 0.5) / 80))
        took.append(gate.n - 60)
    assert told is not None
    assert told == pytest.approx(sum(took) / len(took), rel=0.35)


def test_a_proof_that_would_not_come_is_not_promised() -> None:
    assert Gate(epsilon=0.05, alpha=0.05).fold([1.0, 0.0] * 20).expected_more() is None
    assert Gate(epsilon=0.05, alpha=0.05).fold([0.0] * 100).expected_more() == 0


@given(st.integers(0, 20), st.integers(1, 300))
def test_the_upper_bound_is_the_limit_that_the_gate_itself_disproves(losses: int, successes: int) -> None:
    bound = upper_bound(losses, successes, 0.05)
    for limit, disproved in ((bound * 1.001 + 1e-9, True), (bound * 0.999, False)):
        if 0 < limit < 1:
            gate = Gate(epsilon=limit, alpha=0.05).fold([1.0] * losses + [0.0] * successes)
            assert (gate.log_wealth >= gate.needed) == disproved
    assert bound <= confidence_sequence(losses, successes).high + 0.05


@given(st.lists(LOSS, min_size=1, max_size=40))
def test_the_upper_bound_is_cautious_with_losses_between_0_and_1(losses: list[float]) -> None:
    bound = upper_bound(sum(losses), len(losses) - sum(losses), 0.05)
    if 0 < bound < 0.99:
        assert Gate(epsilon=min(bound * 1.001 + 1e-9, 0.999), alpha=0.05).fold(losses).log_wealth >= math.log(20) - 1e-6


def test_a_crossing_is_kept_and_names_its_session() -> None:
    first = Gate(epsilon=0.05, alpha=0.05).clean_needed()
    gate = Gate(epsilon=0.05, alpha=0.05).fold([0.0] * first)
    assert gate.crossed_at == first
    worse = gate.fold([1.0] * 20)
    assert worse.crossed_at == first
    assert worse.log_wealth < worse.needed


def test_a_bad_student_is_futile_and_a_good_one_is_not() -> None:
    bad = Gate(epsilon=0.05, alpha=0.05).fold([1.0, 0.0] * 20)
    assert bad.futile
    assert not bad.crossed
    assert not Gate(epsilon=0.05, alpha=0.05).fold([0.0] * 500).futile


@given(st.integers(1, 400), st.floats(0.001, 0.5))
def test_spent_alphas_stay_within_alpha(k: int, alpha: float) -> None:
    assert sum(alpha_for(i, alpha) for i in range(1, k + 1)) <= alpha
    assert alpha_for(k, alpha) > alpha_for(k + 1, alpha)


def test_alpha_of_the_first_trials() -> None:
    assert alpha_for(1, 0.05) == pytest.approx(0.0303964, abs=1e-7)
    assert alpha_for(2, 0.05) == pytest.approx(alpha_for(1, 0.05) / 4)
    with pytest.raises(ValueError, match="counted from 1"):
        alpha_for(0, 0.05)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=200), st.sampled_from([0.01, 0.05, 0.2]))
def test_confidence_sequence_is_that_of_ville(losses: list[float], alpha: float) -> None:
    oracle = BernoulliCS(alpha=alpha, prior=(0.5, 0.5), intersect=False)
    with np.errstate(all="ignore"):
        oracle.fit(losses)
    low, high = confidence_sequence(sum(losses), len(losses) - sum(losses), alpha)
    assert (low, high) == pytest.approx(oracle.interval(), abs=1e-6)


@given(st.floats(0, 50), st.floats(0, 500))
def test_confidence_sequence_holds_the_mean(losses: float, successes: float) -> None:
    low, high = confidence_sequence(losses, successes)
    assert 0 <= low <= high <= 1
    if losses + successes > 0:
        assert low - 1e-9 <= losses / (losses + successes) <= high + 1e-9


@pytest.mark.parametrize("epsilon", [0.02, 0.05, 0.10])
def test_no_slower_than_the_general_purpose_bet_of_ville(epsilon: float) -> None:
    """Same test, other stakes: on good students ours, made for small risks, decides about as early or earlier."""
    rng = random.Random(7)
    for risk in (0.0, 0.1 * epsilon, 0.2 * epsilon):
        losses = [float(rng.random() < risk) for _ in range(4_000)]
        theirs = BettingTest(epsilon, alternative="less", alpha=0.05).fit(losses).stopping_time()
        ours = Gate(epsilon=epsilon, alpha=0.05).fold(losses).crossed_at
        assert theirs is not None
        assert 0 < ours <= 1.05 * theirs


def test_confidence_sequence_at_its_ends() -> None:
    assert confidence_sequence(0, 0) == (0, 1)
    assert confidence_sequence(0, 25).low == 0
    assert confidence_sequence(0, 25).high == pytest.approx(0.18723, abs=1e-5)
    assert confidence_sequence(25, 0).high == 1


def test_type_one_error_in_small() -> None:
    """Risk exactly at the limit, a look after every label: at most α promotions, up to Monte-Carlo error."""
    rng = random.Random(5)
    promoted = 0
    for _ in range(300):
        gate = Gate(epsilon=0.2, alpha=0.1)
        while gate.n < 300 and not gate.crossed:
            gate = gate.update(float(rng.random() < 0.2))
        promoted += gate.crossed
    assert promoted / 300 <= 0.1 + 3 * math.sqrt(0.1 * 0.9 / 300)


def test_turns_of_one_session_count_once() -> None:
    assert session_loss([0, 1, 0, 0]) == 0.25
    assert session_loss([0, 1, 0, 0], "max") == 1
    for losses, how in (([], "mean"), ([0.5], "median"), ([1.5], "mean"), ([float("nan")], "max")):
        with pytest.raises(ValueError):
            session_loss(losses, how)


@pytest.mark.parametrize("loss", [-0.01, 1.01, math.nan, math.inf])
def test_only_losses_are_taken(loss: float) -> None:
    with pytest.raises(ValueError, match="loss lies in"):
        Gate(epsilon=0.05, alpha=0.05).update(loss)


@pytest.mark.parametrize("field", ["epsilon", "alpha", "futility_alpha"])
def test_probabilities_are_checked(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        msgspec.convert({"epsilon": 0.05, "alpha": 0.05} | {field: 1.0}, Gate)


@given(st.lists(LOSS, max_size=30))
def test_survives_json_bit_for_bit(losses: list[float]) -> None:
    gate = Gate(epsilon=0.05, alpha=0.03).fold(losses)
    assert msgspec.json.decode(msgspec.json.encode(gate), type=Gate) == gate
