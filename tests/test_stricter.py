"""The guard of the threshold that a version may return to."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tutelage.proxy.guard import Guard
from tutelage.proxy.stricter import Stricter

ITEMS = st.lists(st.tuples(st.floats(-3, 0), st.sampled_from([0.0, 0.0, 1.0])), max_size=4)


def watched(**fields: object) -> Stricter:
    return msgspec.structs.replace(Stricter(threshold=-1.0, guard=Guard(epsilon=0.05)), **fields)


@given(st.lists(ITEMS, max_size=40), st.sampled_from(["mean", "max"]))
def test_it_is_the_guard_of_a_version_that_never_served_more(
    sessions: list[list[tuple[float, float]]], how: str
) -> None:
    seen, guard = watched(how=how), Guard(epsilon=0.05)
    for items in sessions:
        seen = seen.update(items)
        losses = [loss for score, loss in items if score >= -1.0]
        if losses:
            guard = guard.update(max(losses) if how == "max" else min(sum(losses) / len(losses), 1.0))
    assert seen.guard.n == guard.n
    assert abs(seen.guard.m - guard.m) <= 1e-9 * max(guard.m, 1.0)
    assert msgspec.json.decode(msgspec.json.encode(seen), type=Stricter) == seen


def test_losses_below_the_threshold_leave_it_calm() -> None:
    seen = watched()
    for _ in range(60):
        seen = seen.update([(-0.5, 0.0), (-2.0, 1.0)])
    assert (seen.calm, seen.guard.total) == (True, 0.0)


def test_a_loss_above_it_is_a_doubt_and_many_are_an_alarm() -> None:
    seen = watched()
    for _ in range(60):
        seen = seen.update([(-0.5, 0.0)])
    assert not seen.update([(-0.5, 1.0)]).calm
    for _ in range(20):
        seen = seen.update([(-0.5, 1.0)])
    assert seen.guard.alarmed
    assert not seen.calm
