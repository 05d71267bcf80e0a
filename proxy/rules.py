"""What the evidence of a state allows: the rules of the state machine, as questions to a state.

Each is a function of the state alone. docs/guarantees.md says why each holds at every look.
"""

import dataclasses
from typing import Any, NamedTuple

from msgspec.structs import replace

from .evidence import Served, Shadowed, Trail
from .gate import WEIGHTS, Gate, alpha_for
from .guard import Guard, invalid_detector
from .noise import HIGHEST_CEILING, NoiseTest
from .nulls import Nulls
from .states import SERVING, PatternState
from .stricter import Stricter
from .threshold import Ladder

DOUBT_AFTER = 20
"""Shadowed sessions after which a risk above the limit is reason to ask the teacher twice."""


class Ready(NamedTuple):
    """What shadow has proven."""

    threshold: float | None
    """Only answers of at least this score; None: the whole pattern."""
    rested: bool
    """False: it is better to wait for a looser threshold."""


def fresh_shadow(state: PatternState, k: int) -> dict[str, Any]:
    """Fields of a state that begins its k-th trial: nothing has been seen yet."""
    options = state.options
    alpha, part = alpha_for(k, options.alpha), options.confidence_alpha
    gate = Gate(epsilon=state.epsilon, alpha=alpha * (1 - part), futility_alpha=options.futility_alpha)
    ladder = None
    if part:
        how = options.session_loss
        ladder = Ladder(epsilon=state.epsilon, alpha=alpha * part, futility_alpha=options.futility_alpha, how=how)
    bundle = Shadowed(gate=gate, ladder=ladder, nulls=_nulls(state))
    cleared = {
        "in_service": None,
        "invalid": None,
        "step": 0,
        "threshold": None,
        "stood": None,
        "settled": False,
        "parts": 0,
        "whole": 0,
        "forced": False,
        "silent": 0,
        "judged": None,
        "unjudged": False,
        "noise": None,
        "relative": None,
    }
    return {"k": k, "in_shadow": Trail(base=bundle, now=bundle), **cleared}


def given_up(state: PatternState) -> bool:
    """Whether the gate of a trial, and nothing else, has given the version up: a noisy teacher may be why."""
    if state.state != "blocked" or state.relative or state.in_service or not state.in_shadow:
        return False
    seen = state.in_shadow.now
    return seen.gate.futile and not seen.nulls.alarmed


def doubted(state: PatternState) -> bool:
    """Whether it matters how far the teacher agrees with itself: then it is asked twice in every shadowed session."""
    if state.state == "shadow" and state.shadow is not None and state.relative is None:
        return state.shadow.n >= DOUBT_AFTER and state.shadow.total > state.epsilon * state.shadow.n
    return given_up(state) or (state.state == "shadow" and state.relative is not None)


def fresh_relative(state: PatternState) -> dict[str, Any]:
    """Fields of a state that begins a relative trial, in which the noise test alone decides; none where the gate has
    not given up or the noise is not proven."""
    seen, options = state.noise, state.options
    if seen is None or not given_up(state) or not seen.proven(state.epsilon, options.alpha):
        return {}
    whole = replace(state, options=dataclasses.replace(options, confidence_alpha=0.0))
    test = NoiseTest.begin(seen.margin, alpha_for(seen.k, options.alpha), options.futility_alpha)
    return {**fresh_shadow(whole, seen.k), "relative": test}


def fresh_service(state: PatternState) -> dict[str, Any]:
    """Fields of a state that begins its canary: nothing served has been seen yet."""
    options, limit = state.options, served_limit(state)
    proven = shadow_gate(state) if state.relative is None else None
    canary = Gate(
        epsilon=limit,
        alpha=_canary_alpha(state),
        futility_alpha=options.futility_alpha,
        weights=proven.learned() if proven else WEIGHTS,
    )
    guard = Guard(epsilon=limit, warn=options.guard_warn, demote=options.guard_demote)
    stricter = None
    if state.stood is not None:
        stricter = Stricter(threshold=state.stood, guard=guard, how=options.session_loss)
    bundle = Served(canary=canary, guard=guard, nulls=_nulls(state), stricter=stricter)
    return {
        "in_service": Trail(base=bundle, now=bundle),
        "invalid": invalid_detector(options.epsilon_invalid, options.guard_demote),
        "step": 0,
        "step_sessions": 0,
        "parts": state.parts + _in_part(state),
        "whole": 0,
        "silent": 0,
        "judged": None,
        "unjudged": not judge_is_right(state),
        "share": first_share(state, limit),
    }


