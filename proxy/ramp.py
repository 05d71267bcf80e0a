"""The ramp: which share of the sessions a state gives its student, and how far the evidence lets it rise.

Before proof, the share times the worst risk that the canary's evidence still allows stays within the exposure cap.
docs/guarantees.md, "The ramp", says why that holds at every look.
"""

from typing import NamedTuple

from msgspec.structs import replace

from .gate import upper_bound
from .loosening import seeking
from .rules import first_share, fresh_service, proof, ready, shadow_gate, shadow_holds
from .states import PatternState

SHADOW_SHARE_BLOCKED = 0.02
"""Share of sessions still shadowed for a blocked version, so that people see whether it stays bad."""


class Shares(NamedTuple):
    """What a state asks of the planes, as shares in [0, 1] of the pattern's sessions."""

    serve: float
    """Served by the student."""
    shadow: float
    """Of those served by the teacher: compared in shadow."""
    audit: float
    """Of those served by the student: compared with the teacher's answer."""


def shares(state: PatternState) -> Shares:
    """What the state asks for."""
    options = state.options
    if state.state == "shadow":
        return Shares(0.0, 1.0, 0.0)
    if state.state == "canary":
        return Shares(state.share, 0.0, 1.0)
    if state.state == "live":
        factor = options.audit_warn_factor if state.warned or state.forced else 1.0
        audits = max(options.audit_share * factor, options.loosen_share * seeking(state))
        return Shares(1.0, 0.0, min(1.0, audits))
    return Shares(0.0, SHADOW_SHARE_BLOCKED if state.state == "blocked" else 0.0, 0.0)


def justified(state: PatternState) -> bool:
    """Whether the evidence goes as far as the state does."""
    return bool(proof(state)) or (
        state.state == "canary" and shadow_holds(state) and state.share <= allowed_share(state)
    )


def worst_case(state: PatternState) -> float:
    """Upper bound of the risk that a canary's share rests on.

    Canary sessions alone; for single-turn patterns, whose student cannot cause what it is asked, shadow's too.
    """
    if state.canary is None:
        return 1.0
    seen = [state.canary]
    if state.single_turn and state.relative is None and shadow_holds(state) and (gate := shadow_gate(state)):
        seen.append(gate)
    losses, n = sum(gate.total for gate in seen), sum(gate.n for gate in seen)
    return upper_bound(losses, n - losses, state.options.alpha)


def next_step(state: PatternState) -> int:
    """The canary step that the evidence allows now: the present one, or the highest at which the worst harm that may
    still be done stays within the exposure cap. The first step rests on the shadow proof alone."""
    options, canary = state.options, state.canary
    if canary is None or canary.log_wealth <= 0 or (not state.step and state.step_sessions < options.ramp_sessions):
        return state.step
    if state.step + 1 >= len(options.ramp):
        return state.step
    worst, cap = worst_case(state), state.epsilon * options.exposure_share
    allowed = [step for step, share in enumerate(options.ramp) if share * worst <= cap]
    return max([state.step, *allowed])


def allowed_share(state: PatternState) -> float:
    """Highest share of the sessions, in [0, 1], that the evidence allows a student to have now: all where a proof
    stands, what the exposure cap leaves in canary, the first step after the proof in shadow, else nothing."""
    if proof(state) or (state.state == "live" and not state.forced):
        return 1.0
    if state.state == "shadow":
        found = ready(state)
        return float(fresh_service(replace(state, threshold=found.threshold))["share"]) if found else 0.0
    if state.state != "canary" or state.canary is None or not shadow_holds(state):
        return 0.0
    first = first_share(state, state.canary.epsilon)
    if state.canary.log_wealth <= 0:
        return first
    return min(1.0, max(first, state.epsilon * state.options.exposure_share / worst_case(state)))
