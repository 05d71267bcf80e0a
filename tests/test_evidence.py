"""Evidence whose labels change: as if they had been right at once."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.proxy.evidence import KEEP, Heard, Served, Shadowed, Trail, fold
from tutelage.proxy.gate import Gate
from tutelage.proxy.guard import Guard
from tutelage.proxy.threshold import Ladder

GATE = Gate(epsilon=0.1, alpha=0.05)
SHADOWED = Shadowed(gate=GATE, ladder=Ladder(epsilon=0.1, alpha=0.05))
SERVED = Served(canary=GATE, guard=Guard(epsilon=0.1))
LOSS = st.sampled_from([0.0, 0.25, 1.0])


def heard(number: int, loss: float, trial: bool = True) -> Heard:
    return Heard(session=str(number), loss=loss, trial=trial, items=((-0.1, loss),), nulls={"empty:a.b": loss})


def trail(losses: list[float], bundle: Shadowed | Served = SHADOWED) -> Trail:
    found = Trail(base=bundle, now=bundle)
    for number, loss in enumerate(losses):
        found = found.add(heard(number, loss))
    return found


@given(st.lists(LOSS, min_size=1, max_size=40), st.data())
def test_a_changed_loss_is_as_if_it_had_been_heard_so(losses: list[float], data: st.DataObject) -> None:
    place, loss = data.draw(st.integers(0, len(losses) - 1)), data.draw(LOSS)
    for bundle in (SHADOWED, SERVED):
        late = trail(losses, bundle).change(str(place), loss, ((-0.1, loss),), {"empty:a.b": loss})
        assert late == trail([*losses[:place], loss, *losses[place + 1 :]], bundle)


def test_only_the_last_sessions_can_change() -> None:
    found = trail([0.0] * (2 * KEEP + 10))
    assert KEEP <= len(found.sessions) < 2 * KEEP
    assert found.now == fold(found.base, found.sessions)
    assert found.now.gate.n == 2 * KEEP + 10
    assert found.change("3", 1.0, (), {}) is None
    assert found.change(str(2 * KEEP + 9), 1.0, (), {}) is not None
    assert found.change("unheard", 1.0, (), {}) is None


def test_in_live_only_the_guard_listens() -> None:
    served = SERVED.update(heard(1, 1.0, trial=False))
    assert (served.canary, served.clean) == (GATE, 0)
    assert (served.guard.n, served.nulls.guards["empty:a.b"].total) == (1, 1.0)
    assert SERVED.update(heard(1, 0.05)).clean == 1
    assert SERVED.update(heard(1, 0.25)).clean == 0


@pytest.mark.parametrize("bundle", [SHADOWED, SERVED])
def test_a_bare_trail_decides_the_same_and_survives_json(bundle: Shadowed | Served) -> None:
    found = trail([0.0, 1.0, 0.25], bundle)
    assert (found.bare().now, found.bare().sessions) == (found.now, ())
    assert msgspec.json.decode(msgspec.json.encode(found), type=Trail[type(bundle)]) == found
