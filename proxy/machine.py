"""The routing state machine of one student version on one pattern.

    observe → shadow → canary (10, 20, 40, 80 %) → live
                 └────────┴→ blocked     proven too risky
                          └────────┴→ quarantined     was good, is no longer
    any state ⇄ off                      a person's switch

A pure fold: `apply(state, event)` gives the next state and what changed. No clock, no I/O, no randomness; the events
hold everything, so `replay` of the log gives the same state bit for bit. The state only ever moves towards the
student on proof (or an operator's word), and towards the teacher on any of three alarms.
"""

from collections.abc import Iterable
from functools import singledispatch
from typing import Any, NamedTuple

from msgspec.structs import replace

from .gate import Gate, alpha_for
from .routes import Route
from .states import (
    SERVING,
    WAITING,
    Configured,
    Event,
    Invalid,
    Operator,
    Passed,
    PatternState,
    Session,
    StudentRegistered,
    Transition,
    canary_interval,
    evidence_of,
    fresh_canary,
)

SHADOW_SHARE_BLOCKED = 0.02
"""Share of sessions still shadowed for a blocked version, so that people see whether it stays bad."""


class Step(NamedTuple):
    """The state after an event, and what changed."""

    state: PatternState
    transitions: list[Transition]


class Shares(NamedTuple):
    """What a state asks of the planes, as shares in [0, 1] of the pattern's sessions."""

    serve: float
    """Served by the student."""
    shadow: float
    """Of those served by the teacher: compared in shadow."""
    audit: float
    """Of those served by the student: compared with the teacher's answer."""


def apply(state: PatternState, event: Event) -> Step:
    """Fold one event into the state. Raises ValueError for an event that makes no sense, leaving nothing changed."""
    heard = _hear(event, replace(state, events=state.events + 1))
    decided = _decide(heard.state, event.at)
    return Step(decided.state, heard.transitions + decided.transitions)


def replay(events: Iterable[Event]) -> PatternState:
    """The state that a log of events leads to."""
    state = PatternState()
    for event in events:
        state = apply(state, event).state
    return state


@singledispatch
def _hear(event: object, state: PatternState) -> Step:
    """Take the event into the evidence; only an operator or a new student changes the route right here."""
    raise ValueError(f"a routing event was expected, but this is a {type(event).__name__}")


@_hear.register
def _(event: StudentRegistered, state: PatternState) -> Step:
    if state.student:
        raise ValueError(f"{state.student} has this machine; {event.version} needs one of its own")
    named = replace(
        state,
        student=event.version,
        epsilon=event.epsilon,
        single_turn=event.single_turn,
        options=event.options,
        cooldown=event.wait,
    )
    trial = _new_trial(named, event.k)
    if state.state == "off":
        return Step(replace(named, resume="shadow", **trial), [])
    return _move(named, "shadow", "student_registered", event.at, **trial)


@_hear.register
def _(event: Session, state: PatternState) -> Step:
    state = replace(state, cooldown=max(0, state.cooldown - 1))
    if event.kind == "shadow" and state.state == "shadow" and state.shadow:
        return Step(replace(state, shadow=state.shadow.update(event.loss)), [])
    if event.kind in SERVING and state.state in SERVING:
        return _hear_served(event, state)
    if event.kind not in ("shadow", *SERVING):
        raise ValueError(f"a session is of kind shadow, canary or live, not {event.kind!r}")
    return Step(replace(state, late=state.late + 1), [])


def _hear_served(event: Session, state: PatternState) -> Step:
    if state.guard is None or state.canary is None:
        return Step(state, [])
    guard = state.guard.update(event.loss)
    changes: dict[str, Any] = {"guard": guard}
    if state.state == "canary":
        changes |= {
            "canary": state.canary.update(event.loss),
            "step_sessions": state.step_sessions + 1,
            "clean": state.clean + (event.loss <= state.epsilon),
        }
    after = replace(state, **changes)
    if guard.warning == state.guard.warning or state.state != "live":
        return Step(after, [])
    return Step(after, [_transition(after, after, "guard_warns" if guard.warning else "guard_calm", event.at, "guard")])


@_hear.register
def _(event: Passed, state: PatternState) -> Step:
    return Step(replace(state, cooldown=max(0, state.cooldown - event.n)), [])


@_hear.register
def _(event: Invalid, state: PatternState) -> Step:
    if state.state not in SERVING or state.invalid is None:
        return Step(state, [])
    return Step(replace(state, invalid=state.invalid.batch(event.n, event.bad)), [])


@_hear.register
def _(event: Configured, state: PatternState) -> Step:
    return Step(replace(state, options=event.options), [])


@_hear.register
def _(event: Operator, state: PatternState) -> Step:
    action, reason = event.action, f"operator: {event.reason}".rstrip(": ")
    if action == "off" and state.state != "off":
        return _move(state, "off", reason, event.at, event.actor, resume=state.state)
    if action == "on" and state.state == "off":
        return _move(state, state.resume, reason, event.at, event.actor, resume="", held=False)
    if action == "on" and state.state in WAITING:
        trial = _new_trial(state, event.k or state.k + 1)
        return _move(state, "shadow", reason, event.at, event.actor, **trial, cooldown=0, held=False)
    if action in ("on", "hold"):
        return Step(replace(state, held=action == "hold"), [])
    if action == "promote" and state.state == "shadow":
        return _move(state, "canary", reason, event.at, event.actor, **_begin_canary(state))
    if action == "promote" and state.state == "canary":
        return _move(state, "live", reason, event.at, event.actor, share=1.0)
    if action == "demote" and state.state in ("shadow", *SERVING):
        return _move(state, "quarantined", reason, event.at, event.actor, **_retreat(state))
    if action in ("off", "promote", "demote"):
        return Step(state, [])
    raise ValueError(f"an operator can say off, on, promote, hold or demote, not {action!r}")


