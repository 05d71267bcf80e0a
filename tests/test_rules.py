"""What the evidence of a state allows, question by question."""

import msgspec
import pytest

from tutelage.proxy.evidence import Served, Shadowed, Trail
from tutelage.proxy.gate import Gate, alpha_for, upper_bound
from tutelage.proxy.guard import Guard
from tutelage.proxy.judged import JudgedGate
from tutelage.proxy.nulls import Nulls
from tutelage.proxy.options import RoutingOptions
from tutelage.proxy.rules import (
    alarm,
    fresh_service,
    fresh_shadow,
    justified,
    next_step,
    proof,
    ready,
    shares,
    worst_case,
)
from tutelage.proxy.states import PatternState
from tutelage.proxy.threshold import CALIBRATION, Ladder

GATE = Gate(epsilon=0.05, alpha=0.03)
CROSSED, FUTILE = GATE.fold([0.0] * 120), GATE.fold([1.0] * 20)
ALARMED = Nulls(guards={"empty:a.b": Guard(epsilon=0.2, alarmed_at=3)})


def shadow(gate: Gate, ladder: Ladder | None = None, **fields: object) -> PatternState:
    bundle = Shadowed(gate=gate, ladder=ladder)
    state = PatternState(state="shadow", student="a@1", k=1, in_shadow=Trail(base=bundle, now=bundle))
    return msgspec.structs.replace(state, **fields)


def serving(gate: Gate, clean: int = 0, guard: Guard | None = None, **fields: object) -> PatternState:
    bundle = Served(canary=gate, guard=guard or Guard(epsilon=0.05), clean=clean)
    state = shadow(fields.pop("proven", GATE), state="canary", in_service=Trail(base=bundle, now=bundle))  # type: ignore[arg-type]
    return msgspec.structs.replace(state, **fields)


def rung(threshold: float, gate: Gate, passed: int) -> Ladder:
    return Ladder(epsilon=0.05, alpha=0.01, n=300, scored=CALIBRATION, grid=(threshold,), gates=(gate,), passed=passed)


def test_a_trial_spends_its_part_of_alpha_once() -> None:
    fields = fresh_shadow(PatternState(), 2)
    bundle = fields["in_shadow"].now
    assert bundle.gate.alpha + bundle.ladder.alpha == pytest.approx(alpha_for(2, 0.05))
    whole = fresh_shadow(PatternState(options=RoutingOptions(confidence_alpha=0.0)), 2)["in_shadow"].now
    assert (whole.ladder, whole.gate.alpha) == (None, alpha_for(2, 0.05))


def test_a_canary_begins_with_what_shadow_has_learned_and_without_evidence() -> None:
    canary = fresh_service(shadow(CROSSED))["in_service"].now.canary
    assert (canary.n, canary.weights) == (0, CROSSED.learned())
    part = shadow(GATE, rung(-0.1, CROSSED, 1), threshold=-0.1)
    assert fresh_service(part)["in_service"].now.canary.weights == CROSSED.learned()


def test_what_shadow_has_proven() -> None:
    assert ready(shadow(GATE)) is None
    assert ready(shadow(CROSSED)) == (None, True)
    assert ready(shadow(FUTILE, rung(-0.1, CROSSED, 1))) == (-0.1, True)
    assert ready(shadow(CROSSED, rung(-0.1, CROSSED, 1))) == (None, True)  # the whole is better than a part


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (shadow(GATE), ""),
        (shadow(FUTILE), "futile"),
        (shadow(FUTILE, Ladder(epsilon=0.05, alpha=0.01, scored=3)), ""),
        (serving(GATE), ""),
        (serving(FUTILE), "futile"),
        (serving(FUTILE, state="live"), ""),
        (serving(FUTILE, state="live", forced=True), "futile"),
        (serving(GATE, guard=Guard(epsilon=0.05, alarmed_at=9)), "guard"),
        (serving(GATE, invalid=Guard(epsilon=0.01, alarmed_at=9)), "invalid_output"),
        (serving(GATE, silent=50), "no_answer"),
        (serving(GATE, silent=49), ""),
        (shadow(GATE, silent=50), ""),
        (PatternState(), ""),
    ],
)
def test_alarms(state: PatternState, reason: str) -> None:
    assert alarm(state) == reason


