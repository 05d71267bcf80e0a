"""What the state machine of a pattern hears, knows and says: events, state, transitions.

Everything here is data. Events are the only input, they hold every number that a decision depends on (also the
options: a `Configured` event, not a setting, changes them), and they survive JSON unchanged. So the state can be
rebuilt from the event log alone, bit for bit, whatever the settings are by then.
"""

from typing import Any

import msgspec

from .evidence import Served, Shadowed, Trail
from .gate import Gate
from .guard import Guard
from .judged import JudgedGate
from .noise import NoiseTest, SelfOdds
from .options import RoutingOptions
from .threshold import Ladder, Scored

SERVING = ("canary", "live")
WHOLE = "whole"
"""Kind of a session all of whose answers were compared, served or not."""
WAITING = ("blocked", "quarantined")
STATES = ("observe", "shadow", *SERVING, *WAITING, "off")
ACTIONS = ("promote", "share", "hold", "demote", "off", "resume", "on", "pin", "unpin")
"""What an operator can say; `on` is the older word for `resume`."""


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
    when the session began, and the teacher was asked as well (an audit); `whole`: a version that is live with a
    threshold served it in part, and the answers that were too unsure have been compared too."""
    session: str
    loss: float
    """In [0, 1]; see `gate.session_loss`."""
    calls: int = 1
    """Compared calls."""
    items: tuple[Scored, ...] = ()
    """Score and loss of the compared calls that have a score."""
    nulls: dict[str, float] = {}
    """Loss in each slice of the null guards that the session belongs to."""
    threshold: float | None = None
    """Of a `whole` session: the threshold that it was served under."""


class Relabelled(Session, frozen=True, kw_only=True, tag="relabelled"):
    """A session that has been heard has another loss now: a label came late or was changed."""


class Passed(_Event, frozen=True, kw_only=True, tag="passed"):
    """Sessions of the pattern have closed without being compared: they only count for a cooldown."""

    n: int


class Invalid(_Event, frozen=True, kw_only=True, tag="invalid"):
    """Calls given to the student since the last such event."""

    n: int
    bad: int
    """How many it could not answer properly."""
    late: int = 0
    """How many it did not answer in time while others kept it busy: no fault, as long as it answers at all."""


class Judged(_Event, frozen=True, kw_only=True, tag="judged"):
    """What the two tests on a judge's word say so far: labels of this trial rest on one (`judged`)."""

    kind: str
    """`shadow` or `audit`: whose labels."""
    gate: JudgedGate


class Noisy(_Event, frozen=True, kw_only=True, tag="noisy"):
    """The teacher has been asked twice in sessions of the pattern: a version that the gate gave up because of it gets
    a relative trial (`noise`). Nothing changes where these numbers don't prove the noise."""

    seen: SelfOdds


class Repeated(_Event, frozen=True, kw_only=True, tag="repeated"):
    """What the test against the teacher's second answers says so far, on sessions heard in this relative trial."""

    test: NoiseTest


class Operator(_Event, frozen=True, kw_only=True, tag="operator"):
    """A person has decided."""

    action: str
    """One of ACTIONS."""
    actor: str
    reason: str = ""
    k: int = 0
    """For `resume` in a blocked or quarantined state: number of the new trial; 0: one more than the last."""
    share: float = 0.0
    """For `share`: the student's share of the sessions, in (0, 1)."""


class Configured(_Event, frozen=True, kw_only=True, tag="configured"):
    """The options have changed. A trial keeps the ε and α that it began with."""

    options: RoutingOptions


Event = StudentRegistered | Session | Relabelled | Passed | Invalid | Judged | Noisy | Repeated | Operator | Configured
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
    threshold: float | None = None
    """Lowest score of an answer that is served; None: any."""
    stood: float | None = None
    """The threshold at which it was live before the present one: where it returns to on an alarm; None: there is
    none."""
    settled: bool = False
    """It has returned from a looser threshold: the present one stays for the rest of the trial."""
    parts: int = 0
    """Canaries of this trial that were not about the whole pattern at once: each has half of the error budget of the
    one before."""
    whole: int = 0
    """Sessions seen whole since it is live."""
    in_shadow: Trail[Shadowed] | None = None
    in_service: Trail[Served] | None = None
    invalid: Guard | None = None
    silent: int = 0
    """Calls in a row that got no answer at all."""
    judged: JudgedGate | None = None
    """What must be proven too, since labels of this stage rest on a judge; None: none does."""
    unjudged: bool = False
    """An operator promoted it from shadow before the word of the judge that its labels rest on was proven."""
    noise: SelfOdds | None = None
    """How far the teacher agrees with itself, heard when the gate had given the version up; None: not heard."""
    relative: NoiseTest | None = None
    """In a relative trial, the only test that decides about promotion; None: the gate decides."""
    warned: bool = False
    """Audits are raised."""
    cooldown: int = 0
    """Sessions that must still pass before a version may serve."""
    held: bool = False
    """An operator holds it: it may be demoted but not promoted."""
    forced: bool = False
    """An operator promoted it beyond its evidence, and the evidence has not caught up yet."""
    pinned: bool = False
    """An operator wants this version to have the pattern, whatever others prove."""
    resume: str = ""
    """State to return to from `off`."""
    late: int = 0
    """Sessions that arrived when they could no longer count (begun under an earlier state, or changed too late)."""
    events: int = 0

    @property
    def shadow(self) -> Gate | None:
        """The gate on shadowed sessions."""
        return self.in_shadow.now.gate if self.in_shadow else None

    @property
    def ladder(self) -> Ladder | None:
        """The gates of the confidence thresholds."""
        return self.in_shadow.now.ladder if self.in_shadow else None

    @property
    def canary(self) -> Gate | None:
        """The gate on served sessions."""
        return self.in_service.now.canary if self.in_service else None

    @property
    def guard(self) -> Guard | None:
        """The detector on served sessions."""
        return self.in_service.now.guard if self.in_service else None

    @property
    def clean(self) -> int:
        """Audited canary sessions whose loss was at most ε."""
        return self.in_service.now.clean if self.in_service else 0


class Transition(msgspec.Struct, frozen=True, kw_only=True):
    """One change of route, with the evidence that caused it as it was at that moment."""

    at: float
    kind: str
    """`state`, `threshold` (a stricter one in live), `share` (a canary step), `audit` (a warning begins or ends) or
    `mark` (evidence caught up with an operator)."""
    before: str
    after: str
    share: float
    """Share of sessions after the change."""
    reason: str
    """Code: student_registered, gate_crossed, threshold_crossed, threshold_loosened, tightened:<alarm>, noisy_teacher,
    noise_test_crossed, ramp, carried_over, canary_gate_crossed, futile, guard, invalid_output, no_answer,
    nulls:<slice>, guard_warns, guard_calm, evidence_caught_up, operator."""
    actor: str
    """`gate`, `guard`, or the operator."""
    student: str
    threshold: float | None = None
    """Confidence threshold after the change."""
    forced: bool = False
    """Whether the state after the change is beyond its evidence."""
    evidence: dict[str, Any]
    """For people."""
    snapshot: PatternState | None = None
    """The state that was decided on, without its past: `machine.decide` makes the same transition of it."""
