"""What a state means and what is missing for the next one, in words and numbers for the dashboard and `routes show`."""

from typing import Any

from .machine import shares
from .states import WAITING, PatternState, canary_interval, evidence_of


def explain(state: PatternState) -> dict[str, Any]:
    """State, evidence and what comes next: plain JSON values.

    `n`, `losses`, `risk`, `interval`, `wealth`, `needed` are those of the evidence that counts in this state (shadow,
    canary, or the live audits); the rest stands under `shadow`, `canary`, `guard`, `invalid`.
    """
    found = evidence_of(state)
    now = shares(state)
    found |= {"state": state.state, "serve": now.serve, "shadow_share": now.shadow, "audit_share": now.audit}
    counting = found.get(_counting(state), {})
    for key in ("n", "losses", "risk", "interval", "wealth", "needed"):
        found[key] = counting.get(key)
    found["n"] = found["n"] or 0
    return {**found, "next": _next(state)}


def _counting(state: PatternState) -> str:
    name = {"canary": "canary", "live": "guard", "quarantined": "guard"}.get(state.resume or state.state, "shadow")
    return name if getattr(state, name) is not None else "shadow"


def _next(state: PatternState) -> str:
    if state.state == "off":
        return f"switched off; `routes on` returns it to {state.resume}"
    if state.state == "observe":
        return "waiting for a student version"
    if state.state in WAITING:
        return f"a new student version after {state.cooldown} more sessions, or an operator"
    if state.state == "live":
        return _next_live(state)
    held = "held by an operator; " if state.held else ""
    return held + (_next_canary(state) if state.state == "canary" else _next_shadow(state))


def _next_shadow(state: PatternState) -> str:
    gate = state.shadow
    if gate is None:
        return "no evidence yet"
    if gate.crossed:
        return f"proven; {state.cooldown} sessions of cooldown left" if state.cooldown else "proven; canary next"
    return f"canary after {gate.clean_needed()} more sessions in shadow if all agree"


def _next_canary(state: PatternState) -> str:
    canary, options = state.canary, state.options
    if canary is None:
        return "no evidence yet"
    needed = canary.clean_needed()
    if state.single_turn and state.shadow is not None and state.shadow.crossed:
        needed = min(needed, max(options.carry_over_sessions - state.clean, 1))
    text = f"live after {needed} more audited sessions if all agree"
    if state.step + 1 >= len(options.ramp):
        return text
    share = options.ramp[state.step + 1]
    missing = max(options.ramp_sessions - state.step_sessions, 0)
    if missing:
        return f"{text}; {share:.0%} after {missing} more"
    exposure, cap = share * canary_interval(state).high, state.epsilon / 2
    if exposure > cap:
        return f"{text}; {share:.0%} once its worst case {exposure:.3f} is at most {cap:.3f}"
    return f"{text}; {share:.0%} once wealth exceeds 1"


def _next_live(state: PatternState) -> str:
    guard = state.guard
    if guard is None:
        return "no audits yet"
    text = f"demoted when M reaches {guard.demote:,.0f} (now {guard.m:,.1f})"
    return f"{text}; warning: audits are raised" if guard.warning else text
