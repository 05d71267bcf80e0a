"""The routing state machine of one student version on one pattern.

    observe → shadow → canary (10 … 80 %) ⇄ live     back: for a looser threshold
                 └────────┴→ blocked     proven too risky
                          └────────┴→ quarantined     was good, is no longer
    any state ⇄ off                      a person's switch

A pure fold: `apply(state, event)` gives the next state and what changed. No clock, no I/O, no randomness; the events
hold everything, so `replay` of the log gives the same state bit for bit. The state only ever moves towards the
student on proof (or an operator's word, and then it is marked), and towards the teacher on any of its alarms.
"""

from collections.abc import Iterable
from functools import singledispatch
from typing import Any, NamedTuple

from msgspec.structs import replace

from .evidence import Heard
from .evidence_facts import evidence_of
from .loosening import loosened, looser, seeking, tightened
from .ramp import justified, next_step, shares
from .rules import alarm, fresh_relative, fresh_service, fresh_shadow, given_up, proof, ready
from .states import (
    ACTIONS,
    SERVING,
    WAITING,
    WHOLE,
    Configured,
    Event,
    Invalid,
    Judged,
    Noisy,
    Operator,
    Passed,
    PatternState,
    Relabelled,
    Repeated,
    Session,
    StudentRegistered,
    Transition,
)


class Step(NamedTuple):
    """The state after an event, and what changed."""

    state: PatternState
    transitions: list[Transition]


def apply(state: PatternState, event: Event) -> Step:
    """Fold one event into the state. Raises ValueError for an event that makes no sense, leaving nothing changed."""
    step = _hear(event, replace(state, events=state.events + 1))
    while (decided := decide(step.state, event.at)).transitions:
        step = Step(decided.state, step.transitions + decided.transitions)
    return step


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
    trial = fresh_shadow(named, event.k)
    if state.state == "off":
        return Step(replace(named, resume="shadow", **trial), [])
    return _move(named, "shadow", "student_registered", event.at, **trial)


@_hear.register
def _(event: Session, state: PatternState) -> Step:
    if event.kind == WHOLE:
        return _hear_whole(event, state)
    state = replace(state, cooldown=max(0, state.cooldown - 1))
    trial = event.kind != "live"
    heard = Heard(session=event.session, loss=float(event.loss), trial=trial, items=event.items, nulls=event.nulls)
    if event.kind == "shadow" and state.state == "shadow" and state.in_shadow:
        return Step(replace(state, in_shadow=state.in_shadow.add(heard)), [])
    if event.kind in SERVING and state.state in SERVING and state.in_service:
        steps = state.step_sessions + (state.state == "canary")
        return Step(replace(state, in_service=state.in_service.add(heard), step_sessions=steps), [])
    if event.kind not in ("shadow", *SERVING):
        raise ValueError(f"a session is of kind shadow, canary, live or whole, not {event.kind!r}")
    return Step(replace(state, late=state.late + 1), [])


def _hear_whole(event: Session, state: PatternState) -> Step:
    """One more session for the gates of shadow, whose thresholds go on while one of them is served."""
    if not seeking(state) or state.in_shadow is None or event.threshold != state.threshold:
        return Step(replace(state, late=state.late + 1), [])
    heard = Heard(session=event.session, loss=float(event.loss), items=event.items)
    return Step(replace(state, in_shadow=state.in_shadow.add(heard), whole=state.whole + 1), [])


@_hear.register
def _(event: Relabelled, state: PatternState) -> Step:
    name = "in_shadow" if event.kind in ("shadow", WHOLE) else "in_service"
    trail = getattr(state, name)
    changed = trail and trail.change(event.session, float(event.loss), event.items, event.nulls)
    return Step(replace(state, **({name: changed} if changed else {"late": state.late + 1})), [])


@_hear.register
def _(event: Passed, state: PatternState) -> Step:
    return Step(replace(state, cooldown=max(0, state.cooldown - event.n)), [])


@_hear.register
def _(event: Invalid, state: PatternState) -> Step:
    if state.state not in SERVING or state.invalid is None:
        return Step(state, [])
    silent = 0 if event.n > event.bad + event.late else state.silent + event.n
    invalid = state.invalid.batch(event.n - event.late, event.bad)
    return Step(replace(state, invalid=invalid, silent=silent), [])


@_hear.register
def _(event: Judged, state: PatternState) -> Step:
    wanted = "shadow" if state.state == "shadow" else "audit"
    on_trial = state.state in ("shadow", *SERVING) and event.kind == wanted
    return Step(replace(state, judged=event.gate) if on_trial else state, [])


@_hear.register
def _(event: Noisy, state: PatternState) -> Step:
    return Step(replace(state, noise=event.seen) if given_up(state) else state, [])


@_hear.register
def _(event: Repeated, state: PatternState) -> Step:
    on_trial = state.state == "shadow" and state.relative is not None
    return Step(replace(state, relative=event.test) if on_trial else state, [])


@_hear.register
def _(event: Configured, state: PatternState) -> Step:
    return Step(replace(state, options=event.options), [])


@_hear.register
def _(event: Operator, state: PatternState) -> Step:
    action, reason = event.action, f"operator: {event.reason}".rstrip(": ")
    if action not in ACTIONS:
        raise ValueError(f"an operator can say {', '.join(ACTIONS)}, not {action!r}")
    if action == "off" and state.state != "off":
        return _move(state, "off", reason, event.at, event.actor, resume=state.state)
    if action in ("on", "resume"):
        return _resume(state, event, reason)
    if action == "promote" and state.state in ("shadow", "canary"):
        return _promote(state, event, reason)
    if action == "share" and state.state in ("shadow", *SERVING):
        return _share(state, event, reason)
    if action == "demote" and state.state in ("shadow", *SERVING):
        return _move(state, "quarantined", reason, event.at, event.actor, **_retreat(state))
    marks = {"hold": {"held": True}, "pin": {"pinned": True}, "unpin": {"pinned": False}}
    return Step(replace(state, **marks.get(action, {})), [])


