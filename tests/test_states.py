"""Events and evidence as data."""

import msgspec
import pytest

from tutelage.proxy.judged import JudgedGate
from tutelage.proxy.options import RoutingOptions
from tutelage.proxy.states import (
    Configured,
    Invalid,
    Judged,
    Operator,
    Passed,
    PatternState,
    Relabelled,
    Session,
    StudentRegistered,
    decode_event,
    encode_event,
)


@pytest.mark.parametrize(
    "event",
    [
        StudentRegistered(
            at=1.5, version="a@1", k=3, single_turn=True, epsilon=0.1, options=RoutingOptions(alpha=0.01)
        ),
        Session(kind="shadow", session="s", loss=1 / 3, calls=3),
        Session(kind="canary", session="s", loss=0.5, items=((-0.25, 1.0), (-0.5, 0.0)), nulls={"empty:a.b": 0.5}),
        Relabelled(kind="live", session="s", loss=1.0, calls=2),
        Passed(n=5),
        Invalid(n=5, bad=1, late=2),
        Judged(kind="shadow", gate=JudgedGate.begin(0.05, 0.03).judge(0.5).review(0.0)),
        Operator(action="off", actor="ada", reason="fire", k=2),
        Configured(options=RoutingOptions(ramp=(0.5,))),
    ],
)
def test_events_survive_the_log(event) -> None:
    assert decode_event(encode_event(event)) == event
    assert decode_event(encode_event(event).decode()) == event


@pytest.mark.parametrize("text", ["{}", '{"event": "gossip"}', '{"event": "passed"}', "nonsense"])
def test_what_is_no_event_is_refused(text: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_event(text)


def test_a_state_without_evidence_has_none() -> None:
    state = PatternState()
    assert (state.shadow, state.canary, state.guard, state.ladder, state.clean) == (None, None, None, None, 0)


def test_events_of_an_earlier_program_are_read() -> None:
    """Without what has been added since, and with the older word for `resume`."""
    session = decode_event('{"event": "session", "at": 1.0, "kind": "shadow", "session": "s", "loss": 0.5, "calls": 2}')
    assert session == Session(at=1.0, kind="shadow", session="s", loss=0.5, calls=2)
    assert decode_event('{"event": "operator", "action": "on", "actor": "ada"}') == Operator(action="on", actor="ada")
