"""The guard: quick after a jump, quiet while all is well."""

import random
import statistics
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.proxy.guard import CALM, Guard, invalid_detector

LOSS = st.floats(0, 1)


def labels_to_demote(rng: random.Random, before: int, healthy: float, risk: float) -> int:
    """Labels from the jump to the alarm; negative when the alarm came before it."""
    guard = Guard(epsilon=0.05)
    while not guard.alarmed:
        guard = guard.update(float(rng.random() < (healthy if guard.n < before else risk)))
    return guard.n - before


def by_the_book(losses: list[float], epsilon: float) -> float:
    sums = dict.fromkeys((2, 4, 8), 0.0)
    for loss in losses:
        for multiple in sums:
            q = multiple * epsilon
            sums[multiple] = (sums[multiple] + 1) * (1 + (q - epsilon) / (epsilon * (1 - epsilon)) * (loss - epsilon))
    return sum(sums.values()) / 3


@given(st.lists(LOSS, max_size=60), st.floats(0.005, 0.12))
def test_m_is_the_formula(losses: list[float], epsilon: float) -> None:
    guard = Guard(epsilon=epsilon)
    for loss in losses:
        guard = guard.update(loss)
    assert guard.m == pytest.approx(by_the_book(losses, epsilon), rel=1e-9)


@given(st.lists(LOSS, max_size=40), st.floats(0.005, 0.5))
def test_at_the_limit_m_grows_by_one_a_label_on_average(losses: list[float], epsilon: float) -> None:
    """M − n is a martingale at risk ε: why `demote` labels at least are expected between false alarms."""
    guard = Guard(epsilon=epsilon)
    for loss in losses:
        guard = guard.update(loss)
    expected = epsilon * guard.update(1.0).m + (1 - epsilon) * guard.update(0.0).m
    assert expected == pytest.approx(guard.m + 1, rel=1e-9)
    assert min(guard.parts) >= 0


def test_median_delay_after_a_jump() -> None:
    """Reference: 22 labels in the median after a jump from .025 to .30."""
    rng = random.Random(11)
    delays = [labels_to_demote(rng, 200, 0.025, 0.30) for _ in range(300)]
    assert min(delays) > 0
    assert 19 <= statistics.median(delays) <= 25


def test_false_alarms_when_healthy() -> None:
    """Reference: .3 % false alarms in 5,000 labels at risk ε/2."""
    rng = random.Random(12)
    alarms = 0
    for _ in range(40):
        guard = Guard(epsilon=0.05)
        for _ in range(2_000):
            guard = guard.update(float(rng.random() < 0.025))
        alarms += guard.alarmed
    assert alarms <= 1


def test_a_warning_ends_only_when_it_is_calm() -> None:
    guard = Guard(epsilon=0.05)
    seen = []
    for loss in [1.0, 1.0] + [0.0] * 80:
        guard = guard.update(loss)
        seen.append((guard.warning, guard.m))
    assert [warning for warning, _ in seen[:2]] == [False, True]
    calm = guard.rest + CALM
    first_calm = next(i for i, (warning, _) in enumerate(seen) if i > 1 and not warning)
    assert seen[first_calm][1] < calm
    assert all(m >= calm for _, m in seen[1:first_calm])
    assert any(calm <= m < 30 for _, m in seen[1:first_calm])


@pytest.mark.parametrize(("epsilon", "rest"), [(0.05, 8.349), (0.10, 3.429), (0.01, 47.714)])
def test_faultless_work_settles_and_never_warns(epsilon: float, rest: float) -> None:
    """M without a loss tends to the mean of (1 − q)/(q − ε): above 3, so a warning cannot wait for less than that."""
    guard = Guard(epsilon=epsilon)
    for _ in range(1_500):
        guard = guard.update(0.0)
        assert not guard.warning
    assert guard.rest == pytest.approx(rest, rel=1e-3)
    assert guard.m == pytest.approx(guard.rest, rel=1e-3)


def test_an_alarm_is_kept_and_names_its_label() -> None:
    guard = Guard(epsilon=0.05)
    while not guard.alarmed:
        guard = guard.update(1.0)
    label = guard.n
    for _ in range(200):
        guard = guard.update(0.0)
    assert guard.m < 1e4
    assert guard.alarmed_at == label


@pytest.mark.parametrize("epsilon", [0.10, 0.124, 0.3, 0.5])
def test_large_limits_keep_m_positive(epsilon: float) -> None:
    guard = Guard(epsilon=epsilon)
    for _ in range(100):
        guard = guard.update(0.0)
        assert guard.m >= 0


@given(st.integers(0, 6), st.integers(0, 6))
def test_a_batch_is_the_order_with_the_smallest_m(good: int, bad: int) -> None:
    batch = invalid_detector().batch(good + bad, bad)
    for order in set(permutations([0.0] * min(good, 3) + [1.0] * min(bad, 3))):
        guard = invalid_detector()
        for loss in order:
            guard = guard.update(loss)
        assert invalid_detector().batch(len(order), int(sum(order))).m <= guard.m * (1 + 1e-12)
    assert batch.n == good + bad
    assert batch.total == bad


def test_an_alarm_needs_the_end_of_a_batch() -> None:
    assert not invalid_detector().batch(400, 3).alarmed
    assert invalid_detector().batch(5, 5).alarmed
    with pytest.raises(ValueError, match="cannot be bad"):
        invalid_detector().batch(2, 3)


@pytest.mark.parametrize("loss", [-0.1, 1.1, float("nan")])
def test_only_losses_are_taken(loss: float) -> None:
    with pytest.raises(ValueError, match="loss lies in"):
        Guard(epsilon=0.05).update(loss)
    with pytest.raises(ValueError, match="epsilon"):
        Guard(epsilon=0.0)
