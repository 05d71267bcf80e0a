"""Which share of the sessions a state gives its student."""

import msgspec
import pytest
from route_states import CROSSED, GATE, serving, shadow

from tutelage.proxy.gate import upper_bound
from tutelage.proxy.options import RoutingOptions
from tutelage.proxy.ramp import justified, next_step, shares, worst_case


def test_what_justifies_a_state() -> None:
    assert justified(serving(GATE, proven=CROSSED))
    assert not justified(serving(GATE))
    assert not justified(serving(GATE, proven=CROSSED, state="live"))
    assert justified(serving(CROSSED, state="live"))


def test_the_worst_case_pools_shadow_only_where_the_student_cannot_cause_what_it_is_asked() -> None:
    clean = GATE.fold([0.0] * 20)
    assert worst_case(serving(clean, proven=CROSSED)) == upper_bound(0, 20)
    assert worst_case(serving(clean, proven=CROSSED, single_turn=True)) == upper_bound(0, 140)
    assert worst_case(serving(clean, single_turn=True)) == upper_bound(0, 20)  # nothing is proven there
    assert worst_case(shadow(CROSSED)) == 1.0


@pytest.mark.parametrize(
    ("clean", "on_step", "step"), [(4, 4, 0), (30, 4, 0), (30, 5, 5), (60, 60, 9), (70, 70, 10), (500, 500, 15)]
)
def test_steps_follow_the_cap(clean: int, on_step: int, step: int) -> None:
    assert next_step(serving(GATE.fold([0.0] * clean), step_sessions=on_step)) == step


def test_a_share_never_falls_and_needs_a_fortune() -> None:
    lost = GATE.fold([1.0, *[0.0] * 20])
    assert lost.log_wealth < 0
    assert next_step(serving(lost, step=2, step_sessions=30)) == 2
    assert next_step(serving(GATE.fold([0.0] * 60), step=12)) == 12
    tight = RoutingOptions(exposure_share=0.09)
    assert next_step(serving(GATE.fold([0.0] * 100), step_sessions=100, options=tight)) == 0


def test_shares_of_each_state() -> None:
    assert shares(shadow(GATE)) == (0.0, 1.0, 0.0)
    assert shares(serving(GATE, share=0.4)) == (0.4, 0.0, 1.0)
    live = serving(GATE, state="live")
    assert shares(live).audit == 0.0125
    assert shares(msgspec.structs.replace(live, warned=True)).audit == 1.0
    assert shares(msgspec.structs.replace(live, forced=True)).audit == 1.0
    assert shares(serving(GATE, state="blocked")) == (0.0, 0.02, 0.0)
    assert shares(serving(GATE, state="off", share=0.4)) == (0.0, 0.0, 0.0)
