"""The evidence of a state as plain JSON values: for the log, the dashboard and the commands."""

import math
from typing import Any

from .gate import Gate
from .guard import Guard
from .noise import NoiseTest
from .states import PatternState


def gate_facts(gate: Gate, alpha: float) -> dict[str, Any]:
    """A gate's numbers."""
    low, high = gate.interval(alpha)
    return {
        "n": gate.n,
        "losses": gate.total,
        "risk": gate.risk,
        "interval": [low, high],
        "wealth": math.exp(min(gate.log_wealth, 700.0)),
        "log_wealth": gate.log_wealth,
        "needed": 1 / gate.alpha,
        "log_needed": gate.needed,
        "futility": math.exp(min(gate.log_futility, 700.0)),
        "futility_needed": 1 / gate.futility_alpha,
        "crossed_at": gate.crossed_at,
    }


def guard_facts(guard: Guard, alpha: float) -> dict[str, Any]:
    """A detector's numbers."""
    low, high = Gate(epsilon=guard.epsilon, alpha=alpha, n=guard.n, total=guard.total).interval(alpha)
    return {
        "n": guard.n,
        "losses": guard.total,
        "risk": guard.total / guard.n if guard.n else None,
        "interval": [low, high],
        "m": guard.m,
        "warn": guard.warns_at,
        "demote": guard.demote,
        "warning": guard.warning,
    }


def noise_facts(test: NoiseTest, alpha: float) -> dict[str, Any]:
    """The numbers of the test against the teacher's second answers; its gate's are about X = (D + 1)/2."""
    return {
        **gate_facts(test.gate, alpha),
        "margin": test.margin,
        "difference": test.mean,
        "disagreement": test.odds / test.n if test.n else None,
        "ceiling": test.ceiling(alpha),
    }


def evidence_of(state: PatternState) -> dict[str, Any]:
    """All numbers of a state."""
    alpha = state.options.alpha
    found: dict[str, Any] = {
        "student": state.student,
        "k": state.k,
        "epsilon": state.epsilon,
        "single_turn": state.single_turn,
        "share": state.share,
        "threshold": state.threshold,
        "stood": state.stood,
        "settled": state.settled,
        "whole": state.whole,
        "clean": state.clean,
        "cooldown": state.cooldown,
        "held": state.held,
        "forced": state.forced,
        "pinned": state.pinned,
        "silent": state.silent,
    }
    for name, gate in (("shadow", state.shadow), ("canary", state.canary)):
        if gate is not None:
            found[name] = gate_facts(gate, alpha)
    for name, guard in (("guard", state.guard), ("invalid", state.invalid)):
        if guard is not None:
            found[name] = guard_facts(guard, alpha)
    if state.in_service and (stricter := state.in_service.now.stricter):
        found["stricter_guard"] = guard_facts(stricter.guard, alpha)
    if state.judged is not None:
        tests = {"flagged": state.judged.flagged, "missed": state.judged.missed}
        found["judged"] = {name: gate_facts(gate, alpha) for name, gate in tests.items()}
    if (seen := state.noise) is not None:
        interval = Gate(epsilon=state.epsilon, alpha=alpha, n=seen.repeats, total=seen.disagreements).interval(alpha)
        found["noise"] = {"n": seen.repeats, "disagreements": seen.disagreements, "interval": list(interval)}
    if state.relative is not None:
        found["relative"] = noise_facts(state.relative, alpha)
    if state.ladder is not None:
        found["thresholds"] = state.ladder.facts()
    for name, trail in (("shadow_nulls", state.in_shadow), ("served_nulls", state.in_service)):
        if trail is not None:
            found[name] = trail.now.nulls.facts()
    return found