def _decide(state: PatternState, at: float) -> Step:
    """Move if the evidence says so: alarms first, then proof."""
    alarm = _alarm(state)
    if alarm:
        after = "blocked" if alarm == "futile" else "quarantined"
        return _move(state, after, alarm, at, "gate" if alarm == "futile" else "guard", **_retreat(state))
    if state.held:
        return Step(state, [])
    if state.state == "shadow" and state.shadow and state.shadow.crossed and not state.cooldown:
        return _move(state, "canary", "gate_crossed", at, **_begin_canary(state))
    if state.state == "canary":
        proof = _proof(state)
        if proof:
            return _move(state, "live", proof, at, share=1.0)
        if _may_rise(state):
            share = state.options.ramp[state.step + 1]
            return _move(state, "canary", "ramp", at, share=share, step=state.step + 1, step_sessions=0)
    return Step(state, [])


def _alarm(state: PatternState) -> str:
    """Why the student must go, or an empty string."""
    if state.state in SERVING:
        if state.guard and state.guard.alarmed:
            return "guard"
        if state.invalid and state.invalid.alarmed:
            return "invalid_output"
    gate = {"shadow": state.shadow, "canary": state.canary}.get(state.state)
    return "futile" if gate and gate.futile else ""


def _proof(state: PatternState) -> str:
    """What proves that a canary may go live, or an empty string; see docs/guarantees.md, "Ramp"."""
    canary, shadow = state.canary, state.shadow
    if canary is None:
        return ""
    if canary.crossed:
        return "canary_gate_crossed"
    carried = state.single_turn and shadow is not None and shadow.crossed
    clean = state.clean >= state.options.carry_over_sessions and canary.log_wealth > 0
    return "carried_over" if carried and clean else ""


def _may_rise(state: PatternState) -> bool:
    """Whether the next share is safe even if the risk is as high as the canary sessions still allow."""
    options = state.options
    if state.canary is None or state.step + 1 >= len(options.ramp) or state.step_sessions < options.ramp_sessions:
        return False
    exposure = options.ramp[state.step + 1] * canary_interval(state).high
    return state.canary.log_wealth > 0 and exposure <= state.epsilon / 2


def _new_trial(state: PatternState, k: int) -> dict[str, Any]:
    alpha = state.options.alpha
    gate = Gate(epsilon=state.epsilon, alpha=alpha_for(k, alpha), futility_alpha=alpha)
    return {"k": k, "shadow": gate, "canary": None, "guard": None, "invalid": None, "clean": 0, "step": 0}


def _begin_canary(state: PatternState) -> dict[str, Any]:
    return fresh_canary(state, alpha_for(state.k, state.options.alpha))


def _retreat(state: PatternState) -> dict[str, Any]:
    return {"share": 0.0, "cooldown": state.options.cooldown_sessions}


def _move(state: PatternState, after: str, reason: str, at: float, actor: str = "gate", **changes: Any) -> Step:
    moved = replace(state, state=after, **changes)
    return Step(moved, [_transition(state, moved, reason, at, actor)])


def _transition(before: PatternState, after: PatternState, reason: str, at: float, actor: str) -> Transition:
    kind = "state" if before.state != after.state else "share" if before.share != after.share else "audit"
    return Transition(
        at=at,
        kind=kind,
        before=before.state,
        after=after.state,
        share=shares(after).serve,
        reason=reason,
        actor=actor,
        student=after.student,
        evidence=evidence_of(before),
    )


def shares(state: PatternState) -> Shares:
    """What the state asks for."""
    options = state.options
    if state.state == "shadow":
        return Shares(0.0, 1.0, 0.0)
    if state.state == "canary":
        return Shares(state.share, 0.0, 1.0)
    if state.state == "live":
        factor = options.audit_warn_factor if state.guard and state.guard.warning else 1.0
        return Shares(1.0, 0.0, min(1.0, options.audit_share * factor))
    return Shares(0.0, SHADOW_SHARE_BLOCKED if state.state == "blocked" else 0.0, 0.0)


def ruling(states: Iterable[PatternState]) -> PatternState:
    """Which of a pattern's versions decides its route: `off` holds for all, then who serves, then the newest trial."""
    order = {"off": 2, "live": 1, "canary": 1}
    return max(states, key=lambda state: (order.get(state.state, 0), state.k), default=PatternState())


def next_trial(states: Iterable[PatternState]) -> int:
    """Number of the pattern's next trial: for `StudentRegistered.k`, and for `Operator.k` when `on` begins one."""
    return 1 + max((state.k for state in states), default=0)


def remaining_wait(states: Iterable[PatternState]) -> int:
    """Cooldown that a new version inherits (`StudentRegistered.wait`)."""
    return max((state.cooldown for state in states), default=0)


def route_of(state: PatternState, salt: str) -> Route:
    """The pattern's entry in the route table. `salt` must be the same for a pattern and version at all times."""
    return Route(state=state.state, student=state.student, share=shares(state).serve, salt=salt)
