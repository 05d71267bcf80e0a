"""Events and evidence as data."""

import msgspec
import pytest

from tutelage.proxy.gate import Gate
from tutelage.proxy.guard import Guard
from tutelage.proxy.options import RoutingOptions
from tutelage.proxy.states import (
    Configured,
    Invalid,
    Operator,
    Passed,
    PatternState,
    Session,
    StudentRegistered,
    canary_interval,
    decode_event,
    encode_event,
    evidence_of,
)


@pytest.mark.parametrize(
    "event",
    [
        StudentRegistered(
            at=1.5, version="a@1", k=3, single_turn=True, epsilon=0.1, options=RoutingOptions(alpha=0.01)
        ),
        Session(kind="shadow", session="s", loss=1 / 3, calls=3),
        Passed(n=5),
        Invalid(n=5, bad=1),
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


def test_evidence_holds_every_number_with_its_n_and_interval() -> None:
    state = PatternState(
        state="live",
        student="a@1",
        shadow=Gate(epsilon=0.05, alpha=0.03).fold([0.0] * 92),
        canary=Gate(epsilon=0.05, alpha=0.03).fold([0.0, 1.0]),
        guard=Guard(epsilon=0.05).update(1.0),
        invalid=Guard(epsilon=0.01),
    )
    found = evidence_of(state)
    for name in ("shadow", "canary", "guard", "invalid"):
        assert {"n", "losses", "risk", "interval"} <= found[name].keys()
    assert found["canary"]["risk"] == 0.5
    assert found["shadow"]["crossed_at"] == 91
    assert found["invalid"]["risk"] is None
    assert msgspec.json.decode(msgspec.json.encode(found)) == found


def test_a_huge_wealth_stays_json() -> None:
    gate = Gate(epsilon=0.05, alpha=0.05, n=10, log_wealth=5_000.0)
    found = evidence_of(PatternState(shadow=gate))
    assert found["shadow"]["wealth"] < float("inf")
    assert found["shadow"]["log_wealth"] == 5_000.0


def test_without_a_canary_nothing_is_known() -> None:
    assert canary_interval(PatternState()) == (0.0, 1.0)
