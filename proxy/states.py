"""What the state machine of a pattern hears, knows and says: events, state, transitions.

Everything here is data. Events are the only input, they hold every number that a decision depends on (also the
options: a `Configured` event, not a setting, changes them), and they survive JSON unchanged. So the state can be
rebuilt from the event log alone, bit for bit, whatever the settings are by then.
"""

import math
from typing import Any

import msgspec

from .gate import Gate, Interval
from .guard import Guard, invalid_detector
from .options import RoutingOptions

SERVING = ("canary", "live")
WAITING = ("blocked", "quarantined")
STATES = ("observe", "shadow", *SERVING, *WAITING, "off")


class _Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event"):
    at: float = 0.0
    """Unix seconds, for people; no decision depends on it."""


class StudentRegistered(_Event, frozen=True, kw_only=True, tag="student_registered"):
    """A student version is put forward for the pattern: always the first event of a machine."""

    version: str
    """`name@digest`."""
    k: int = 1
    """Number of this trial on the pattern, from 1 (`machine.next_trial`); the error budget is spent over trials."""
    single_turn: bool = False
    """No call of the pattern has an assistant turn in its history: the student cannot cause the states it meets."""
    epsilon: float = 0.05
    """Risk limit of the pattern."""
    options: RoutingOptions = RoutingOptions()
    wait: int = 0
    """Sessions that must still pass before it may serve: what is left of a predecessor's cooldown."""


class Session(_Event, frozen=True, kw_only=True, tag="session"):
    """A session has closed and its calls of this pattern have been compared."""

    kind: str
    """`shadow`: the teacher served, the student was compared; `canary` or `live`: the student served under that state
    when the session began, and the teacher was asked as well (an audit)."""
    session: str
    loss: float
    """In [0, 1]; see `gate.session_loss`."""
    calls: int = 1
    """Compared calls."""


class Passed(_Event, frozen=True, kw_only=True, tag="passed"):
    """Sessions of the pattern have closed without being compared: they only count for a cooldown."""

    n: int


class Invalid(_Event, frozen=True, kw_only=True, tag="invalid"):
    """Calls given to the student since the last such event: how many, and how many it could not answer properly."""

    n: int
    bad: int


class Operator(_Event, frozen=True, kw_only=True, tag="operator"):
    """A person has decided."""

    action: str
    """off, on, promote, hold, demote."""
    actor: str
    reason: str = ""
    k: int = 0
    """For `on` in a blocked or quarantined state: number of the new trial; 0: one more than the last."""


class Configured(_Event, frozen=True, kw_only=True, tag="configured"):
    """The options have changed. A trial keeps the ε and α that it began with."""

    options: RoutingOptions


Event = StudentRegistered | Session | Passed | Invalid | Operator | Configured
_decoder = msgspec.json.Decoder(Event)


def encode_event(event: Event) -> bytes:
    """The event as JSON, for the log."""
    return msgspec.json.encode(event)


def decode_event(text: bytes | str) -> Event:
    """The event in a log entry. Raises msgspec.ValidationError when it is none."""
    return _decoder.decode(text)


class PatternState(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known about one student version on one pattern."""

    state: str = "observe"
    """One of STATES."""
    student: str = ""
    k: int = 0
    epsilon: float = 0.05
    single_turn: bool = False
    options: RoutingOptions = RoutingOptions()
    share: float = 0.0
    """Share of sessions that the student serves."""
    step: int = 0
    """Index of the canary share in `options.ramp`."""
    step_sessions: int = 0
    """Audited canary sessions on this step."""
    clean: int = 0
    """Audited canary sessions whose loss was at most ε."""
    shadow: Gate | None = None
    canary: Gate | None = None
    guard: Guard | None = None
    invalid: Guard | None = None
    cooldown: int = 0
    """Sessions that must still pass before a version may serve."""
    held: bool = False
    """An operator holds it: it may be demoted but not promoted."""
    resume: str = ""
    """State to return to from `off`."""
    late: int = 0
    """Sessions that arrived when they could no longer count (begun under an earlier state)."""
    events: int = 0


class Transition(msgspec.Struct, frozen=True, kw_only=True):
    """One change of route, with the evidence that caused it as it was at that moment."""

    at: float
    kind: str
    """`state`, `share` (a canary step) or `audit` (a warning begins or ends)."""
    before: str
    after: str
    share: float
    """Share of sessions after the change."""
    reason: str
    """Code: student_registered, gate_crossed, ramp, carried_over, canary_gate_crossed, futile, guard, invalid_output,
    guard_warns, guard_calm, operator."""
    actor: str
    """`gate`, `guard`, or the operator."""
    student: str
    evidence: dict[str, Any]


def fresh_canary(state: PatternState, alpha: float) -> dict[str, Any]:
    """Fields of a state that begins its canary: nothing served has been seen yet."""
    options = state.options
    return {
        "canary": Gate(epsilon=state.epsilon, alpha=alpha, futility_alpha=options.alpha),
        "guard": Guard(epsilon=state.epsilon, warn=options.guard_warn, demote=options.guard_demote),
        "invalid": invalid_detector(options.epsilon_invalid, options.guard_demote),
        "step": 0,
        "step_sessions": 0,
        "clean": 0,
        "share": options.ramp[0],
    }


def canary_interval(state: PatternState) -> Interval:
    """Confidence sequence for the risk over canary sessions alone: the exposure cap trusts nothing else."""
    return state.canary.interval(state.options.alpha) if state.canary else Interval(0.0, 1.0)


def gate_facts(gate: Gate, alpha: float) -> dict[str, Any]:
    """A gate's numbers for the log and the dashboard."""
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
        "warn": guard.warn,
        "demote": guard.demote,
        "warning": guard.warning,
    }


def evidence_of(state: PatternState) -> dict[str, Any]:
    """The frozen evidence of a transition: plain JSON values."""
    alpha = state.options.alpha
    found: dict[str, Any] = {
        "student": state.student,
        "k": state.k,
        "epsilon": state.epsilon,
        "single_turn": state.single_turn,
        "share": state.share,
        "clean": state.clean,
        "cooldown": state.cooldown,
        "held": state.held,
    }
    for name, gate in (("shadow", state.shadow), ("canary", state.canary)):
        if gate is not None:
            found[name] = gate_facts(gate, alpha)
    for name, guard in (("guard", state.guard), ("invalid", state.invalid)):
        if guard is not None:
            found[name] = guard_facts(guard, alpha)
    return found