def _in_part(state: PatternState) -> bool:
    """Whether the canary that begins is one of a row: for a threshold, or for the whole after one."""
    return state.threshold is not None or state.parts > 0


def _canary_alpha(state: PatternState) -> float:
    """Error budget of the canary's gate: α of the trial; where there may be several in turn, α/2, α/4, …, for each is a
    hypothesis of its own, and all of them together have α."""
    alpha = alpha_for(state.k, state.options.alpha)
    return alpha / 2 ** (state.parts + 1) if _in_part(state) else alpha


def first_share(state: PatternState, limit: float) -> float:
    options = state.options
    if not state.relative:
        return options.ramp[0]
    # A ceiling that was cut off says nothing about how much worse it may be.
    worst = limit if limit < HIGHEST_CEILING else 1.0
    return min(options.ramp[0], state.epsilon * options.exposure_share / worst)


def served_limit(state: PatternState) -> float:
    """Risk that the tests on served sessions allow: ε, or after a relative trial the highest that a student within δ of
    its teacher can have."""
    return state.epsilon if state.relative is None else state.relative.ceiling(state.options.alpha)


def _nulls(state: PatternState) -> Nulls:
    options = state.options
    return Nulls(missed=options.null_missed, excess=options.null_excess, level=options.guard_demote)


def alarm(state: PatternState) -> str:
    """Why the student must go, or an empty string."""
    if state.state in SERVING:
        if state.guard and state.guard.alarmed:
            return "guard"
        if state.invalid and state.invalid.alarmed:
            return "invalid_output"
        if state.silent >= state.options.silent_calls:
            return "no_answer"
    trail = {"shadow": state.in_shadow, "canary": state.in_service, "live": state.in_service}.get(state.state)
    if trail and (name := trail.now.nulls.alarmed):
        return f"nulls:{name}"
    return "futile" if _futile(state) else ""


def _futile(state: PatternState) -> bool:
    if state.state == "shadow" and state.relative:
        return state.relative.futile
    if state.state == "shadow" and state.shadow and state.shadow.futile:
        return state.ladder is None or not state.ladder.hopeful(state.options.confidence_sessions)
    on_trial = state.state == "canary" or (state.state == "live" and state.forced)
    return on_trial and state.canary is not None and state.canary.futile


def ready(state: PatternState) -> Ready | None:
    """What a version in shadow may serve; None: nothing is proven."""
    if state.state == "shadow" and not judge_is_right(state):
        return None
    if state.relative:
        return Ready(None, True) if state.relative.crossed else None
    if state.shadow and state.shadow.crossed:
        return Ready(None, True)
    ladder = state.ladder
    if ladder is None or ladder.threshold is None:
        return None
    return Ready(ladder.threshold, ladder.rests)


def proof(state: PatternState) -> str:
    """What proves that a canary may go live, or an empty string; see docs/guarantees.md, "Ramp".

    Nothing does after a relative trial: it has not proven that the risk is below ε.
    """
    canary = state.canary
    if canary is None or state.relative or not judge_is_right(state):
        return ""
    if canary.crossed:
        return "canary_gate_crossed"
    clean = state.clean >= state.options.carry_over_sessions and canary.log_wealth > 0
    return "carried_over" if state.single_turn and clean and shadow_holds(state) else ""


def judge_is_right(state: PatternState) -> bool:
    """Whether labels that rest on a judge, if any does, are proven to be good enough."""
    return state.judged is None or state.judged.crossed


def shadow_holds(state: PatternState) -> bool:
    """Whether shadow has proven what is served now."""
    if state.unjudged:
        return False
    if state.relative:
        return state.relative.crossed
    if state.shadow is not None and state.shadow.crossed:
        return True
    loosest = state.ladder.threshold if state.ladder else None
    return state.threshold is not None and loosest is not None and loosest <= state.threshold


def shadow_gate(state: PatternState) -> Gate | None:
    """The gate of shadow on what is served now: the whole, or the answers above the threshold."""
    ladder = state.ladder
    if state.threshold is None or ladder is None or state.threshold not in ladder.grid:
        return state.shadow
    return ladder.gates[ladder.grid.index(state.threshold)]
