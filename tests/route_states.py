"""Routing states made by hand, for the tests of the rules."""

import msgspec

from tutelage.proxy.evidence import Served, Shadowed, Trail
from tutelage.proxy.gate import Gate
from tutelage.proxy.guard import Guard
from tutelage.proxy.states import PatternState
from tutelage.proxy.threshold import CALIBRATION, Ladder

GATE = Gate(epsilon=0.05, alpha=0.03)
CROSSED, FUTILE = GATE.fold([0.0] * 120), GATE.fold([1.0] * 20)


def shadow(gate: Gate, ladder: Ladder | None = None, **fields: object) -> PatternState:
    """In shadow, with what its gates have heard."""
    bundle = Shadowed(gate=gate, ladder=ladder)
    state = PatternState(state="shadow", student="a@1", k=1, in_shadow=Trail(base=bundle, now=bundle))
    return msgspec.structs.replace(state, **fields)


def serving(gate: Gate, clean: int = 0, guard: Guard | None = None, **fields: object) -> PatternState:
    """In canary; `proven` is the gate of shadow."""
    bundle = Served(canary=gate, guard=guard or Guard(epsilon=0.05), clean=clean)
    state = shadow(fields.pop("proven", GATE), state="canary", in_service=Trail(base=bundle, now=bundle))  # type: ignore[arg-type]
    return msgspec.structs.replace(state, **fields)


def rung(threshold: float, gate: Gate, passed: int) -> Ladder:
    """A ladder of one threshold."""
    return Ladder(epsilon=0.05, alpha=0.01, n=300, scored=CALIBRATION, grid=(threshold,), gates=(gate,), passed=passed)