def test_null_guards_alarm_in_shadow_and_in_service() -> None:
    seen = Shadowed(gate=GATE, nulls=ALARMED)
    assert alarm(shadow(GATE, in_shadow=Trail(base=seen, now=seen))) == "nulls:empty:a.b"
    served = Served(canary=GATE, guard=Guard(epsilon=0.05), nulls=ALARMED)
    assert alarm(serving(GATE, state="live", in_service=Trail(base=served, now=served))) == "nulls:empty:a.b"


def test_what_proves_a_canary() -> None:
    assert proof(serving(CROSSED)) == "canary_gate_crossed"
    clean = GATE.fold([0.0] * 50)
    assert proof(serving(clean, 50, proven=CROSSED, single_turn=True)) == "carried_over"
    assert proof(serving(clean, 50, proven=CROSSED)) == ""
    assert proof(serving(clean, 49, proven=CROSSED, single_turn=True)) == ""
    assert proof(serving(clean, 50, single_turn=True)) == ""
    assert proof(shadow(CROSSED)) == ""


def test_a_part_is_carried_over_only_where_that_part_is_proven() -> None:
    clean = GATE.fold([0.0] * 50)
    bundle = Shadowed(gate=GATE, ladder=rung(-0.2, CROSSED, 1))
    state = serving(clean, 50, single_turn=True, in_shadow=Trail(base=bundle, now=bundle))
    assert proof(msgspec.structs.replace(state, threshold=-0.2)) == "carried_over"
    assert proof(msgspec.structs.replace(state, threshold=-0.1)) == "carried_over"
    assert proof(msgspec.structs.replace(state, threshold=-0.3)) == ""
    assert proof(msgspec.structs.replace(state, threshold=None)) == ""


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
    ("clean", "on_step", "step"), [(4, 4, 0), (30, 4, 0), (30, 5, 2), (60, 60, 5), (70, 5, 5), (500, 500, 8)]
)
def test_steps_follow_the_cap(clean: int, on_step: int, step: int) -> None:
    assert next_step(serving(GATE.fold([0.0] * clean), step_sessions=on_step)) == step


def test_a_share_never_falls_and_needs_a_fortune() -> None:
    lost = GATE.fold([1.0, *[0.0] * 20])
    assert lost.log_wealth < 0
    assert next_step(serving(lost, step=2, step_sessions=30)) == 2
    tight = RoutingOptions(exposure_share=0.1)
    assert next_step(serving(GATE.fold([0.0] * 100), step_sessions=100, options=tight)) == 0


def test_shares_of_each_state() -> None:
    assert shares(shadow(GATE)) == (0.0, 1.0, 0.0)
    assert shares(serving(GATE, share=0.4)) == (0.4, 0.0, 1.0)
    live = serving(GATE, state="live")
    assert shares(live).audit == 0.02
    assert shares(msgspec.structs.replace(live, warned=True)).audit == 1.0
    assert shares(msgspec.structs.replace(live, forced=True)).audit == 1.0
    assert shares(serving(GATE, state="blocked")) == (0.0, 0.02, 0.0)
    assert shares(serving(GATE, state="off", share=0.4)) == (0.0, 0.0, 0.0)


def test_a_judges_word_must_be_proven_too() -> None:
    open_, passed = JudgedGate.begin(0.05, 0.03), JudgedGate.begin(0.05, 0.03)
    for _ in range(400):
        passed = passed.judge(0.0).review(0.0)
    assert (open_.crossed, passed.crossed) == (False, True)
    assert ready(shadow(CROSSED, judged=open_)) is None
    assert ready(shadow(CROSSED, judged=passed)) == (None, True)
    assert proof(serving(CROSSED, judged=open_)) == ""
    assert proof(serving(CROSSED, judged=passed)) == "canary_gate_crossed"
    assert fresh_service(shadow(CROSSED, judged=passed))["judged"] is None
    assert fresh_shadow(shadow(CROSSED, judged=passed), 2)["judged"] is None
