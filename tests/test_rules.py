"""What the evidence of a state allows, question by question."""

import msgspec
import pytest
from route_states import CROSSED, FUTILE, GATE, rung, serving, shadow

from tutelage.proxy.evidence import Served, Shadowed, Trail
from tutelage.proxy.gate import alpha_for
from tutelage.proxy.guard import Guard
from tutelage.proxy.judged import JudgedGate
from tutelage.proxy.nulls import Nulls
from tutelage.proxy.options import RoutingOptions
from tutelage.proxy.rules import (
    alarm,
    fresh_service,
    fresh_shadow,
    proof,
    ready,
)
from tutelage.proxy.states import PatternState
from tutelage.proxy.threshold import Ladder

ALARMED = Nulls(guards={"empty:a.b": Guard(epsilon=0.2, alarmed_at=3)})


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