def _resume(state: PatternState, event: Operator, reason: str) -> Step:
    if state.state == "off":
        return _move(state, state.resume, reason, event.at, event.actor, resume="", held=False)
    if state.state in WAITING:
        trial = fresh_shadow(state, event.k or state.k + 1)
        return _move(state, "shadow", reason, event.at, event.actor, **trial, cooldown=0, held=False)
    return Step(replace(state, held=False), [])


def _promote(state: PatternState, event: Operator, reason: str) -> Step:
    """As far as the evidence goes, or beyond it: then the state is marked until the evidence has caught up."""
    if state.state == "canary":
        live = replace(state, state="live", share=1.0)
        return _move(state, "live", reason, event.at, event.actor, share=1.0, forced=not justified(live))
    return _move(state, "canary", reason, event.at, event.actor, **_into_canary(state))


def _into_canary(state: PatternState) -> dict[str, Any]:
    found = ready(state)
    threshold = found.threshold if found else None
    changes = fresh_service(replace(state, threshold=threshold))
    return {**changes, "threshold": threshold, "cooldown": 0, "forced": not found}


def _share(state: PatternState, event: Operator, reason: str) -> Step:
    """The share that a person wants, in canary, where all that the student serves is audited; it stays until a person
    lets it go. Less than before needs no evidence; more than that allows is marked."""
    if not 0 < event.share < 1:
        raise ValueError(f"a share set by hand lies in (0, 1), not at {event.share}")
    begun = _into_canary(state) if state.state == "shadow" else {"forced": state.forced}
    step = sum(share <= event.share for share in state.options.ramp[1:])
    changes = {**begun, "share": event.share, "step": step, "step_sessions": 0, "held": True}
    after = replace(state, state="canary", **changes)
    marked = (begun["forced"] or event.share > state.share) and not justified(after)
    if (state.state, state.share) == ("canary", event.share):
        return Step(replace(after, forced=marked), [])
    return _move(state, "canary", reason, event.at, event.actor, **changes | {"forced": marked})


def decide(state: PatternState, at: float) -> Step:
    """Make the one move that the evidence asks for, if any: alarms first, then proof."""
    if reason := alarm(state):
        if back := tightened(state, reason):
            return _move(state, "live", f"tightened:{reason}", at, "guard", **back)
        gate = reason == "futile" or state.state == "shadow"
        after = "blocked" if gate else "quarantined"
        return _move(state, after, reason, at, "gate" if gate else "guard", **_retreat(state))
    if trial := fresh_relative(state):
        return _move(state, "shadow", "noisy_teacher", at, **trial)
    if state.forced and justified(state):
        return _move(state, state.state, "evidence_caught_up", at, forced=False)
    if state.state == "live" and state.guard and state.guard.warning != state.warned:
        reason = "guard_warns" if state.guard.warning else "guard_calm"
        return _move(state, "live", reason, at, "guard", warned=state.guard.warning)
    return Step(state, []) if state.held else _rise(state, at)


def _rise(state: PatternState, at: float) -> Step:
    if state.state == "shadow" and not state.cooldown and (found := ready(state)) and found.rested:
        reason = "gate_crossed" if found.threshold is None else "threshold_crossed"
        reason = "noise_test_crossed" if state.relative else reason
        changes = fresh_service(replace(state, threshold=found.threshold))
        return _move(state, "canary", reason, at, **changes, threshold=found.threshold)
    if state.state == "canary" and (proven := proof(state)):
        return _move(state, "live", proven, at, share=1.0, forced=False)
    if state.state == "live" and (found := looser(state)) and found.rested:
        return _move(state, "canary", "threshold_loosened", at, **loosened(state, found.threshold))
    if state.state == "canary" and (step := next_step(state)) > state.step:
        return _move(state, "canary", "ramp", at, share=state.options.ramp[step], step=step, step_sessions=0)
    return Step(state, [])


def reproduced(transition: Transition) -> Transition | None:
    """What the evidence kept with a transition decides now: the transition itself. None for one that an operator or a
    new student made, where nothing was decided."""
    if transition.snapshot is None or transition.actor not in ("gate", "guard"):
        return None
    made = decide(transition.snapshot, transition.at).transitions
    return made[0] if made else None


def _retreat(state: PatternState) -> dict[str, Any]:
    return {"share": 0.0, "cooldown": state.options.cooldown_sessions, "forced": False, "warned": False}


def _move(state: PatternState, after: str, reason: str, at: float, actor: str = "gate", **changes: Any) -> Step:
    moved = replace(state, state=after, **changes)
    return Step(moved, [_transition(state, moved, reason, at, actor)])


def _transition(before: PatternState, after: PatternState, reason: str, at: float, actor: str) -> Transition:
    kind = "state" if before.state != after.state else "threshold" if before.threshold != after.threshold else ""
    kind = kind or ("share" if before.share != after.share else "audit")
    return Transition(
        at=at,
        kind="mark" if reason == "evidence_caught_up" else kind,
        before=before.state,
        after=after.state,
        share=shares(after).serve,
        reason=reason,
        actor=actor,
        student=after.student,
        threshold=after.threshold,
        forced=after.forced,
        evidence=evidence_of(before),
        snapshot=bare(before),
    )


def bare(state: PatternState) -> PatternState:
    """The state without the sessions that its evidence is made of: enough to decide on."""
    shadow, service = state.in_shadow, state.in_service
    return replace(state, in_shadow=shadow and shadow.bare(), in_service=service and service.bare())
