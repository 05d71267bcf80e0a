"""What a state means and what is missing for the next one, in words and numbers for people and programs."""

from typing import Any

from .evidence_facts import evidence_of
from .loosening import seeking
from .ramp import shares, worst_case
from .rules import ready
from .states import WAITING, PatternState


def explain(state: PatternState) -> dict[str, Any]:
    """State, evidence and what comes next: plain JSON values.

    `n`, `losses`, `risk`, `interval`, `wealth`, `needed` are those of the evidence that counts in this state (shadow,
    canary, or the live audits); the rest stands under `shadow`, `canary`, `guard`, `invalid`, `thresholds`, `nulls`.
    `expected` is the number of compared sessions that the next step is still expected to take, `blocks` what keeps it
    from coming whatever the evidence says.
    """
    found = evidence_of(state)
    now = shares(state)
    found |= {"state": state.state, "serve": now.serve, "shadow_share": now.shadow, "audit_share": now.audit}
    counting = found.get(_counting(state), {})
    for key in ("n", "losses", "risk", "interval", "wealth", "needed"):
        found[key] = counting.get(key)
    found["n"] = found["n"] or 0
    return {**found, "next": missing(state), "expected": expected(state), "blocks": blocks(state)}


def expected(state: PatternState) -> int | None:
    """Compared sessions that the next proof is still expected to take at the risk seen so far; None: no proof is being
    gathered, or none would come at that risk."""
    gate = {"shadow": state.shadow, "canary": state.canary}.get(state.state)
    if gate is None or state.relative:
        return None
    more = gate.expected_more()
    if state.state == "canary" and _carries_over(state) and gate.risk is not None and gate.risk < state.epsilon:
        clean = round(max(state.options.carry_over_sessions - state.clean, 0) / (1 - gate.risk))
        more = clean if more is None else min(more, clean)
    return more


def blocks(state: PatternState) -> list[str]:
    """What stands in the way of the next step, beside missing evidence."""
    found = []
    if state.state == "off":
        found.append("switched off")
    if state.held:
        found.append("held by an operator")
    if state.cooldown and state.state in ("shadow", *WAITING):
        found.append(f"{state.cooldown} sessions of cooldown")
    if state.state in WAITING:
        found.append(f"{state.state}: a new student version, or an operator's resume")
    if state.relative:
        found.append(
            "the gate has given this version up and the teacher disagrees with itself: it is compared with the "
            "teacher's second answers, and stays in canary within the exposure cap whatever that proves"
        )
    if state.judged is not None and not state.judged.crossed and state.state in ("shadow", "canary"):
        found.append(f"labels rest on a judge, and its word is not proven yet: it lacks {state.judged.lacking}")
    if state.state == "shadow" and state.shadow is not None and state.shadow.futile:
        found.append("too risky as a whole: only a part that the student is sure of may still prove itself")
    return found


def _counting(state: PatternState) -> str:
    name = {"canary": "canary", "live": "guard", "quarantined": "guard"}.get(state.resume or state.state, "shadow")
    return name if getattr(state, name) is not None else "shadow"


def missing(state: PatternState) -> str:
    """What the next step needs, in words."""
    if state.state == "off":
        return f"switched off; `routes resume` returns it to {state.resume}"
    if state.state == "observe":
        return "waiting for a student version"
    if state.state in WAITING:
        return f"a new student version after {state.cooldown} more sessions, or an operator"
    if state.state == "live":
        text = _next_live(state)
    else:
        text = _next_canary(state) if state.state == "canary" else _next_shadow(state)
    held = "held by an operator; " if state.held and state.state != "live" else ""
    return ("beyond its evidence by an operator's word; " if state.forced else held) + text


def _next_shadow(state: PatternState) -> str:
    gate = state.shadow
    if gate is None:
        return "no evidence yet"
    if found := ready(state):
        if state.cooldown:
            return f"proven; {state.cooldown} sessions of cooldown left"
        part = "proven" if found.threshold is None else f"proven for answers of score {found.threshold:.3g} or more"
        return f"{part}; canary next" if found.rested else f"{part}; waiting whether more can be served"
    if state.relative and not state.relative.crossed:
        n = state.relative.even_needed()
        return f"canary after {n} more sessions with two answers of the teacher if it is as often at odds with itself"
    if gate.crossed or state.relative:
        return "proven by the labels as they are; a judge's word among them is not proven yet"
    if gate.futile:
        return "too risky as a whole; looking for a part that the student is sure of"
    return f"canary after {gate.clean_needed()} more sessions in shadow if all agree"


def _carries_over(state: PatternState) -> bool:
    return state.single_turn and ready(state) is not None


def _next_canary(state: PatternState) -> str:
    canary, options = state.canary, state.options
    if canary is None:
        return "no evidence yet"
    if state.relative:
        text = "stays in canary: it is proven against the teacher's second answers only"
    else:
        needed = canary.clean_needed()
        if _carries_over(state):
            needed = min(needed, max(options.carry_over_sessions - state.clean, 1))
        text = f"live after {needed} more audited sessions if all agree"
    if state.step + 1 >= len(options.ramp):
        return text
    share = options.ramp[state.step + 1]
    left = 0 if state.step else max(options.ramp_sessions - state.step_sessions, 0)
    if left:
        return f"{text}; {share:.0%} after {left} more"
    exposure, cap = share * worst_case(state), state.epsilon * options.exposure_share
    if exposure > cap:
        return f"{text}; {share:.0%} once its worst case {exposure:.3f} is at most {cap:.3f}"
    return f"{text}; {share:.0%} once wealth exceeds 1"


def _next_live(state: PatternState) -> str:
    guard = state.guard
    if guard is None:
        return "no audits yet"
    text = f"demoted when M reaches {guard.demote:,.0f} (now {guard.m:,.1f})"
    text = f"{text}; warning: audits are raised" if guard.warning else text
    return f"{text}; {_next_threshold(state)}" if state.threshold is not None else text


def _next_threshold(state: PatternState) -> str:
    ladder, served = state.ladder, f"serves answers of score {state.threshold:.3g} or more"
    if ladder is None or not seeking(state):
        return f"{served}; returned from a looser threshold, which stays closed" if state.settled else served
    following = [gate for gate in (*ladder.gates[ladder.passed :][:1], state.shadow) if gate and not gate.futile]
    more = min((n for gate in following if (n := gate.expected_more()) is not None), default=None)
    about = "" if more is None else f" about {more:,} more are expected to prove it,"
    return f"{served}; a looser threshold is looked for:{about} {state.whole:,} sessions looked at whole so far"
